//! I: the machine's clock and log, and what it says about itself.

use crate::common::{Account, Need, output};
use crate::filtered::{Listed, no_other_filter, sweep};
use crate::row::{Attempt, Reach, Row, canary};
use crate::stage::Stage;
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, Mount, MountOp, Plan};
use sbx::profile::Origin;
use std::fs;
use std::path::Path;

/// Files of the machine's in `/proc` are covered.
const MASKED_PROC: Wall = Wall {
    name: "masked proc",
    down: |plan| plan.mounts.retain(|mount| mount.op != MountOp::Mask || !mount.dest.starts_with("/proc")),
};
/// `/dev` with harmless nodes alone.
const OWN_DEVICES: Wall =
    Wall { name: "own devices", down: |plan| add(plan, "/dev/kmsg", host("/dev/kmsg", true)) };
/// An `/etc/machine-id` that says nothing.
const MADE_MACHINE_ID: Wall = Wall {
    name: "made machine id",
    down: |plan| {
        plan.mounts.retain(|mount| mount.dest != Path::new("/etc/machine-id"));
        add(plan, "/etc/machine-id", host("/etc/machine-id", false));
    },
};
/// A boot id that says nothing.
const MADE_BOOT_ID: Wall =
    Wall { name: "made boot id", down: |plan| plan.mounts.retain(|mount| mount.dest != Path::new(BOOT_ID)) };
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// No sysfs.
const NO_SYSFS: Wall = Wall { name: "no sysfs", down: |plan| add(plan, "/sys", host("/sys", false)) };
/// A root of its own.
const OWN_ROOT: Wall = Wall { name: "own root", down: |plan| add(plan, "/host", host("/", false)) };

fn add(plan: &mut Plan, dest: &str, op: MountOp) {
    plan.mounts.push(Mount { dest: dest.into(), op, origin: Origin::Default });
}

fn host(path: &str, devices: bool) -> MountOp {
    let source = BindSource::Path(path.into());
    MountOp::Bind { source, access: Access::ReadOnly, devices, optional: false, create: None }
}

pub(crate) fn rows() -> Vec<Row> {
    let masked = [MASKED_PROC];
    vec![
        Row::new("I1 sets the clock", [walls::FILTER], sets_the_clock).needs(Need::Other(no_other_filter)),
        Row::new("I3 reads the log", [walls::FILTER], reads_the_log).needs(Need::Other(no_other_filter)),
        // The node is root's.
        Row::new("I3a opens the log for writing", [OWN_DEVICES], opens_the_log).only_as_root(),
        Row::new("I4 symbols of the kernel", masked, |attempt| reads(attempt, SYMBOLS)),
        Row::new("I4a names of keys", masked, names_of_keys),
        Row::new("I4b interrupts", masked, |attempt| reads(attempt, "head -n 1 /proc/interrupts")),
        // Others can't read it outside either.
        Row::new("I4c timers", masked, |attempt| reads(attempt, "head -n 1 /proc/timer_list")).only_as_root(),
        Row::new("I5 name of the machine", [walls::UTS_NAMESPACE], name_of_the_machine),
        Row::new("I5a id of the machine", [MADE_MACHINE_ID], id_of_the_machine)
            .needs(Need::Other(no_machine_id)),
        Row::new("I5b addresses of interfaces", [walls::NETWORK_NAMESPACE], |attempt| {
            addresses(attempt, "cut -d' ' -f6 /proc/net/if_inet6; cut -d: -f1 /proc/net/dev")
        })
        .needs(Need::Other(no_interface)),
        Row::new("I5c interfaces in sysfs", [NO_SYSFS], |attempt| addresses(attempt, "ls /sys/class/net"))
            .needs(Need::Other(no_interface)),
        Row::new("I5d id of the boot", [MADE_BOOT_ID], id_of_the_boot),
        Row::new("I6 command line of the kernel", masked, |attempt| reads(attempt, "cat /proc/cmdline")),
        Row::new("I6a place in the cgroups", [walls::CGROUP_NAMESPACE], place_in_the_cgroups)
            .needs(Need::Other(no_cgroup)),
        Row::new("I6b mounts of the host", [OWN_ROOT], mounts_of_the_host),
    ]
}

/// Their names: the addresses may be zero for both.
const SYMBOLS: &str = "head -n 3 /proc/kallsyms | cut -d' ' -f2-3";

/// Nobody's user namespace could: that the filter refuses it is a wall of its own, seen without ever asking the kernel.
fn sets_the_clock(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let clock = |name, arguments| Listed::new(name, arguments, "EPERM");
    sweep(
        attempt,
        &[
            clock("clock_settime", "0:*0,0"),
            clock("settimeofday", "*0,0:0"),
            clock("adjtimex", "*0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"),
            clock("clock_adjtime", "0:*0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"),
        ],
    )
}

