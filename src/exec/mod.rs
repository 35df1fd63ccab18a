//! Carries out a [`Plan`]: resolves sources, makes the process, waits for it. The order of confinement is
//! [`Step::ORDER`].
#![forbid(unsafe_code)]

mod cause;
mod error;
mod files;
mod home;
mod host_mounts;
mod init;
mod janitor;
mod landlock;
mod launch;
mod mounts;
mod operations;
mod outer;
mod overlay;
mod own_terminal;
mod prepare;
mod protect;
mod readback;
mod relay;
mod signals;
mod sources;
mod step;
mod supervise;
mod walk;
mod watch;

pub use error::ExecError;
pub use step::{Failure, Step};

use std::path::PathBuf;

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
}

impl Outcome {
    /// The exit status that sbx reports it by.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Exited(code) => (code & 0xff) as u8,
            Outcome::Signaled(signal) => ((128 + signal) & 0xff) as u8,
            Outcome::TimedOut => 124,
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
    mut on_start: impl FnMut(Started),
) -> Result<Finished, ExecError> {
    let prepared = prepare::prepare(plan)?;
    on_ready();
    launch::run(plan, prepared, &mut on_start)
}

/// A sandbox whose command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// PID 1 of the sandbox, as a process outside.
    pub init: i32,
}
