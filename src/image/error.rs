//! What can be wrong with images.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::diag::{Diagnose, errno_words, escape, quote};

/// Why nothing came of it. What was stored before is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// What is to be imported can't be read, or isn't an image.
    Source {
        /// It.
        path: PathBuf,
        /// Why.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A layer that no tree can be made of.
    Layer {
        /// Which: its digest.
        layer: String,
        /// Why: which member, and what is wrong with it.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The store can't be used.
    Store {
        /// What in it.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What can't be an image's name.
    Name(String),
    /// There is no image of that name.
    Absent {
        /// As typed.
        name: String,
        /// The nearest one there is.
        nearest: Option<String>,
    },
    /// The image's user can't be found in its user database.
    User {
        /// As the image has it.
        user: String,
        /// Why.
        why: String,
    },
    /// The image can't be written.
    Export {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// `skopeo` is missing or failed.
    Pull {
        /// What was to be fetched.
        reference: String,
        /// Why not.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Its layers have no trees with the owners of its files, which a sandbox with subordinate ids needs.
    Unowned(String),
    /// There is no home directory.
    NoHome,
}

impl ImageError {
    pub(super) fn source(path: &Path, why: impl Into<String>) -> Self {
        Self::Source { path: path.to_owned(), why: why.into(), hint: None }
    }

    pub(super) fn store(path: &Path, errno: Errno) -> Self {
        Self::Store { path: path.to_owned(), why: errno_words(errno) }
    }

    pub(super) fn export(path: &Path, why: impl Into<String>) -> Self {
        Self::Export { path: path.to_owned(), why: why.into(), hint: None }
    }

    /// Whether it is a negative answer rather than a failure: exit status 1.
    pub fn is_negative(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// Characters of an error that is not the kernel's.
const WORDS: usize = 100;

/// What the kernel said, or who else made the error.
pub(super) fn io_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => errno_words(Errno::from_raw(errno)),
        // Some repeat what they could not read.
        None => escape(error.to_string()).chars().take(WORDS).collect(),
    }
}

/// The errno of an error of the standard library's.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { path, why, .. } => write!(f, "cannot import {}: {why}", quote(path)),
            Self::Layer { layer, why, .. } => write!(f, "cannot unpack the layer {}: {why}", escape(layer)),
            Self::Store { path, why } => write!(f, "cannot use the image store: {}: {why}", quote(path)),
            Self::Name(name) => write!(f, "cannot call an image {}: it is not NAME[:TAG]", quote(name)),
            Self::Absent { name, .. } => write!(f, "cannot find the image {}: there is none", quote(name)),
            Self::User { user, why } => write!(f, "cannot run as the image's user {}: {why}", quote(user)),
            Self::Export { path, why, .. } => write!(f, "cannot export to {}: {why}", quote(path)),
            Self::Pull { reference, why, .. } => write!(f, "cannot pull {}: {why}", quote(reference)),
            Self::Unowned(name) => write!(
                f,
                "cannot run the image {} with subordinate ids: an owner of its files is none of them, or it was imported without",
                quote(name)
            ),
            Self::NoHome => f.write_str(
                "cannot find the image store: HOME is not an absolute path and the user database has none",
            ),
        }
    }
}

impl Diagnose for ImageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Source { hint, .. }
            | Self::Layer { hint, .. }
            | Self::Export { hint, .. }
            | Self::Pull { hint, .. } => hint.clone(),
            Self::Name(_) => Some(
                "use letters, digits, `.`, `_`, `-` and `/`, and after a colon the tag, as in debian:13"
                    .to_owned(),
            ),
            Self::Absent { nearest: Some(nearest), .. } => Some(format!("did you mean {}?", quote(nearest))),
            Self::Absent { .. } => Some("see what there is with `sbx image list`".to_owned()),
            Self::Unowned(_) => Some("import it once more; more ids are given by root with usermod --add-subuids and --add-subgids".to_owned()),
            Self::NoHome => Some("set HOME to an absolute path".to_owned()),
            Self::Store { .. } | Self::User { .. } => None,
        }
    }
}
