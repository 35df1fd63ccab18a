//! C1, C2, C3, C6: processes outside, PID 1, and what outlives the run.

use crate::common::process::{self, Status};
use crate::common::{Need, Running, wait_for};
use crate::probe;
use crate::row::{Attempt, Reach, Row, canary, ran};
use crate::walls;
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("C1 signals a process outside", [walls::PID_NAMESPACE, walls::SCOPES], signal)
            .needs(Need::Kernel(6, 12)),
        Row::new("C2 traces another process", [walls::FILTER, walls::HIDDEN_INIT], trace),
        Row::new("C3 reads PID 1", [walls::HIDDEN_INIT], read_init),
        Row::new("C6 daemons", [walls::PID_NAMESPACE], daemons),
    ]
}

/// Starts `sleep` with a command that runs it, and says what the kernel knows of it.
pub(crate) fn status_of_sleep(command: &mut Command) -> Result<Status, Failed> {
    let running = Running::start(command.args(["sleep", "1000"]))?;
    status_of_running_sleep(&running)
}

/// What the kernel knows of the `sleep` that a command has become, or started.
pub(crate) fn status_of_running_sleep(running: &Running) -> Result<Status, Failed> {
    let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = || [running.pid()].into_iter().chain(process::descendants(running.pid()));
    let pid = wait_for("the sleep", || all().find(|pid| name(*pid) == "sleep\n"))?;
    Status::of(pid)
}

/// The processes of the machine that have a word in their command line.
pub(crate) fn that_say(word: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let says = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    };
    pids.filter(says).collect()
}

/// Whether a process outside got a signal that ends it: it needn't be dead yet.
fn got_a_signal(pid: i32) -> bool {
    let ending = || {
        let Ok(status) = Status::of(pid) else { return true };
        let is = |field, wanted: &[char]| status.field(field).is_ok_and(|text| text.starts_with(wanted));
        let pending = |field| status.field(field).is_ok_and(|set| set.chars().any(|digit| digit != '0'));
        is("State", &['Z', 'X']) || pending("SigPnd") || pending("ShdPnd")
    };
    (0..10).any(|_| {
        sleep(Duration::from_millis(5));
        ending()
    })
}

fn signal(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let ways = ["kill", "tgkill", "rt_sigqueueinfo", "pidfd_send_signal"];
    let one = |way: &'static str| {
        let host = Running::start(attempt.user.command("sleep").arg("1000"))?;
        ran(&mut attempt.probe(&[], &["signal", way, &host.pid().to_string()]))?;
        Ok((way, got_a_signal(host.pid())))
    };
    Reach::of_all(ways.into_iter().map(one).collect::<Result<Vec<_>, Failed>>()?)
}

/// PID 1 is a process of the sandbox's user namespace with the caller's environment. A process outside is in another one, so
/// that it can't be traced even if it could be named; outside it can be.
fn trace(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let mut host = attempt.user.command(attempt.user.edited_path());
    let host = Running::start(host.args([probe::WORD, "wait"]).env("CANARY", &canary))?;
    let pid = host.pid().to_string();
    let finds = |command: &mut Command| Ok::<_, Failed>(ran(command)?.text().contains(&canary));
    let mut ways = Vec::new();
    for way in ["process_vm_readv", "ptrace"] {
        let mut outside = attempt.user.command(attempt.user.edited_path());
        outside.args([probe::WORD, "read-memory", way, &pid]);
        wait_for("the process outside", || finds(&mut outside).is_ok_and(|found| found).then_some(()))?;
        if finds(&mut attempt.probe(&[], &["read-memory", way, &pid]))? {
            return Err(format!("{way} of a process outside works").into());
        }
        let mut inside = attempt.probe(&[], &["read-memory", way, "1"]);
        ways.push((way, finds(inside.env("CANARY", &canary))?));
    }
    let taken = attempt.traced("pidfd_getfd", &[], &["take-descriptor", "1"])?;
    ways.push(("pidfd_getfd", taken.parse::<i32>().is_ok()));
    Reach::of_all(ways)
}

/// What PID 1 has of the caller. What it speaks to sbx by is a socket, which nobody can open a second time.
fn read_init(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let mut ways = Vec::new();
    let mut environ = attempt.sbx(&[]);
    environ.args(["cat", "/proc/1/environ"]).env("CANARY", &canary);
    ways.push(("environ", ran(&mut environ)?.text().contains(&canary)));
    let exe = attempt.sh(&[], "cat /proc/1/exe")?;
    ways.push(("exe", exe.stdout == fs::read(attempt.sbx(&[]).get_program())?));
    let mut memory = attempt.probe(&[], &["read-memory", "mem", "1"]);
    ways.push(("mem", ran(memory.env("CANARY", &canary))?.text().contains(&canary)));
    Reach::of_all(ways)
}

/// A thousand processes that nobody is the parent of, each in a session of its own.
fn daemons(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let out = ran(&mut attempt.probe(&[], &["daemons", "1000", &canary]))?;
    let left = that_say(&canary);
    for pid in &left {
        // It may have ended meanwhile: none lives longer than some seconds.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    out.exits(0)?.stdout_is("1000\n")?;
    Ok(Reach::through_if(!left.is_empty()))
}
