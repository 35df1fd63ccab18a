//! F: ways around the filter of system calls, and the calls that it is there for.

use crate::common::{Account, Need, Running, process, wait_for};
use crate::filtered::{Listed, no_other_filter, sweep, works_outside};
use crate::row::{Attempt, Reach, Row};
use crate::walls;
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = entries();
    rows.extend(arguments());
    rows.extend(namespaces_and_mounts());
    rows.extend(lists());
    rows
}

/// Other ways into the kernel than the one that the filter's table is about, and threads.
fn entries() -> Vec<Row> {
    let filter = [walls::FILTER];
    vec![
        Row::new("F1 32-bit entry", filter, |attempt| killed(attempt, "int-0x80"))
            .needs(Need::Other(|_| works_outside("int-0x80", ""))),
        // Most kernels have no x32 and answer ENOSYS: past the filter then is only that the kernel was asked.
        Row::new("F2 x32 entry", filter, |attempt| killed(attempt, "x32")),
        Row::new("F7 a task without the filter", filter, unfiltered_task).needs(Need::Other(no_other_filter)),
    ]
}

fn killed(attempt: &Attempt<'_>, word: &str) -> Result<Reach, Failed> {
    Ok(Reach::through_if(attempt.traced("getpid", &[], &[word])? != "SIGSYS"))
}

/// Every thread and child of the payload, as `/proc` outside has them.
fn unfiltered_task(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let running = Running::start(&mut attempt.probe(&[], &["threads"]))?;
    let statuses = wait_for("all tasks", || {
        let found = process::descendants(running.pid());
        // Three threads of the payload, a shell that became `sleep`, another one and its two; PID 1 is not the payload's.
        let sleeping =
            |pid: &&i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
        let tasks: Vec<_> = found.iter().skip(1).flat_map(|pid| tasks(*pid)).collect();
        (found.iter().filter(sleeping).count() == 3 && tasks.len() == 7).then_some(tasks)
    })?;
    let modes: Vec<_> = statuses.iter().map(|status| status.number("Seccomp")).collect::<Result<_, _>>()?;
    Reach::of_all(modes.iter().map(|mode| ("a task", *mode == 0)))
}

fn tasks(pid: i32) -> Vec<process::Status> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            Some(process::Status::parse(&fs::read_to_string(task.path().join("status")).ok()?))
        })
        .collect()
}

/// Bits that the kernel ignores, beside those that it heeds.
fn arguments() -> Vec<Row> {
    vec![
        Row::new("F3 mode with high bits", [walls::FILTER], mode_with_high_bits),
        Row::new("F3a family with high bits", [walls::FILTER], |attempt| {
            gives(attempt, "socket", "socket:0x100000010:3:0x100000006", "EPROTONOSUPPORT")
        })
        .needs(Need::Other(|_| works_outside("call", "socket:16:3:6"))),
        Row::new("F3b personality with high bits", [walls::FILTER], |attempt| {
            gives(attempt, "personality", "personality:0x100040000", "EPERM")
        }),
        Row::new("F3c clone with high bits", [walls::FILTER, walls::CEILING], |attempt| {
            makes_namespace(attempt, "clone", "clone:0x110000011")
        }),
    ]
}

/// A file of the host's gets set-user-id all the same.
fn mode_with_high_bits(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let file = attempt.user.put("home/project/file", "")?;
    let ended = attempt.traced("chmod", &[], &["call", &format!("chmod:={}:0x100000fed", file.display())])?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o7777;
    match (mode, ended.as_str()) {
        (0o644, "EPERM") => Ok(Reach::Held),
        (0o7755, "0") => Ok(Reach::Through),
        _ => Err(format!("chmod ended with {ended}, the mode is {mode:o}").into()),
    }
}

/// A call that gives a number, or this error.
fn gives(attempt: &Attempt<'_>, name: &str, call: &str, errno: &str) -> Result<Reach, Failed> {
    match attempt.traced(name, &[], &["call", call])? {
        found if found == errno => Ok(Reach::Held),
        found if found.starts_with(|first: char| first.is_ascii_digit()) => Ok(Reach::Through),
        found => Err(format!("{call} ended with {found}").into()),
    }
}

