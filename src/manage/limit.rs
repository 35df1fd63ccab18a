//! New limits for a sandbox that runs.
#![forbid(unsafe_code)]

use nix::errno::Errno;

use super::ManageError;
use crate::cgroup::Group;
use crate::diag::{errno_words, quote};
use crate::host::{Host, cgroups};
use crate::plan::{self, Knob};
use crate::profile::load;
use crate::registry::Live;

/// Keys of `[limits]` that can change while a sandbox runs, with the file that a limit is lifted by.
pub const KEYS: [(&str, &str); 9] = [
    ("memory", "memory.max"),
    ("memory-high", "memory.high"),
    ("swap", "memory.swap.max"),
    ("cpus", "cpu.max"),
    ("cpu-weight", ""),
    ("cpuset", ""),
    ("pids", "pids.max"),
    ("io", ""),
    ("io-weight", ""),
];

/// Sets limits, `KEY=VALUE` each, all or none: a value that the kernel does not take leaves those before it as they were.
///
/// # Errors
/// [`ManageError`] of the first that can't be set.
pub fn limit(live: &Live, typed: &[String], host: &mut Host) -> Result<(), ManageError> {
    let group = live.group();
    let group = group.ok_or_else(|| ManageError::NoCgroup { verb: "limit", name: live.name.clone() })?;
    let mut changes = Vec::new();
    for one in typed {
        for (file, value) in knobs(&group, one, host)? {
            check(&group, live, one, file, &value)?;
            changes.push((one, file, value));
        }
    }
    // Shares are among scopes, where a sandbox has one.
    let scope = live.info.as_ref().filter(|info| info.rung.as_deref() == Some("scope"));
    let scope = scope.and_then(|_| Group::open(group.path().parent()?).ok());
    let place = |file: &str| scope.as_ref().filter(|_| file.ends_with(".weight")).unwrap_or(&group);
    let mut before: Vec<(&str, String)> = Vec::new();
    for (one, file, value) in &changes {
        let old = place(file).read(file).ok();
        if let Err(errno) = place(file).write(file, value) {
            for (file, old) in before.iter().rev() {
                let _ = place(file).write(file, old);
            }
            return Err(refused(one, file, value, errno));
        }
        before.extend(old.map(|old| (*file, former(file, value, &old))));
    }
    Ok(())
}

/// The files, and what is to be written.
fn knobs(group: &Group, typed: &str, host: &mut Host) -> Result<Vec<(&'static str, String)>, ManageError> {
    let wrong = |why: String, hint: &str| ManageError::Limit {
        typed: typed.to_owned(),
        why,
        hint: Some(hint.to_owned()),
    };
    let Some((key, value)) = typed.split_once('=') else {
        return Err(wrong("there is no `=`".to_owned(), "write KEY=VALUE, as in memory=1G"));
    };
    let Some((_, lifted)) = KEYS.iter().find(|(known, _)| *known == key) else {
        let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        let why = format!("{} is no limit that can change while a sandbox runs", quote(key));
        return Err(wrong(why, &format!("there is {}", known.join(", "))));
    };
    if value == "max" && !lifted.is_empty() {
        return Ok(vec![(lifted, "max".to_owned())]);
    }
    let profile = load::of_settings(&[format!("limits.{typed}")]).map_err(ManageError::Profile)?;
    host.look_at_cgroups(plan::wanted_for_limits(&profile, host).map_err(ManageError::Plan)?);
    let knobs = plan::limit_knobs(&profile, host).map_err(ManageError::Plan)?;
    let change = |Knob { file, value, .. }: Knob| (file, value);
    // Swap that somebody has set stays as it is; else what is beyond the limit would only be swapped out.
    let stays =
        |knob: &Knob| knob.file == "memory.swap.max" && key != "swap" && group.number(knob.file).is_some();
    Ok(knobs.into_iter().filter(|knob| !stays(knob)).map(change).collect())
}

/// A limit that could not have the effect that it promises is refused.
fn check(
    group: &Group,
    live: &Live,
    typed: &str,
    file: &'static str,
    value: &str,
) -> Result<(), ManageError> {
    let wrong =
        |why: String, hint: String| ManageError::Limit { typed: typed.to_owned(), why, hint: Some(hint) };
    let number = |text: &str| {
        let mut words = text.split(' ').map(|word| word.parse::<f64>().ok());
        let first = words.next()??;
        Some(words.next().flatten().map_or(first, |period| first / period))
    };
    let Some(wanted) = number(value) else { return Ok(()) };
    let above = group.path().parent().unwrap_or(group.path());
    // What is shared out, or on and off, has no ceiling.
    let bounded = matches!(file, "memory.max" | "memory.swap.max" | "cpu.max" | "pids.max").then_some(file);
    let ceilings = cgroups::ceilings(above, bounded.as_slice());
    if let Some(ceiling) = ceilings.into_iter().find(|ceiling| ceiling.most < wanted) {
        let most = plan::most_in_words(&ceiling);
        return Err(wrong(
            format!("the cgroup {} above allows {most}", quote(&ceiling.path)),
            format!("ask for at most {most}"),
        ));
    }
    let started = live.info.as_ref().and_then(|info| processes_at_start(info.init));
    match started.filter(|started| file == "pids.max" && (*started as f64) < wanted) {
        Some(started) => Err(wrong(
            format!("each of its processes is held to {started} since its start (RLIMIT_NPROC)"),
            format!("ask for at most {started}, or start it with more"),
        )),
        None => Ok(()),
    }
}

/// The resource limit of processes that the sandbox's command was started with.
fn processes_at_start(init: i32) -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    let first = children.split_whitespace().next()?;
    let limits = std::fs::read_to_string(format!("/proc/{first}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max processes"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What brings a file back to what it said.
fn former(file: &str, value: &str, old: &str) -> String {
    if file != "io.max" {
        return old.trim().to_owned();
    }
    let device = value.split(' ').next().unwrap_or_default();
    let line = old.lines().find(|line| line.split(' ').next() == Some(device));
    line.map_or_else(|| format!("{device} rbps=max wbps=max riops=max wiops=max"), str::to_owned)
}

fn refused(typed: &str, file: &str, value: &str, errno: Errno) -> ManageError {
    let (why, hint) = match errno {
        Errno::ENOENT => (
            format!("the sandbox's cgroup has no {file}: that controller was not there when it was started"),
            Some("`sbx doctor` says how to get it".to_owned()),
        ),
        Errno::EINVAL | Errno::ERANGE => (format!("the kernel does not take {}", quote(value)), None),
        errno => (errno_words(errno), None),
    };
    ManageError::Limit { typed: typed.to_owned(), why, hint }
}
