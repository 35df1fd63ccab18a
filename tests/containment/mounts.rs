//! B: mounts that the payload would rather not have, and what of the host's kernel filesystems it sees.

use crate::common::{Account, Need, Running, output, wait_for};
use crate::row::{Attempt, Reach, Row, canary};
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, Mount, MountOp, Plan};
use sbx::profile::{Nested, Setting};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn rows() -> Vec<Row> {
    let mount_walls = [NO_CALLS, walls::CAPABILITIES];
    vec![
        Row::new("B5 unmounts what hides something", mount_walls, unmount),
        Row::new("B6 makes a read-only mount writable", mount_walls, remount),
        Row::new("B6a makes devices of a mount work", mount_walls, remount_devices),
        Row::new("B10 the old root", [NO_OLD_ROOT], old_root),
        Row::new("B11 the host's proc", [OWN_PROC], host_proc),
        // Nobody else may write to these files outside either.
        Row::new("B12 files of proc that act on the machine", [COVERED_PROC], machine_proc).only_as_root(),
        Row::new("B12a files of proc that tell about the machine", [COVERED_PROC], told_proc),
        Row::new("B14 the host's sys", [NO_SYS], host_sys),
        Row::new("B16 a device that is not for every program", [OWN_DEV], host_device)
            .needs(Need::Other(no_host_device)),
        Row::new("B16a a device node below a bind", [NO_DEVICES], bound_device),
    ]
}

/// No system call about mounts, and no namespace in which they would be allowed. Without this wall the mounts are still
/// locked for a nested namespace.
const NO_CALLS: Wall = Wall {
    name: "filter and ceiling",
    down: |plan| {
        plan.seccomp = None;
        plan.namespaces.nested = Setting::default_value(Nested::Full);
    },
};

/// The host's root is nowhere below the new one. A careless program leaves it attached where it was stacked.
const NO_OLD_ROOT: Wall = Wall { name: "the old root is detached", down: |plan| show(plan, "/", "/oldroot") };

/// A procfs of the sandbox's PID namespace.
const OWN_PROC: Wall = Wall { name: "own procfs", down: |plan| replace(plan, "/proc") };

/// What lies over files of `/proc`.
const COVERED_PROC: Wall = Wall {
    name: "covers in proc",
    down: |plan| {
        plan.mounts.retain(|mount| {
            let cover = matches!(mount.op, MountOp::Mask | MountOp::ReadOnly);
            !(cover && mount.dest.starts_with("/proc"))
        });
    },
};

/// There is no `/sys`.
const NO_SYS: Wall = Wall { name: "no sysfs", down: |plan| show(plan, "/sys", "/sys") };

/// A `/dev` with six nodes.
const OWN_DEV: Wall = Wall { name: "own dev", down: |plan| replace(plan, "/dev") };

/// Device nodes in what is bound don't work.
const NO_DEVICES: Wall = Wall {
    name: "nodev",
    down: |plan| {
        for mount in &mut plan.mounts {
            if let MountOp::Bind { devices, .. } = &mut mount.op {
                *devices = true;
            }
        }
    },
};

/// Binds a directory of the host's with all below it. Read-only: a writable one that holds sbx's own profiles is refused, another wall.
fn show(plan: &mut Plan, source: &str, dest: &str) {
    let source = BindSource::Path(source.into());
    let op = MountOp::Bind { source, access: Access::ReadOnly, devices: true, optional: false, create: None };
    plan.mounts.push(Mount { dest: dest.into(), op, origin: sbx::profile::Origin::Default });
}

/// Binds the host's directory in place of all that the plan makes there.
fn replace(plan: &mut Plan, directory: &str) {
    plan.mounts.retain(|mount| !mount.dest.starts_with(directory));
    show(plan, directory, directory);
}

/// As root of the sandbox, so that all capabilities are there if they are not dropped.
const AS_ROOT: [&str; 2] = ["--set", "privileges.uid=root"];

/// Runs the probe, which must say something.
fn attack(attempt: &Attempt<'_>, options: &[&str], words: &[&str]) -> Result<(), Failed> {
    let options = [&AS_ROOT, options].concat();
    output(&mut attempt.probe(&options, words))?.stdout_has("\n").map(drop)
}

fn unmount(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let hidden = attempt.user.put("w/hidden/file", "kept\n")?;
    let given = format!("{}:/w", attempt.user.dir().join("w").display());
    let options = ["--rw", &given, "--tmpfs", "/mnt", "--hide", "/w/hidden"];
    let words = ["unmount", "/w/hidden", "/w", "/mnt", "/w/hidden/file", "/mnt/hidden/file"];
    attack(attempt, &options, &words)?;
    Ok(Reach::through_if(fs::read_to_string(hidden)? != "kept\n"))
}

fn remount(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let file = attempt.user.put("w/file", "kept\n")?;
    let given = format!("{}:/w", attempt.user.dir().join("w").display());
    attack(attempt, &["--ro", &given], &["remount", "/w", "/w/file", "/w/file"])?;
    Ok(Reach::through_if(fs::read_to_string(file)? != "kept\n"))
}

/// A node that every sandbox may use, but not by this name.
fn remount_devices(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    attack(attempt, &["--ro", "/dev/zero:/d/zero"], &["remount", "/d/zero", "/d/zero", "read"])?;
    Ok(Reach::through_if(attempt.user.project().join("read").exists()))
}

