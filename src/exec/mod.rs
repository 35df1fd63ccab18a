//! Carries out a [`Plan`]: resolves sources, makes the process, waits for it. The order of confinement is
//! [`Step::ORDER`].
#![forbid(unsafe_code)]

mod attach;
mod bus;
mod cause;
mod changed;
mod changes;
mod control;
mod credentials;
mod descriptors;
mod error;
mod execute;
mod files;
mod foreground;
mod home;
mod host_mounts;
mod init;
mod items;
mod janitor;
mod joined;
mod keeper;
mod kept;
mod landlock;
mod launch;
mod layered;
mod leaf;
mod mixed;
mod mounts;
mod operations;
mod orders;
mod outer;
mod overlay;
mod own_terminal;
mod place;
mod prepare;
mod protect;
mod readback;
mod relay;
mod resources;
mod scope;
mod served;
mod servers;
mod signals;
mod sources;
mod step;
mod subordinate;
mod supervise;
mod unrunnable;
mod walk;
mod watch;

pub use attach::{Further, attach};
pub use changed::Changed;
pub use changes::{NotApart, Obstacle};
pub use error::ExecError;
pub use kept::remove as discard;
pub use servers::Unserved;
pub use step::{Failure, Step};
pub(crate) use subordinate::{Power, alone, callers, merge, owners_of, remove as remove_with_owners, within};

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cgroup::Usage;
use crate::plan::Plan;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended with this code.
    Exited(i32),
    /// A signal killed the command.
    Signaled(i32),
    /// Its time was up.
    TimedOut,
    /// The kernel killed it for want of memory.
    OutOfMemory {
        /// Its own limit, in bytes, where that was reached; else the machine's, or a cgroup's above.
        limit: Option<u64>,
        /// The most that it had, in bytes, where the kernel tells.
        peak: Option<u64>,
    },
}

impl Outcome {
    /// The exit status that sbx reports it by.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Exited(code) => (code & 0xff) as u8,
            Outcome::Signaled(signal) => ((128 + signal) & 0xff) as u8,
            Outcome::TimedOut => 124,
            Outcome::OutOfMemory { .. } => 137,
        }
    }
}

/// What there is to say when a run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How the command ended.
    pub outcome: Outcome,
    /// Protected paths of the host's that did not exist and now do: nothing held their place.
    pub appeared: Vec<PathBuf>,
    /// Layers in which something was changed, of directories whose changes are kept apart.
    pub layers: Vec<Changed>,
    /// What it has used, as far as a cgroup of its own has counted.
    pub usage: Option<Usage>,
    /// How long it took, and was on processors as its parent counts.
    pub times: Times,
}

/// How long a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From its start to its end.
    pub wall: Duration,
    /// On processors, in programs.
    pub user: Duration,
    /// On processors, in the kernel.
    pub system: Duration,
}

/// Runs the plan's command in the plan's sandbox and waits for its end.
///
/// # Errors
/// [`ExecError`]: the command did not run, except for [`ExecError::InitKilled`].
pub fn run(plan: &Plan) -> Result<Finished, ExecError> {
    run_and_tell(plan, || {}, |_| {})
}

/// Like [`run`]. `on_ready` is called when everything outside has been looked at, and must leave the process with one
/// thread; `on_start` when the command runs.
///
/// # Errors
/// As [`run`].
pub fn run_and_tell(
    plan: &Plan,
    on_ready: impl FnOnce(),
    mut on_start: impl FnMut(Started<'_>),
) -> Result<Finished, ExecError> {
    let prepared = prepare::prepare(plan)?;
    on_ready();
    launch::run(plan, prepared, &mut on_start)
}

/// A sandbox whose command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started<'a> {
    /// PID 1 of the sandbox, as a process outside.
    pub init: i32,
    /// The name that it is registered by.
    pub name: Option<&'a str>,
    /// Its cgroup.
    pub cgroup: Option<&'a Path>,
    /// What was preferred and could not be had, besides what the plan knows: a line each.
    pub misses: &'a [String],
}