/// Namespaces by calls whose flags are in memory, and mounts by the calls that came after mount(2).
fn namespaces_and_mounts() -> Vec<Row> {
    let nesting = [walls::FILTER, walls::CEILING];
    let mounting = [walls::FILTER, walls::CAPABILITIES];
    vec![
        Row::new("F4 clone3 with flags in memory", nesting, |attempt| {
            makes_namespace(attempt, "clone3", "clone3:*0x10000000,0,0,0,17,0,0,0:64")
        }),
        Row::new("F4a clone", nesting, |attempt| makes_namespace(attempt, "clone", "clone:0x10000011")),
        Row::new("F5 mounts by the new calls", mounting, |attempt| {
            refused(attempt, "move_mount,fsopen", &["new-mount", "/tmp"])
        }),
        Row::new("F5a picks a mounted filesystem", mounting, |attempt| {
            refused(attempt, "fspick", &["pick", "/tmp"])
        }),
        Row::new("F5b clones a read-only mount", mounting, |attempt| writes(attempt, "clone-writable")),
        Row::new("F5c makes a read-only mount writable", mounting, |attempt| writes(attempt, "set-writable")),
        Row::new("F5d clones a read-only mount with other attributes", mounting, |attempt| {
            writes(attempt, "clone-writable-at-once")
        })
        .needs(Need::Kernel(6, 15)),
    ]
}

/// A user namespace: the call's result is the child's number.
fn makes_namespace(attempt: &Attempt<'_>, name: &str, call: &str) -> Result<Reach, Failed> {
    // The child may be killed at the end, as PID 1 ends with the program.
    let ended = attempt.traced_all(name, &[], &["call", call])?;
    match ended.iter().rev().find(|(found, _)| found == name) {
        Some((_, result)) if ["EPERM", "ENOSYS", "ENOSPC"].contains(&result.as_str()) => Ok(Reach::Held),
        Some((_, result)) if result.parse::<u32>().is_ok() => Ok(Reach::Through),
        _ => Err(format!("{call}: {ended:?}").into()),
    }
}

/// As root inside, whom capabilities are for.
const AS_ROOT: [&str; 2] = ["--set", "privileges.uid=root"];

/// The last of these calls, which is the one that counts where the ones before it succeed.
fn refused(attempt: &Attempt<'_>, calls: &str, words: &[&str]) -> Result<Reach, Failed> {
    let ended = attempt.traced_all(calls, &AS_ROOT, words)?;
    match ended.last() {
        Some((_, result)) if result == "EPERM" || result == "ENOSYS" => Ok(Reach::Held),
        Some((name, result)) if calls.starts_with(name) && result.parse::<u32>().is_ok() => {
            Ok(Reach::Through)
        }
        _ => Err(format!("{calls}: {ended:?}").into()),
    }
}

/// A file in a directory of the host's that is mounted read-only.
fn writes(attempt: &Attempt<'_>, word: &str) -> Result<Reach, Failed> {
    let shared = attempt.user.mkdir("shared")?;
    let pair = format!("{}:/shared", shared.display());
    let out = crate::common::output(
        &mut attempt.probe(&[&AS_ROOT[..], &["--ro", &pair]].concat(), &[word, "/shared", "made"]),
    )?;
    crate::ipc::ran(&out)?;
    Ok(Reach::through_if(Path::new(&shared).join("made").exists()))
}

