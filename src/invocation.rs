//! What the user typed, as data. Nothing here is checked against the machine.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::profile::value::ByteSize;
use crate::profile::{CwdMode, EntryKind, NetworkMode};

/// A path option: `--ro P[:DEST]` and its like, in the order typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFlag {
    /// Which option.
    pub kind: EntryKind,
    /// As typed, without the option's name.
    pub typed: OsString,
    /// The path outside; relative ones start at the working directory.
    pub path: PathBuf,
    /// The path inside, when given.
    pub dest: Option<PathBuf>,
}

/// `--env NAME[=VALUE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFlag {
    /// The variable.
    pub name: OsString,
    /// Its value; the caller's without one.
    pub value: Option<OsString>,
}

/// The options of a run, and the command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invocation {
    /// `--profile`, later ones on top.
    pub profiles: Vec<OsString>,
    /// `--set KEY=VALUE`.
    pub set: Vec<String>,
    /// `--ro`, `--rw`, `--hide`, `--tmpfs`, `--overlay`.
    pub paths: Vec<PathFlag>,
    /// `--root`.
    pub root: Option<OsString>,
    /// `--layer`, topmost first.
    pub layers: Vec<PathBuf>,
    /// `--cwd`.
    pub cwd: Option<CwdMode>,
    /// `--chdir`.
    pub chdir: Option<PathBuf>,
    /// `--net`.
    pub net: Option<NetworkMode>,
    /// `--allow-host`.
    pub allow_hosts: Vec<String>,
    /// `--publish`.
    pub publish: Vec<String>,
    /// `--memory`.
    pub memory: Option<ByteSize>,
    /// `--swap`.
    pub swap: Option<ByteSize>,
    /// `--cpus`.
    pub cpus: Option<f64>,
    /// `--pids`.
    pub pids: Option<u64>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--env`.
    pub env: Vec<EnvFlag>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--name`.
    pub name: Option<String>,
    /// `--keep-fd`.
    pub keep_fds: Vec<i32>,
    /// `--die-with-parent`.
    pub die_with_parent: bool,
    /// `--strict`.
    pub strict: bool,
    /// `--status-fd`.
    pub status_fd: Option<i32>,
    /// `--report`.
    pub report: bool,
    /// The command and its arguments; empty for `explain` without one.
    pub command: Vec<OsString>,
}
