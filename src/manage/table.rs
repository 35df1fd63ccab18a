//! The answers of `sbx ps` and `sbx stats`.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::Seen;
use crate::diag::{aligned, escape};
use crate::profile::value::in_units;

/// The version of the JSON form. Additions don't change it.
const VERSION: u32 = 1;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Which sandboxes there are.
    List,
    /// What they use.
    Use,
}

/// One JSON object.
pub fn json(seen: &[Seen]) -> String {
    #[derive(Serialize)]
    struct Page<'a> {
        version: u32,
        sandboxes: &'a [Seen],
    }
    serde_json::to_string_pretty(&Page { version: VERSION, sandboxes: seen }).unwrap_or_default() + "\n"
}

/// A table with a line for each.
pub fn text(seen: &[Seen], columns: Columns) -> String {
    let head: &[&str] = match columns {
        Columns::List => &["NAME", "PROFILE", "PID", "AGE", "MEMORY", "CPU", "STATE", "COMMAND"],
        Columns::Use => {
            &["NAME", "MEMORY", "LIMIT", "PEAK", "CPU", "CPUS", "THROTTLED", "PROCESSES", "READ", "WRITTEN"]
        }
    };
    let mut rows = vec![head.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
    rows.extend(seen.iter().map(|one| match columns {
        Columns::List => listed(one),
        Columns::Use => used(one),
    }));
    aligned(&rows)
}

fn unknown() -> String {
    "-".to_owned()
}

fn listed(seen: &Seen) -> Vec<String> {
    let command: Vec<String> = seen.command.iter().map(escape).collect();
    let command = command.join(" ");
    let short = match command.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command,
    };
    vec![
        escape(&seen.name),
        escape(&seen.profile),
        seen.pid.to_string(),
        seen.age_seconds.map_or_else(unknown, age),
        seen.usage.memory.map_or_else(unknown, in_units),
        seen.processor_time().map_or_else(unknown, seconds),
        seen.state.word().to_owned(),
        short,
    ]
}

fn used(seen: &Seen) -> Vec<String> {
    let usage = &seen.usage;
    let bytes = |bytes: Option<u64>| bytes.map_or_else(unknown, in_units);
    let count = |count: Option<u64>| count.map_or_else(unknown, |count| count.to_string());
    let processes = match seen.limits.pids {
        Some(limit) => format!("{}/{limit}", count(usage.processes)),
        None => count(usage.processes),
    };
    vec![
        escape(&seen.name),
        bytes(usage.memory),
        bytes(seen.limits.memory),
        bytes(usage.memory_peak),
        seen.processor_time().map_or_else(unknown, seconds),
        seen.limits.cpus.map_or_else(unknown, |cpus| cpus.to_string()),
        usage.throttled.map_or_else(unknown, seconds),
        processes,
        bytes(usage.read),
        bytes(usage.written),
    ]
}

/// Microseconds in words.
fn seconds(time: u64) -> String {
    format!("{:.2} s", time as f64 / 1e6)
}

/// Seconds in the two largest units: `1h2m`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        let ages: Vec<String> = [5, 65, 3_725, 90_000].into_iter().map(age).collect();
        assert_eq!(ages, ["5s", "1m5s", "1h2m", "1d1h"]);
    }
}
