//! Why there is no plan.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

use crate::diag::{Diagnose, Location, escape, quote};
use crate::profile::Origin;
use crate::profile::value::Token;

/// Why what was asked for can't be planned.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanError {
    /// A part of sbx that does not exist yet.
    NotBuilt {
        /// The key or option.
        what: String,
        /// Who asked.
        origin: Origin,
    },
    /// Two things that exclude each other.
    Conflict {
        /// Both, and why.
        why: String,
        /// Who asked.
        origin: Origin,
        /// What to do.
        hint: String,
    },
    /// The working directory would be given although it is too much.
    WorkingDirectoryTooWide {
        /// It.
        path: PathBuf,
        /// Why: `is the root directory`, `is your home directory`…
        why: &'static str,
    },
    /// The working directory was removed.
    WorkingDirectoryDeleted,
    /// The working directory can't be read.
    WorkingDirectoryUnreadable(i32),
    /// A path that must be absolute isn't, or names no directory that can be.
    BadPath {
        /// As written.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// Who asked.
        origin: Origin,
    },
    /// A token has no value here.
    NoValue {
        /// Which.
        token: Token,
        /// Who used it.
        origin: Origin,
    },
    /// A list of system calls holds what is none.
    SystemCall {
        /// What is wrong.
        why: String,
        /// Who asked.
        origin: Origin,
    },
    /// There is no home directory.
    NoHome,
    /// `--env NAME` for a variable that is not set.
    NoVariable(std::ffi::OsString),
    /// A descriptor of `--keep-fd` that every program has anyway.
    BadDescriptor(i32),
    /// A descriptor of `--status-fd` that is not open.
    BadStatusDescriptor(i32),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::NotBuilt { what, origin } => match origin {
                Origin::Profile(_) | Origin::Default => {
                    write!(f, "cannot use {}: not built yet", quote(what))
                }
                Origin::Flag(flag) => write!(f, "cannot use {}: not built yet", quote(flag)),
            },
            PlanError::Conflict { why, .. } => f.write_str(why),
            PlanError::WorkingDirectoryTooWide { path, why } => {
                write!(f, "cannot give the working directory to the sandbox: {} {why}", quote(path))
            }
            PlanError::WorkingDirectoryDeleted => {
                f.write_str("cannot give the working directory to the sandbox: it was removed")
            }
            PlanError::WorkingDirectoryUnreadable(errno) => write!(
                f,
                "cannot give the working directory to the sandbox: it can't be reached: {}",
                crate::diag::errno_words(nix::errno::Errno::from_raw(*errno))
            ),
            PlanError::BadPath { path, why, origin: Origin::Flag(flag) } => {
                write!(f, "cannot use {} in {}: {why}", quote(path), quote(flag))
            }
            PlanError::BadPath { path, why, .. } => write!(f, "cannot use the path {}: {why}", quote(path)),
            PlanError::NoValue { token, .. } => {
                write!(f, "cannot expand `${{{}}}`: it has no value here", token.name())
            }
            PlanError::SystemCall { why, .. } => write!(f, "cannot filter system calls: {why}"),
            PlanError::NoHome => f.write_str(
                "cannot find the home directory: HOME is not an absolute path and the user database has none",
            ),
            PlanError::NoVariable(name) => {
                write!(f, "cannot pass on the variable {}: it is not set", quote(name))
            }
            PlanError::BadStatusDescriptor(fd) => {
                write!(f, "cannot write the status to descriptor {fd}: it is not open for writing")
            }
            PlanError::BadDescriptor(fd) => {
                write!(f, "cannot keep descriptor {fd}: 0, 1 and 2 are always kept")
            }
        }
    }
}

impl Diagnose for PlanError {
    fn hint(&self) -> Option<String> {
        match self {
            PlanError::NotBuilt { what, origin: Origin::Default | Origin::Profile(_) } => {
                Some(format!("remove {} from the profile", quote(what)))
            }
            PlanError::NotBuilt { .. } => Some("leave the option out".to_owned()),
            PlanError::Conflict { hint, .. } => Some(hint.clone()),
            PlanError::WorkingDirectoryTooWide { .. } => Some(
                "change to a directory of the project, or give no working directory with --cwd none"
                    .to_owned(),
            ),
            PlanError::WorkingDirectoryDeleted | PlanError::WorkingDirectoryUnreadable(_) => {
                Some("change to a directory that exists, or give none with --cwd none".to_owned())
            }
            PlanError::SystemCall { .. } => {
                Some("use names of system calls, or systemd's groups such as @debug".to_owned())
            }
            PlanError::BadStatusDescriptor(fd) => Some(format!("open it for sbx, as in {fd}>FILE")),
            PlanError::BadPath { .. } | PlanError::BadDescriptor(_) => None,
            PlanError::NoValue { token: Token::Cwd, .. } => {
                Some("change to a directory that exists".to_owned())
            }
            PlanError::NoValue { token, .. } => Some(format!("set {} to an absolute path", token.name())),
            PlanError::NoHome => Some("set HOME to an absolute path".to_owned()),
            PlanError::NoVariable(name) => Some(format!("give it a value: --env {}=VALUE", escape(name))),
        }
    }

    fn location(&self) -> Option<&Location> {
        let origin = match self {
            PlanError::NotBuilt { origin, .. }
            | PlanError::Conflict { origin, .. }
            | PlanError::BadPath { origin, .. }
            | PlanError::SystemCall { origin, .. }
            | PlanError::NoValue { origin, .. } => origin,
            _ => return None,
        };
        match origin {
            Origin::Profile(location) => Some(location),
            Origin::Default | Origin::Flag(_) => None,
        }
    }
}
