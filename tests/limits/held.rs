//! Limits that hold: processes, memory, processors, shares.

use crate::common::edited::Edit;
use crate::common::{Case, Need, User, Verdict, case, output, wait_for};
use crate::stage::{Box, field, gone, no_group_is_left, rung, sh, verb};
use libtest_mimic::Failed;
use sbx::plan::Plan;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(a_fork_bomb).needs(Need::Program("perl")),
        case!(a_memory_hog),
        case!(memory_without_swap),
        case!(a_hog_in_the_background),
        case!(a_processor_hog),
        case!(shares_of_a_processor),
        case!(what_is_written),
        case!(the_rung),
        case!(a_report),
    ];
    cases.into_iter().map(|case| case.needs(Need::Delegation)).collect()
}

/// Two walls hold processes: the cgroup all of the sandbox's, a resource limit those of its user namespace, but not root's.
pub(crate) const EDITS: &[Edit] = &[
    ("processes-all-off", |plan| {
        plan.limits.processes.value = 200;
        processes_of_cgroup(plan, 200);
    }),
    ("processes-by-cgroup-alone", |plan| plan.limits.processes.value = 200),
    ("processes-by-rlimit-alone", |plan| processes_of_cgroup(plan, 200)),
];

fn processes_of_cgroup(plan: &mut Plan, most: u32) {
    for knob in plan.cgroup.iter_mut().flat_map(|cgroup| &mut cgroup.knobs) {
        if knob.file == "pids.max" {
            knob.value = most.to_string();
        }
    }
}

/// The processes that a bomb has come to, a second after it was as many as that, and how often the cgroup has refused one.
fn bombed(user: &User, sbx: Command, many: u64) -> Result<(u64, u64), Failed> {
    let bomb =
        "perl -e 'while (1) { select(undef, undef, undef, 0.5) unless defined fork }' & exec sleep 100";
    let sandbox = Box::start_by(user, sbx, &["--pids", "40"], bomb)?;
    let current = || sandbox.knob("pids.current").ok()?.parse::<u64>().ok();
    wait_for(&format!("{many} processes"), || current().filter(|count| *count >= many))?;
    std::thread::sleep(Duration::from_secs(1));
    let found = (sandbox.knob("pids.current")?.parse()?, field(&sandbox.knob("pids.events")?, "max")?);
    // The host can still start programs.
    for _ in 0..20 {
        output(&mut Command::new("true"))?.exits(0)?;
    }
    sandbox.end(user)?;
    Ok(found)
}

/// It stays within its limit.
fn a_fork_bomb(user: &User) -> Verdict {
    let holds = |edit: &str, by_cgroup: bool| -> Verdict {
        let (current, refused) = bombed(user, user.edited(edit), 30)?;
        let held = (30..=40).contains(&current) && (refused > 0 || !by_cgroup);
        if held { Ok(()) } else { Err(format!("{edit}: {current} processes, {refused} refused").into()) }
    };
    let (current, _) = bombed(user, user.edited("processes-all-off"), 100)?;
    if current < 100 {
        return Err(format!("with all walls off it comes to {current} processes only").into());
    }
    let (current, _) = bombed(user, user.sbx(), 30)?;
    if !(30..=40).contains(&current) {
        return Err(format!("{current} processes").into());
    }
    holds("processes-by-cgroup-alone", true)?;
    if user.is_root() { Ok(()) } else { holds("processes-by-rlimit-alone", false) }
}

/// The whole sandbox is killed, and it is said by what.
fn a_memory_hog(user: &User) -> Verdict {
    let hog = "sleep 100 & head -c 300M /dev/zero | tail -c 300M | cat >/dev/null; echo lived";
    let out = output(user.sbx().args(["--memory", "48M", "--status-fd", "1", "sh", "-c", hog]))?;
    out.exits(137)?.stderr_has("killed by the memory limit: 48 MiB, peak 48 MiB")?.stdout_lacks("lived")?;
    let text = out.text();
    let ended: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let right = ended["oom"] == true && ended["why"] == "out-of-memory" && ended["status"] == 137;
    out.check(right, || "the last line should tell of it".to_owned())?;
    // With four times as much the same script runs.
    let out = sh(
        user,
        &["--memory", "700M"],
        "head -c 300M /dev/zero | tail -c 300M | cat >/dev/null; echo lived",
    )?;
    out.exits(0)?.stdout_is("lived\n")?;
    no_group_is_left(user)
}

fn memory_without_swap(user: &User) -> Verdict {
    let plain = Box::start(user, &["--memory", "64M"], "sleep 100")?;
    plain.has(&[("memory.max", "67108864"), ("memory.swap.max", "0"), ("memory.oom.group", "1")])?;
    plain.end(user)?;
    let with = Box::start(user, &["--memory", "64M", "--swap", "16M"], "sleep 100")?;
    with.has(&[("memory.swap.max", "16777216")])?;
    with.end(user)
}

