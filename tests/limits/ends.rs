//! Ends: everything goes, whatever it has become, and no cgroup stays.

use crate::common::{Case, Need, User, Verdict, case, process, wait_for};
use crate::stage::{Box, gone, groups, no_group_is_left, sh, verb};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(daemons_end_with_it),
        case!(a_deaf_command_is_killed),
        case!(kills_of_sbx),
        case!(kills_of_sbx_and_its_janitor),
        case!(a_paused_one_whose_sbx_is_killed),
        case!(memory_too_little_to_start),
    ];
    cases.into_iter().map(|case| case.needs(Need::Delegation)).collect()
}

fn daemons_end_with_it(user: &User) -> Verdict {
    let daemons =
        "for i in 1 2 3 4 5; do (setsid sh -c 'trap \"\" TERM HUP INT; sleep 321' &); done; sleep 0.3";
    sh(user, &["--memory", "64M"], daemons)?.exits(0)?;
    no_group_is_left(user)?;
    nobody_sleeps(user, "321")
}

/// No process of this user has these words.
fn nobody_sleeps(user: &User, word: &str) -> Verdict {
    let found = fs::read_dir("/proc")?.flatten().find(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_own = std::os::unix::fs::MetadataExt::uid(&match entry.metadata() {
            Ok(found) => found,
            Err(_) => return false,
        }) == user.uid();
        is_own && line.split(|byte| *byte == 0).eq([b"sleep", word.as_bytes(), b""])
    });
    match found {
        Some(entry) => Err(format!("left behind: {:?}", entry.file_name()).into()),
        None => Ok(()),
    }
}

/// SIGTERM, the grace, and then SIGKILL for everything.
fn a_deaf_command_is_killed(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--memory", "64M"], "trap '' TERM; while :; do sleep 1; done")?;
    let start = Instant::now();
    verb(user, &["stop", "--grace", "1s", &sandbox.name])?.exits(0)?;
    let took = start.elapsed();
    let cgroup = sandbox.cgroup()?;
    sandbox.running.finish()?.exits(137)?;
    gone(Some(&cgroup))?;
    if took < Duration::from_secs(1) { Err(format!("after {took:?} already").into()) } else { Ok(()) }
}

/// At any moment: no process and no cgroup is left. `SBX_LIMITED_KILLS` sets how often.
fn kills_of_sbx(user: &User) -> Verdict {
    let rounds = std::env::var("SBX_LIMITED_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    for round in 0..rounds {
        let busy = "(setsid sleep 322 &); sleep 322 & sleep 322";
        let running = crate::common::Running::start(
            user.sbx().args(["--memory", "64M", "--pids", "20", "sh", "-c", busy]),
        )?;
        // Emulated, a start takes half a second.
        std::thread::sleep(Duration::from_millis(round * 37 % 700));
        running.signal(Signal::SIGKILL)?;
        running.finish()?.killed_by(Signal::SIGKILL)?;
        no_group_is_left(user).map_err(|failure| format!("round {round}: {:?}", failure.message()))?;
    }
    nobody_sleeps(user, "322")
}

/// What only the next start, or `sbx ps`, takes away.
fn kills_of_sbx_and_its_janitor(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--memory", "64M"], "sleep 323")?;
    let janitor = process::descendants(sandbox.running.pid()).into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "sbx-janitor")
    });
    let janitor = janitor.ok_or("there is no janitor")?;
    kill(Pid::from_raw(janitor), Signal::SIGKILL)?;
    sandbox.running.signal(Signal::SIGKILL)?;
    let cgroup = sandbox.cgroup()?;
    sandbox.running.finish()?;
    let seen = crate::stage::list(user)?;
    if seen.as_array().into_iter().flatten().any(|one| one["name"] == *sandbox.name) {
        return Err(format!("still listed: {seen}").into());
    }
    gone(Some(&cgroup))
}

fn a_paused_one_whose_sbx_is_killed(user: &User) -> Verdict {
    let sandbox = Box::start(user, &["--memory", "64M"], "sleep 324")?;
    verb(user, &["pause", &sandbox.name])?.exits(0)?;
    sandbox.running.signal(Signal::SIGKILL)?;
    let cgroup = sandbox.cgroup()?;
    sandbox.running.finish()?;
    gone(Some(&cgroup))?;
    nobody_sleeps(user, "324")
}

/// Nothing runs, and it is said why; what a sandbox holds counts from its first instruction.
fn memory_too_little_to_start(user: &User) -> Verdict {
    let before = groups(user).len();
    let content = "x".repeat(100);
    let set = format!("environment.set={{ A = \"{content}\" }}");
    let out = sh(
        user,
        &["--memory", "4M", "--set", &set],
        "echo ran; head -c 30M /dev/zero | tail -c 30M >/dev/null",
    )?;
    let status = out.status.code();
    out.check(matches!(status, Some(125 | 137)), || "should not live".to_owned())?;
    out.check(status == Some(137) || out.text().is_empty(), || "nothing should run".to_owned())?;
    out.stderr_has("memory")?;
    wait_for("its cgroup to go", || (groups(user).len() <= before).then_some(()))?;
    Ok(())
}
