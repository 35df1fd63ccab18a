//! What is wrong with the registry, or with a name in it.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::diag::{Diagnose, errno_words, nearest, quote};

/// Why a sandbox can't be registered or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryError {
    /// There is no place for a registry.
    NoPlace,
    /// Somebody else could have put there what it says.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// A sandbox that runs has the name.
    Taken {
        /// The name.
        name: String,
    },
    /// No sandbox has the name.
    NotFound {
        /// The name.
        name: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// A system call failed.
    System {
        /// What: `open`.
        what: &'static str,
        /// The registry.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace => f.write_str(
                "cannot keep account of sandboxes: there is no directory of this login, XDG_RUNTIME_DIR",
            ),
            Self::Foreign { path, owner } if *owner == nix::unistd::getuid().as_raw() => {
                write!(f, "cannot trust the registry {}: others can write there", quote(path))
            }
            Self::Foreign { path, owner } => {
                write!(f, "cannot trust the registry {}: it belongs to uid {owner}, not to you", quote(path))
            }
            Self::Taken { name } => {
                write!(f, "cannot call the sandbox {}: one of that name runs", quote(name))
            }
            Self::NotFound { name, .. } => {
                write!(f, "cannot find a sandbox called {}: none of that name runs", quote(name))
            }
            Self::System { what, path, errno: Errno::ELOOP | Errno::ENOTDIR } => {
                write!(f, "cannot {what} the registry {}: it is not a directory", quote(path))
            }
            Self::System { what, path, errno } => {
                write!(f, "cannot {what} the registry {}: {}", quote(path), errno_words(*errno))
            }
        }
    }
}

impl Diagnose for RegistryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPlace => Some(
                "log in through systemd or elogind, or set XDG_RUNTIME_DIR to a directory of your own"
                    .to_owned(),
            ),
            Self::Foreign { path, .. } => {
                Some(format!("remove {}, or set XDG_RUNTIME_DIR to a directory of your own", quote(path)))
            }
            Self::Taken { name } => Some(format!("choose another one, or end it: sbx stop {name}")),
            Self::NotFound { name, names } => Some(match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", quote(near)),
                None => "`sbx ps` lists those that run".to_owned(),
            }),
            Self::System { .. } => None,
        }
    }
}
