//! `sbx doctor`: whether sandboxes work here, and if not, why and what to do. Everything is tried in throw-away children, never
//! concluded from a version; what came of it is data ([`Facts`]), and [`diagnose`] says what the data means.
#![forbid(unsafe_code)]

mod child;
mod extras;
mod facts;
mod findings;
mod look;
mod page;
mod probe;
mod why;

use std::fmt;

use nix::errno::Errno;

use crate::cause::Machine;
use crate::diag::Diagnose;

pub use facts::{Cgroups, Facts, Proxy, Step, Tried};
pub use findings::{Finding, Status, diagnose, works};
pub use page::{json, text};

/// Why nothing was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoctorError {
    /// Not one child could be made to try things in.
    NoProcess(Errno),
    /// A file or directory that must be looked at does not answer.
    Hangs,
}

impl fmt::Display for DoctorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DoctorError::NoProcess(errno) => {
                let cause = Machine::default().of_clone(*errno);
                write!(f, "cannot start a process to try things in: {}", cause.what)
            }
            DoctorError::Hangs => {
                write!(f, "cannot look at the machine: a file or directory that it looks at does not answer")
            }
        }
    }
}

impl Diagnose for DoctorError {
    fn hint(&self) -> Option<String> {
        match self {
            DoctorError::NoProcess(errno) => Machine::default().of_clone(*errno).hint,
            DoctorError::Hangs => Some(
                "look for a network or FUSE mount that hangs, in PATH first, and leave it out".to_owned(),
            ),
        }
    }
}

/// Finds out what this machine can do. To be called while the process has one thread; changes nothing.
///
/// # Errors
/// [`DoctorError`]: nothing was found out.
pub fn examine() -> Result<Facts, DoctorError> {
    look::facts()
}
