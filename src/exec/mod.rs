//! Carries out a [`Plan`]: resolves sources, makes the process, waits for it. The order of confinement is
//! [`Step::ORDER`].
#![forbid(unsafe_code)]

mod cause;
mod error;
mod files;
mod host_mounts;
mod init;
mod janitor;
mod landlock;
mod launch;
mod mounts;
mod operations;
mod overlay;
mod prepare;
mod protect;
mod readback;
mod sources;
mod step;
mod walk;

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
    launch::run(plan)
}
