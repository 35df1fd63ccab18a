//! What a cgroup has used, as its files say it. What the kernel is too old for, or no controller counts, is not there.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::Group;

/// What a sandbox has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes of memory at the moment.
    #[serde(rename = "memory-bytes")]
    pub memory: Option<u64>,
    /// The most memory at any moment, in bytes (Linux 5.19).
    #[serde(rename = "memory-peak-bytes")]
    pub memory_peak: Option<u64>,
    /// Bytes of swap at the moment.
    #[serde(rename = "swap-bytes")]
    pub swap: Option<u64>,
    /// Processor time of programs, in microseconds.
    #[serde(rename = "user-seconds", serialize_with = "seconds")]
    pub user: Option<u64>,
    /// Processor time of the kernel for them, in microseconds.
    #[serde(rename = "system-seconds", serialize_with = "seconds")]
    pub system: Option<u64>,
    /// How long processes waited because their share of processors was used up, in microseconds.
    #[serde(rename = "throttled-seconds", serialize_with = "seconds")]
    pub throttled: Option<u64>,
    /// Processes and threads at the moment.
    pub processes: Option<u64>,
    /// The most of them at any moment (Linux 6.1).
    #[serde(rename = "processes-peak")]
    pub processes_peak: Option<u64>,
    /// Bytes read from disks.
    #[serde(rename = "read-bytes")]
    pub read: Option<u64>,
    /// Bytes written to disks.
    #[serde(rename = "written-bytes")]
    pub written: Option<u64>,
}

/// Microseconds as seconds.
fn seconds<S: serde::Serializer>(time: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time as f64 / 1e6).serialize(serializer)
}

impl Usage {
    /// That of a cgroup.
    pub fn of(group: &Group) -> Self {
        let cpu = group.read("cpu.stat").unwrap_or_default();
        let io = group.read("io.stat").ok();
        let bytes = |key: &str| io.as_deref().map(|io| sum(io, key));
        Self {
            memory: group.number("memory.current"),
            memory_peak: group.number("memory.peak"),
            swap: group.number("memory.swap.current"),
            user: field(&cpu, "user_usec"),
            system: field(&cpu, "system_usec"),
            throttled: field(&cpu, "throttled_usec"),
            processes: group.number("pids.current"),
            processes_peak: group.number("pids.peak"),
            read: bytes("rbytes"),
            written: bytes("wbytes"),
        }
    }
}

/// How often a cgroup has met its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// It had no memory left of its own.
    pub out_of_memory: u64,
    /// Processes killed for want of memory, its own or the machine's.
    pub killed: u64,
    /// Processes that could not be started.
    pub refused_processes: u64,
}

impl Events {
    /// Those of a cgroup.
    pub fn of(group: &Group) -> Self {
        let memory = group.read("memory.events").unwrap_or_default();
        let pids = group.read("pids.events").unwrap_or_default();
        Self {
            out_of_memory: field(&memory, "oom").unwrap_or(0),
            killed: field(&memory, "oom_kill").unwrap_or(0),
            refused_processes: field(&pids, "max").unwrap_or(0),
        }
    }
}

/// The number behind a name, in lines of both.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name)?.1.trim().parse().ok())
}

/// The sum over all devices of a value of `io.stat`: `8:0 rbytes=1 wbytes=2 …`.
fn sum(text: &str, key: &str) -> u64 {
    let value = |word: &str| word.split_once('=').filter(|(name, _)| *name == key)?.1.parse::<u64>().ok();
    text.split_whitespace().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_numbers() {
        let text = "usage_usec 30\nuser_usec 20\nsystem_usec 10\n";
        assert_eq!(field(text, "user_usec"), Some(20));
        assert_eq!(field(text, "usec"), None);
        assert_eq!(field("oom 0\noom_kill 3\noom_group_kill 1\n", "oom_kill"), Some(3));
    }

    #[test]
    fn adds_devices_up() {
        let text = "254:0 rbytes=10 wbytes=1 rios=2\n8:0 rbytes=5 wbytes=0 rios=1\n253:1\n";
        assert_eq!((sum(text, "rbytes"), sum(text, "wbytes"), sum(text, "dbytes")), (15, 1, 0));
    }
}