/// From every mount point, and from every way up.
fn old_root(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let secret = attempt.user.put("secret", &canary)?;
    let script = "up=/; i=0; while [ $i -lt 50 ]; do up=$up../; i=$((i+1)); done
        { cut -d' ' -f5 /proc/self/mountinfo; ls -d /.[a-z]* /*; ls -d /proc/*/root /proc/*/cwd/$up /proc/*/fd/*/$up; echo $up
        } | while read -r at; do cat \"$at$0\"; done; echo ran";
    let out = output(attempt.sbx(&[]).args(["sh", "-c", script]).arg(&secret))?;
    out.stdout_has("ran\n")?;
    Ok(Reach::through_if(out.text().contains(&canary)))
}

/// What a process outside has in its command line, which everybody may read who can see it.
fn host_proc(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let mut host = attempt.user.command("bash");
    let host = Running::start(host.args(["-c", &format!("exec -a {canary} sleep 1000")]))?;
    let path = format!("/proc/{}/cmdline", host.pid());
    let read = || fs::read_to_string(&path).ok().filter(|text| text.starts_with(&canary));
    wait_for("the process outside", read)?;
    let out = attempt.sh(&[], "cat /proc/*/cmdline; echo ran")?;
    out.stdout_has("ran\n")?;
    Ok(Reach::through_if(out.text().contains(&canary)))
}

/// Files that change the whole machine; a kernel has some of them. They are opened, and nothing is ever written.
const MACHINE: [&str; 23] = [
    "/proc/acpi/wakeup",
    "/proc/bus/pci/00/00.0",
    "/proc/fs/xfs/stat",
    "/proc/fs/nfsd/threads",
    "/proc/irq/default_smp_affinity",
    "/proc/irq/0/smp_affinity",
    "/proc/irq/1/smp_affinity_list",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/scsi/scsi",
    "/proc/sysrq-trigger",
    "/proc/sys/dev/tty/legacy_tiocsti",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
];

fn machine_proc(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    open_all(attempt, "open-to-write", &MACHINE, 0o200)
}

/// Files that tell about the whole machine.
const ABOUT_MACHINE: [&str; 14] = [
    "/proc/bus/input/devices",
    "/proc/bus/pci/devices",
    "/proc/cmdline",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/sched_debug",
    "/proc/scsi/scsi",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
];

fn told_proc(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    open_all(attempt, "open-to-read", &ABOUT_MACHINE, if attempt.user.is_root() { 0o400 } else { 0o004 })
}

/// Opens those files that exist and that the mode bit lets this user open.
fn open_all(
    attempt: &Attempt<'_>,
    word: &'static str,
    paths: &[&'static str],
    bit: u32,
) -> Result<Reach, Failed> {
    let may = |path: &&&str| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & bit != 0);
    let paths: Vec<&str> = paths.iter().filter(may).copied().collect();
    let words = [&[word], &paths[..]].concat();
    let ended: Vec<_> = attempt.traced_all("openat", &[], &words)?;
    match ended.len().checked_sub(paths.len()) {
        Some(others) if paths.len() > 3 => {
            let ended = ended[others..].iter().map(|(_, ending)| opened(ending));
            Reach::of_all(paths.into_iter().zip(ended))
        }
        _ => Err(format!("too few files to say anything: {paths:?}").into()),
    }
}

/// Whether what a tracer saw of an open is a descriptor.
fn opened(ending: &str) -> bool {
    ending.parse::<u32>().is_ok()
}

/// The names of devices, network interfaces and disks among them.
fn host_sys(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    const LIST: &str = "ls /sys/class /sys/class/net /sys/block /sys/fs; echo ran";
    let outside = output(attempt.user.command("sh").args(["-c", LIST]))?.text();
    let inside = attempt.sh(&[], LIST)?.text();
    match inside.as_str() {
        "ran\n" if outside != inside => Ok(Reach::Held),
        _ if outside == inside => Ok(Reach::Through),
        _ => Err(format!("outside:\n{outside}inside:\n{inside}").into()),
    }
}

/// A node of the host's that this user may open, beside the six.
fn device(root: bool) -> Option<&'static str> {
    let nodes = ["/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/autofs", "/dev/rtc0", "/dev/loop-control"];
    nodes
        .into_iter()
        .find(|node| fs::metadata(node).is_ok_and(|node| root || node.permissions().mode() & 0o004 != 0))
}

fn no_host_device(account: &Account) -> Option<String> {
    device(account.is_root()).is_none().then(|| "no device node that this user may open".to_owned())
}

fn host_device(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let node = device(attempt.user.is_root()).ok_or("no device node")?;
    Ok(Reach::through_if(opened(&attempt.traced("openat", &[], &["open-to-read", node])?)))
}

fn bound_device(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let options = ["--rw", "/dev/zero:/d/zero"];
    let ending = attempt.traced("openat", &options, &["open-to-read", "/d/zero"])?;
    match ending.as_str() {
        "EACCES" => Ok(Reach::Held),
        number if opened(number) => Ok(Reach::Through),
        other => Err(format!("{other}, neither opened nor refused for nodev").into()),
    }
}
