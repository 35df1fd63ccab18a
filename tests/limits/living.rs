//! Sandboxes that run and have a cgroup: paused, resumed, limited anew, listed with what they use.

use crate::common::{Case, Need, User, Verdict, case, wait_for};
use crate::stage::{Box, field, verb};
use std::fs;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(pause_and_resume),
        case!(a_paused_one_is_ended),
        case!(a_limit_for_a_running_hog),
        case!(memory_for_a_running_hog),
        case!(limits_that_are_refused),
        case!(all_or_none),
        case!(what_is_used),
    ];
    cases.into_iter().map(|case| case.needs(Need::Delegation)).collect()
}

const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i >count; sleep 0.05; done";

fn pause_and_resume(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--memory", "64M"], COUNTS)?;
    let count = || fs::read_to_string(user.project().join("count")).unwrap_or_default();
    wait_for("the first number", || (!count().is_empty()).then_some(()))?;
    verb(user, &["pause", &sandbox.name])?.exits(0)?.stdout_is("")?;
    let before = (count(), sandbox.used()?);
    if sandbox.look(user)?["state"] != "paused" {
        return Err("it is not listed as paused".into());
    }
    std::thread::sleep(Duration::from_millis(700));
    if (count(), sandbox.used()?) != before {
        return Err("it goes on although it is paused".into());
    }
    verb(user, &["resume", &sandbox.name])?.exits(0)?;
    wait_for("it to go on", || (count() != before.0).then_some(()))?;
    if sandbox.look(user)?["state"] != "running" {
        return Err("it is not listed as running".into());
    }
    sandbox.end(user)
}

fn a_paused_one_is_ended(user: &User) -> Verdict {
    let sandbox =
        Box::start(user, &["--memory", "64M"], "trap 'echo told >told; exit 3' TERM; sleep 100 & wait")?;
    verb(user, &["pause", &sandbox.name])?.exits(0)?;
    verb(user, &["stop", &sandbox.name])?.exits(0)?;
    let cgroup = sandbox.cgroup()?;
    sandbox.running.finish()?.exits(3)?;
    crate::stage::gone(Some(&cgroup))?;
    if user.project().join("told").exists() { Ok(()) } else { Err("its command was not told".into()) }
}

fn a_limit_for_a_running_hog(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--cpus", "1"], "while :; do :; done")?;
    let before = sandbox.processors(Duration::from_secs(2))?;
    verb(user, &["limit", &sandbox.name, "cpus=0.3"])?.exits(0)?.stderr_is("")?;
    sandbox.has(&[("cpu.max", "30000 100000")])?;
    std::thread::sleep(Duration::from_millis(300));
    let after = sandbox.processors(Duration::from_secs(3))?;
    if before < 0.8 || !(0.27..=0.33).contains(&after) {
        return Err(format!("{before} processors, then {after}").into());
    }
    verb(user, &["limit", &sandbox.name, "cpus=max"])?.exits(0)?;
    sandbox.has(&[("cpu.max", "max 100000")])?;
    sandbox.end(user)
}

fn memory_for_a_running_hog(user: &User) -> Verdict {
    let hog = "head -c 100M /dev/zero | tail -c 100M | sleep 100";
    let sandbox = Box::start(user, &["--memory", "300M"], hog)?;
    wait_for("100 MiB", || {
        let current: u64 = sandbox.knob("memory.current").ok()?.parse().ok()?;
        (current > 100 << 20).then_some(())
    })?;
    verb(user, &["limit", &sandbox.name, "memory=32M"])?.exits(0)?;
    sandbox.running.finish()?.exits(137)?.stderr_has("killed by the memory limit: 32 MiB")?;
    Ok(())
}

fn limits_that_are_refused(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--memory", "64M", "--pids", "50"], "sleep 100")?;
    for (setting, why) in [
        ("memory=-1", "out of range"),
        ("memory=0", "too little memory"),
        ("memory=1.2.3G", "not a size"),
        ("memory=9999999T", "larger than any size"),
        ("cpus=0", "above 0"),
        ("cpus=-2", "above 0"),
        ("cpus=1e9", "more processors than any machine has"),
        ("pids=0", "too small"),
        ("pids=1.5", "a number"),
        ("pids=51", "RLIMIT_NPROC"),
        ("cpu-weight=0", "too small"),
        ("cpu-weight=10001", "too large"),
        ("cpuset=3-1", "not a list of processors"),
        ("io=[{ path = \"/proc\", read = \"1M\" }]", "no disk"),
        ("io=[{ path = \"/nonexistent\", read = \"1M\" }]", "no such file"),
        ("timeout=5s", "no limit that can change"),
        ("nice=5", "no limit that can change"),
        ("bogus=1", "no limit that can change"),
        ("memory", "there is no `=`"),
    ] {
        let out = verb(user, &["limit", &sandbox.name, setting])?;
        out.exits(125)?.stderr_has(why)?;
    }
    sandbox.has(&[("memory.max", "67108864"), ("pids.max", "50")])?;
    sandbox.end(user)
}

/// What comes before a setting that fails is as it was.
fn all_or_none(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--memory", "64M"], "sleep 100")?;
    verb(user, &["limit", &sandbox.name, "memory=32M", "cpuset=500"])?.exits(125)?;
    sandbox.has(&[("memory.max", "67108864")])?;
    sandbox.end(user)
}

fn what_is_used(user: &User) -> Verdict {
    let busy = "head -c 20M /dev/zero | tail -c 20M | (while :; do :; done)";
    let sandbox = Box::start(user, &["--memory", "200M", "--cpus", "0.5"], busy)?;
    wait_for("20 MiB and some time", || {
        let usage = &sandbox.look(user).ok()?["usage"];
        let (memory, time) = (usage["memory-bytes"].as_u64()?, usage["user-seconds"].as_f64()?);
        (memory > 20 << 20 && time > 0.2).then_some(())
    })?;
    let limits = &sandbox.look(user)?["limits"];
    if limits["memory"] != 200 << 20 || limits["cpus"] != 0.5 {
        return Err(format!("{limits}").into());
    }
    let out = verb(user, &["stats", &sandbox.name])?;
    out.exits(0)?.stdout_has("MEMORY")?.stdout_has(&sandbox.name)?.stdout_has("200 MiB")?;
    let table = verb(user, &["ps"])?;
    table.exits(0)?.stdout_has("STATE")?.stdout_has(&sandbox.name)?;
    field(&sandbox.knob("cpu.stat")?, "nr_throttled")?;
    sandbox.end(user)
}