/// Where `kernel.dmesg_restrict` is set, the kernel would refuse it too.
fn reads_the_log(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    // Read all, its size, read and clear.
    sweep(attempt, &["3:0:0", "10:0:0", "4:0:0"].map(|arguments| Listed::new("syslog", arguments, "EPERM")))
}

/// Opens and writes nothing.
fn opens_the_log(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    match attempt.traced("openat", &[], &["call", "openat:-100:=/dev/kmsg:1"])?.as_str() {
        "ENOENT" => Ok(Reach::Held),
        found if found.parse::<u32>().is_ok() => Ok(Reach::Through),
        found => Err(format!("it ended with {found}").into()),
    }
}

/// Whether a script finds inside what it finds outside.
fn reads(attempt: &Attempt<'_>, script: &str) -> Result<Reach, Failed> {
    let outside = output(attempt.user.command("sh").args(["-c", script]))?;
    let wanted = outside.exits(0)?.text();
    outside.check(!wanted.trim().is_empty(), || "something to find".to_owned())?;
    let out = attempt.sh(&[], &format!("{script}; echo ran"))?;
    out.stdout_has("ran\n")?;
    Ok(Reach::through_if(out.text().contains(&wanted)))
}

/// The name of a key of the caller's, which `/proc/keys` has even where the key can't be had.
fn names_of_keys(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    const LOGIN: &str = "($name, $t, $s) = (shift, 'user', 'secret'); syscall(250, 1, 0) > 0 or die 'join';
        syscall(248, $t, $name, $s, 6, -3) > 0 or die 'add'; system @ARGV";
    let name = canary()?;
    let mut sandbox = attempt.sbx(&[]);
    sandbox.args(["sh", "-c", "cat /proc/keys; echo ran"]);
    let mut caller = attempt.user.command("perl");
    caller.args(["-e", LOGIN, &name]).arg(sandbox.get_program()).args(sandbox.get_args());
    let out = output(&mut caller)?;
    out.stdout_has("ran\n")?;
    Ok(Reach::through_if(out.text().contains(&name)))
}

fn name_of_the_machine(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    says_name(attempt, "uname -n; cat /proc/sys/kernel/hostname /etc/hostname /etc/hosts; set")
}

fn no_machine_id(_: &Account) -> Option<String> {
    (!Path::new("/etc/machine-id").exists()).then(|| "no /etc/machine-id".to_owned())
}

fn id_of_the_machine(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    says_name(attempt, "cat /etc/machine-id /var/lib/dbus/machine-id")
}

fn id_of_the_boot(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let found = attempt.sh(&[], &format!("cat {BOOT_ID}"))?.exits(0)?.text();
    Ok(Reach::through_if(found == fs::read_to_string(BOOT_ID)?))
}

fn mounts_of_the_host(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    says_name(attempt, "cat /proc/mounts /proc/[0-9]*/mountinfo /proc/[0-9]*/mountstats")
}

/// Whether a script inside finds the name of a machine.
fn says_name(attempt: &Attempt<'_>, script: &str) -> Result<Reach, Failed> {
    let stage = Stage::new(attempt)?;
    let mut sandbox = attempt.sbx(&[]);
    sandbox.args(["sh", "-c", &format!("{script}; echo ran")]);
    let out = output(&mut stage.on(&sandbox))?;
    out.stdout_has("ran\n")?;
    Ok(Reach::through_if(out.text().contains(&stage.name)))
}

/// The interfaces of the machine beside its loopback.
fn interfaces() -> Vec<String> {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.filter(|name| name != "lo").collect()
}

fn no_interface(_: &Account) -> Option<String> {
    interfaces().is_empty().then(|| "no interface but the loopback".to_owned())
}

fn addresses(attempt: &Attempt<'_>, script: &str) -> Result<Reach, Failed> {
    let out = attempt.sh(&[], &format!("{script}; echo ran"))?;
    out.stdout_has("ran\n")?;
    let text = out.text();
    Ok(Reach::through_if(text.lines().any(|line| interfaces().iter().any(|name| line.trim() == name))))
}

/// Where this process is in the hierarchies, but for their roots.
fn cgroups() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter(|path| *path != "/").map(str::to_owned).collect()
}

fn no_cgroup(_: &Account) -> Option<String> {
    cgroups().is_empty().then(|| "this process is in the root of every cgroup hierarchy".to_owned())
}

fn place_in_the_cgroups(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let out = attempt.sh(&[], "cat /proc/self/cgroup")?;
    let text = out.exits(0)?.text();
    Ok(Reach::through_if(cgroups().iter().any(|path| text.contains(path))))
}
