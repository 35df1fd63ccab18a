//! `[limits]`: what a sandbox may use at most, and what it gets of what is scarce.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Serialize;

use super::value::{ByteSize, PathTemplate};
use super::{Level, Setting};

/// A limit, and how much it is wanted where that is said of it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit<T> {
    /// The limit.
    pub value: T,
    /// Its own level; that of `limits.level` without one.
    pub level: Option<Level>,
}

impl<T> Limit<T> {
    /// A limit without a level of its own.
    pub fn new(value: T) -> Self {
        Self { value, level: None }
    }
}

/// A [`Limit`] that may be set.
pub type Optional<T> = Option<Setting<Limit<T>>>;

/// One entry of `limits.io`: bytes and operations a second each way, of the device that a path lies on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IoLimit {
    /// The path; it need not be visible inside.
    pub path: Option<PathTemplate>,
    /// Bytes read.
    pub read: Option<ByteSize>,
    /// Bytes written.
    pub write: Option<ByteSize>,
    /// Reads.
    pub read_operations: Option<u64>,
    /// Writes.
    pub write_operations: Option<u64>,
    /// Its own level.
    pub level: Option<Level>,
}

/// What the disk scheduler makes of the sandbox's requests (ioprio_set(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoPriority {
    /// Only when nobody else wants the disk.
    Idle,
    /// By turns, from 0, the first, to 7, the last.
    BestEffort(u8),
}

impl IoPriority {
    /// Reads `idle`, `best-effort` or `best-effort:N`.
    ///
    /// # Errors
    /// Says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let level = match text {
            "idle" => return Ok(Self::Idle),
            "best-effort" => Some(4),
            _ => match text.strip_prefix("best-effort:").map(str::as_bytes) {
                Some([digit @ b'0'..=b'7']) => Some(digit - b'0'),
                _ => None,
            },
        };
        level.map(Self::BestEffort).ok_or_else(|| {
            let quoted = crate::diag::quote(text);
            format!("{quoted} is not idle, best-effort, or best-effort:N with N from 0, the first, to 7")
        })
    }
}

impl std::fmt::Display for IoPriority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::BestEffort(level) => write!(f, "best-effort:{level}"),
        }
    }
}

/// Reads a list of processors as cpuset(7) spells them: `0-3,6`.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_processors(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let part = |part: &str| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
    };
    if text.split(',').all(part) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a list of processors, like 0-3,6", crate::diag::quote(text)))
}

/// The least part of a processor that the kernel can account for (`cpu.max`: 1 ms of each 100 ms).
pub const LEAST_CPUS: f64 = 0.01;
/// More than any machine has.
const MOST_CPUS: f64 = 65536.0;

/// Checks a number of processors.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_cpus(cpus: f64) -> Result<f64, String> {
    if !(cpus.is_finite() && cpus > 0.0) {
        Err(format!("{cpus} is not a number of processors above 0"))
    } else if cpus < LEAST_CPUS {
        Err(format!(
            "{cpus} is less of a processor than the kernel can account for; {LEAST_CPUS} is the least"
        ))
    } else if cpus > MOST_CPUS {
        Err(format!("{cpus} is more processors than any machine has"))
    } else {
        Ok(cpus)
    }
}

/// The least memory that a sandbox can be set up in, in bytes.
pub const LEAST_MEMORY: ByteSize = ByteSize(4 << 20);

/// Checks a limit of memory.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_memory(size: ByteSize) -> Result<ByteSize, String> {
    if size < LEAST_MEMORY {
        return Err(format!("{size} is too little memory for a sandbox; {LEAST_MEMORY} is the least"));
    }
    Ok(size)
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `memory`, bytes.
    pub memory: Optional<ByteSize>,
    /// `memory-high`, bytes.
    pub memory_high: Optional<ByteSize>,
    /// `swap`, bytes.
    pub swap: Optional<ByteSize>,
    /// `cpus`.
    pub cpus: Optional<f64>,
    /// `cpu-weight`.
    pub cpu_weight: Optional<u64>,
    /// `cpuset`, as cpuset(7) spells it.
    pub cpuset: Optional<String>,
    /// `pids`, processes and threads.
    pub pids: Setting<Limit<u64>>,
    /// `io`.
    pub io: Vec<Setting<IoLimit>>,
    /// `io-weight`.
    pub io_weight: Optional<u64>,
    /// `cgroups`, those that the sandbox makes below its own.
    pub cgroups: Optional<u64>,
    /// `cgroup-depth`, how deep.
    pub cgroup_depth: Optional<u64>,
    /// `nice`.
    pub nice: Option<Setting<i32>>,
    /// `io-priority`.
    pub io_priority: Option<Setting<IoPriority>>,
    /// `open-files`, descriptors for each process; the caller's own limit without it.
    pub open_files: Option<Setting<u64>>,
    /// `timeout`.
    pub timeout: Option<Setting<Duration>>,
    /// `delegate`.
    pub delegate: Setting<bool>,
    /// `cgroup`, whether there is one even when no limit needs it.
    pub cgroup: Setting<Level>,
    /// `cgroup-parent`.
    pub cgroup_parent: Option<Setting<PathTemplate>>,
    /// `level`.
    pub level: Setting<Level>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            memory_high: None,
            swap: None,
            cpus: None,
            cpu_weight: None,
            cpuset: None,
            pids: Setting::default_value(Limit::new(4096)),
            io: Vec::new(),
            io_weight: None,
            cgroups: None,
            cgroup_depth: None,
            nice: None,
            io_priority: None,
            open_files: None,
            timeout: None,
            delegate: Setting::default(),
            cgroup: Setting::default_value(Level::Off),
            cgroup_parent: None,
            level: Setting::default_value(Level::Prefer),
        }
    }
}
