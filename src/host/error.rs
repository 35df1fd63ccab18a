//! Why the machine can't be looked at.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::diag::{Diagnose, errno_words, quote};
use crate::image::ImageError;

/// What could not be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Whether this exists, or what it is.
    Path {
        /// Its path.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// What the kernel can do of Landlock.
    Landlock(Errno),
    /// The image that is to be the root filesystem.
    Image(ImageError),
}

impl HostError {
    pub(super) fn path(path: &Path, error: &io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        HostError::Path { path: path.to_owned(), errno }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Path { path, errno } => {
                write!(f, "cannot look at {}: {}", quote(path), errno_words(*errno))
            }
            HostError::Landlock(errno) => {
                write!(f, "cannot ask for the kernel's version of Landlock: {}", errno_words(*errno))
            }
            HostError::Image(error) => error.fmt(f),
        }
    }
}

impl Diagnose for HostError {
    fn hint(&self) -> Option<String> {
        match self {
            HostError::Path { .. } | HostError::Landlock(_) => None,
            HostError::Image(error) => error.hint(),
        }
    }
}
