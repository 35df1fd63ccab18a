//! Why something can't be done with a sandbox that runs.
#![forbid(unsafe_code)]

use std::fmt;

use nix::errno::Errno;

use crate::diag::{Diagnose, Location, errno_words, quote};
use crate::layers::LayersError;
use crate::plan::PlanError;
use crate::profile::ProfileError;
use crate::registry::RegistryError;

/// Why something can't be done with a sandbox that runs.
#[derive(Clone, Debug, PartialEq)]
pub enum ManageError {
    /// It is not to be found.
    Registry(RegistryError),
    /// It has no cgroup.
    NoCgroup {
        /// What was wanted.
        verb: &'static str,
        /// Its name.
        name: String,
    },
    /// The kernel says no.
    System {
        /// What was wanted.
        verb: &'static str,
        /// Its name.
        name: String,
        /// Why.
        errno: Errno,
    },
    /// A limit that is none, or of no use.
    Limit {
        /// As typed.
        typed: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A limit that can't be read.
    Profile(ProfileError),
    /// A limit that can't be planned.
    Plan(PlanError),
    /// It is a layer, and not to be found or not to be had.
    Layers(LayersError),
}

impl From<RegistryError> for ManageError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl ManageError {
    /// Whether it is the answer no, rather than a failure.
    pub fn is_negative(&self) -> bool {
        match self {
            Self::Registry(error) => matches!(error, RegistryError::NotFound { .. }),
            Self::Layers(error) => error.is_negative(),
            _ => false,
        }
    }
}

impl fmt::Display for ManageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(error) => error.fmt(f),
            Self::NoCgroup { verb, name } => {
                write!(f, "cannot {verb} the sandbox {}: it has no cgroup of its own", quote(name))
            }
            Self::System { verb, name, errno } => {
                write!(f, "cannot {verb} the sandbox {}: {}", quote(name), errno_words(*errno))
            }
            Self::Limit { typed, why, .. } => write!(f, "cannot set {}: {why}", quote(typed)),
            Self::Profile(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Layers(error) => error.fmt(f),
        }
    }
}

impl Diagnose for ManageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::NoCgroup { .. } => Some(
                "start it with a limit, or with --set limits.cgroup=require, which says why there is none"
                    .to_owned(),
            ),
            Self::System { errno: Errno::ETIMEDOUT, .. } => {
                Some("a process in it waits for a disk or a network mount that does not answer".to_owned())
            }
            Self::System { .. } => None,
            Self::Limit { hint, .. } => hint.clone(),
            Self::Profile(error) => error.hint(),
            Self::Plan(error) => error.hint(),
            Self::Layers(error) => error.hint(),
        }
    }

    fn location(&self) -> Option<&Location> {
        match self {
            Self::Profile(error) => error.location(),
            _ => None,
        }
    }
}