/// Whole lists of calls.
fn lists() -> Vec<Row> {
    vec![
        Row::new("F6 calls newer than the table", [walls::FILTER], newer_calls)
            .needs(Need::Other(no_other_filter)),
        Row::new("F10 calls that act on the machine", [walls::FILTER], refused_calls)
            .needs(Need::Other(no_other_filter)),
        Row::new("F10a fixed addresses", [walls::FILTER], |attempt| {
            gives(attempt, "personality", "personality:0x40000", "EPERM")
        }),
        Row::new("F10b segments of the processor", [walls::FILTER], |attempt| {
            gives(attempt, "modify_ldt", LDT, "EPERM")
        })
        .needs(Need::Other(|_| works_outside("call", LDT))),
        Row::new("F10c faults handled by oneself", [walls::FILTER], |attempt| {
            gives(attempt, "userfaultfd", FAULTS, "EPERM")
        })
        .needs(Need::Other(|_| works_outside("call", FAULTS))),
        Row::new("F10d comparison of processes", [walls::FILTER], |attempt| {
            gives(attempt, "kcmp", "kcmp:2:2:1:0:0", "EPERM")
        })
        .needs(Need::Other(no_kcmp)),
        Row::new("F11 requests that take a terminal over", [walls::FILTER], terminal_requests)
            .needs(Need::Other(no_other_filter)),
    ]
}

/// Reads the table.
const LDT: &str = "modify_ldt:0:*0:8";
/// `UFFD_USER_MODE_ONLY`.
const FAULTS: &str = "userfaultfd:1";

/// The payload is number 2 inside, where it compares its own memory with itself.
fn no_kcmp(_: &Account) -> Option<String> {
    works_outside("call", &format!("kcmp:{0}:{0}:1:0:0", std::process::id()))
}

/// Numbers that no kernel has yet: in the probe's own listener one is found that has them.
fn newer_calls(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let known: Vec<u32> = sbx::seccomp::names().map(|(_, number)| number).collect();
    let unknown = (0..1024).chain([4095, 0x3fff_ffff]).filter(|number| !known.contains(number));
    sweep(attempt, &unknown.map(|number| Listed::numbered(number, "ENOSYS")).collect::<Vec<_>>())
}

/// Answered as to somebody without the privilege.
const REFUSED: &str = "acct add_key adjtimex bpf chroot clock_adjtime clock_settime create_module delete_module \
    fanotify_init fanotify_mark finit_module get_kernel_syms init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl \
    lookup_dcookie modify_ldt mount nfsservctl open_by_handle_at perf_event_open pidfd_getfd pivot_root process_vm_readv \
    process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key setdomainname sethostname setns \
    settimeofday swapoff swapon syslog umount2 unshare uselib userfaultfd ustat vhangup";

/// Answered as by a kernel without them.
const ABSENT: &str = "clone3 fsconfig fsmount fsopen fspick get_mempolicy io_uring_enter io_uring_register io_uring_setup \
    mbind migrate_pages mount_setattr move_mount move_pages open_tree set_mempolicy set_mempolicy_home_node";

fn refused_calls(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let all =
        |names: &'static str, errno| names.split_whitespace().map(move |name| Listed::new(name, "0", errno));
    let mut calls: Vec<_> = all(REFUSED, "EPERM").chain(all(ABSENT, "ENOSYS")).collect();
    // `ADDR_NO_RANDOMIZE`, `READ_IMPLIES_EXEC`, `MMAP_PAGE_ZERO`; another process's limits; `PR_SET_MM`.
    for (name, arguments) in [
        ("personality", "0x40000"),
        ("personality", "0x400000"),
        ("personality", "0x100000"),
        ("prlimit64", "1:7:0:0"),
        ("prctl", "35:1:0:0:0"),
    ] {
        calls.push(Listed::new(name, arguments, "EPERM"));
    }
    sweep(attempt, &calls)
}

/// `TIOCSTI`, `TIOCLINUX`, `TIOCSETD` and `TIOCCONS`, with bits that the kernel ignores as well.
fn terminal_requests(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let requests = [0x5412u64, 0x541c, 0x5423, 0x541d];
    let high = (32..64).map(|bit| 1u64 << bit).chain([0, 0xffff_ffff << 32]);
    let all = high.flat_map(|high| requests.map(|request| request | high));
    sweep(
        attempt,
        &all.map(|request| Listed::new("ioctl", format!("0:{request:#x}:0"), "EPERM")).collect::<Vec<_>>(),
    )
}
