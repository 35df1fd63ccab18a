//! What there is to say when a run is over: why it ended, and what it has used.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::time::Duration;

use crate::diag::quote;
use crate::exec::{Changed, Finished, Outcome};
use crate::plan::Plan;
use crate::profile::value::in_units;

/// Why it ended, where that was not the command's own doing, and what is to be looked at: a line each.
pub(crate) fn of_end(plan: &Plan, finished: &Finished) -> Vec<String> {
    let mut lines = Vec::new();
    match (finished.outcome, &plan.limits.timeout) {
        (Outcome::TimedOut, Some(limit)) => {
            lines.push(format!("ended the command: its time of {:?} was up", limit.value));
        }
        (Outcome::OutOfMemory { limit: Some(limit), peak }, _) => {
            let peak = peak.map(|peak| format!(", peak {}", in_units(peak))).unwrap_or_default();
            lines.push(format!("killed by the memory limit: {}{peak}", in_units(limit)));
        }
        (Outcome::OutOfMemory { limit: None, .. }, _) => {
            lines.push("killed for want of memory outside the sandbox, not by its own limit".to_owned());
        }
        _ => {}
    }
    let new = |path| format!("{} is new, and can make programs run outside: look at it first", quote(path));
    lines.extend(finished.appeared.iter().map(new));
    lines
}

/// What was changed where changes are kept apart, and how to look at it: a line each.
pub(crate) fn of_changes(finished: &Finished) -> Vec<String> {
    let line = |layer: &Changed| {
        let Changed { name, directory, new, changed, removed, more } = layer;
        let more = if *more { " at least" } else { "" };
        format!(
            "{} stays as it is;{more} {new} new, {changed} changed, {removed} removed are kept: sbx diff {name}",
            quote(directory)
        )
    };
    finished.layers.iter().map(line).collect()
}

/// What it has used, as a table. What was not measured says so.
pub(crate) fn of_use(finished: &Finished) -> String {
    let usage = finished.usage.unwrap_or_default();
    let unknown = || "not measured".to_owned();
    let bytes = |bytes: Option<u64>| bytes.map_or_else(unknown, in_units);
    let from_cgroup = |time: Option<u64>, otherwise| time.map_or(otherwise, Duration::from_micros);
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let rows = [
        ("wall", seconds(finished.times.wall)),
        ("user", seconds(from_cgroup(usage.user, finished.times.user))),
        ("system", seconds(from_cgroup(usage.system, finished.times.system))),
        ("memory peak", bytes(usage.memory_peak)),
        ("read", bytes(usage.read)),
        ("written", bytes(usage.written)),
        ("processes peak", usage.processes_peak.map_or_else(unknown, |count| count.to_string())),
        ("throttled", usage.throttled.map_or_else(unknown, |time| seconds(Duration::from_micros(time)))),
    ];
    let mut out = String::from("sbx: report\n");
    for (name, value) in rows {
        let _ = writeln!(out, "  {name:<14} {value}");
    }
    out
}