/// One that the command has left behind counts as well.
fn a_hog_in_the_background(user: &User) -> Verdict {
    let hog = "(setsid sh -c 'head -c 300M /dev/zero | tail -c 300M | sleep 100' &); sleep 100";
    sh(user, &["--memory", "32M"], hog)?.exits(137)?.stderr_has("killed by the memory limit: 32 MiB")?;
    Ok(())
}

/// Within five in a hundred.
fn a_processor_hog(user: &User) -> Verdict {
    let hog = "for i in 1 2 3; do while :; do :; done & done; wait";
    let sandbox = Box::start(user, &["--cpus", "1.5"], hog)?;
    let processors = sandbox.processors(Duration::from_secs(6))?;
    if !(1.425..=1.575).contains(&processors) {
        return Err(format!("{processors} processors, not 1.5").into());
    }
    sandbox.end(user)
}

/// Two that share one processor by 100 to 300.
fn shares_of_a_processor(user: &User) -> Verdict {
    let on_one = || {
        let mut command = user.command("taskset");
        command.args(["-c", "0"]).arg(user.sbx_path());
        command
    };
    let hog = "while :; do :; done";
    let small = Box::start_by(user, on_one(), &["--set", "limits.cpu-weight=100"], hog)?;
    let large = Box::start_by(user, on_one(), &["--set", "limits.cpu-weight=300"], hog)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = (small.used()?, large.used()?);
    std::thread::sleep(Duration::from_secs(6));
    let after = (small.used()?, large.used()?);
    let ratio = (after.1 - before.1) as f64 / (after.0 - before.0) as f64;
    small.end(user)?;
    large.end(user)?;
    if (2.4..=3.6).contains(&ratio) { Ok(()) } else { Err(format!("1 to {ratio}, not 1 to 3").into()) }
}

fn what_is_written(user: &User) -> Verdict {
    let options = [
        "--memory",
        "100M",
        "--cpus",
        "0.25",
        "--pids",
        "30",
        "--set",
        "limits.memory-high=\"80M\"",
        "--set",
        "limits.cpu-weight=50",
    ];
    let sandbox = Box::start(user, &options, "sleep 100")?;
    sandbox.has(&[
        ("memory.max", "104857600"),
        ("memory.high", "83886080"),
        ("cpu.max", "25000 100000"),
        ("cpu.weight", "50"),
        ("pids.max", "30"),
        ("cgroup.max.descendants", "0"),
    ])?;
    let cgroup = sandbox.cgroup()?;
    sandbox.end(user)?;
    gone(Some(&cgroup))
}

/// `explain`, the status lines and `sbx ps` tell the same rung, and it is that of the session.
fn the_rung(user: &User) -> Verdict {
    let explained = verb(user, &["explain", "--format", "json", "--memory", "64M", "true"])?;
    let plan: Value = serde_json::from_str(&explained.text())?;
    explained.check(plan["cgroup"]["place"]["rung"] == rung(user), || format!("the rung {}", rung(user)))?;
    let text = verb(user, &["explain", "--memory", "64M", "true"])?;
    text.stdout_has(&format!("cgroup      {}: ", rung(user)))?.stdout_has("memory.max = 67108864")?;
    let status = output(user.sbx().args(["--memory", "64M", "--status-fd", "1", "true"]))?;
    let text = status.text();
    let started: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
    status.check(started["cgroup"]["rung"] == rung(user), || format!("the rung {}", rung(user)))?;
    let sandbox = Box::start(user, &["--memory", "64M"], "sleep 100")?;
    if sandbox.seen["rung"] != rung(user) {
        return Err(format!("{}", sandbox.seen).into());
    }
    // Inside there is nothing of the way to it.
    let inside = verb(user, &["exec", &sandbox.name, "cat", "/proc/self/cgroup"])?;
    inside.exits(0)?.stdout_is("0::/\n")?;
    sandbox.end(user)
}

fn a_report(user: &User) -> Verdict {
    let busy =
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 5M /dev/zero | tail -c 5M >/dev/null";
    let out = sh(user, &["--report", "--cpus", "0.5", "--memory", "200M"], busy)?;
    out.exits(0)?;
    let errors = out.errors();
    for name in ["wall", "user", "system", "memory peak", "processes peak", "throttled"] {
        let line = errors.lines().find(|line| line.trim().starts_with(name)).unwrap_or_default();
        out.check(line.contains(char::is_numeric), || format!("the report should measure {name}"))?;
    }
    Ok(())
}
