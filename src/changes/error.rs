//! Why changes can't be shown or applied.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::diag::{Diagnose, errno_words, escape, quote};

/// Why changes can't be shown or applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangesError {
    /// There is no layer of that name.
    NoLayer(OsString),
    /// No layer is of this directory, or of one above it.
    NoneHere(Option<PathBuf>),
    /// The user has no place where layers are kept.
    NoPlace,
    /// The layer can't be opened, or its parts.
    Layer {
        /// Where it is.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// What is written down of the layer can't be read.
    Record {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The directory that the layer lies over is not there any more.
    Directory {
        /// Which.
        path: PathBuf,
        /// Why; nothing when another one is in its place.
        errno: Option<Errno>,
    },
    /// The directories that the layer lies over can't be shown as one.
    Merge {
        /// The layer.
        name: OsString,
        /// Why.
        errno: Errno,
    },
    /// An entry can't be looked at.
    Read {
        /// Below the directory; empty for itself.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// Another kind of overlay has made the layer.
    Elsewhere {
        /// The entry that shows it.
        path: PathBuf,
    },
    /// Nothing has changed there.
    NoChange(PathBuf),
    /// A sandbox has the layer.
    InUse(OsString),
    /// It is of no directory.
    OfNoDirectory(OsString),
    /// Entries stand in the way; nothing is changed.
    Conflicts {
        /// The layer.
        name: OsString,
        /// Each with its reason.
        entries: Vec<(PathBuf, &'static str)>,
        /// Where the layer keeps what it has.
        upper: PathBuf,
    },
    /// An earlier `sbx apply` of it has not come to its end.
    HalfApplied(OsString),
    /// There is not enough room; nothing is changed.
    Full {
        /// The directory.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// Something could not be written; whatever was begun is finished by the next time.
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        errno: Errno,
        /// Whether changes have begun.
        begun: bool,
    },
    /// These came between; they stay in the layer, and the others are applied.
    Left {
        /// The layer.
        name: OsString,
        /// Each with its reason.
        entries: Vec<(PathBuf, &'static str)>,
    },
}

impl ChangesError {
    /// Whether it is the answer no, rather than a failure.
    pub fn is_negative(&self) -> bool {
        matches!(
            self,
            Self::NoLayer(_)
                | Self::NoneHere(_)
                | Self::NoChange(_)
                | Self::Conflicts { .. }
                | Self::Left { .. }
        )
    }
}

/// A path below the directory, in backticks.
fn below(path: &PathBuf) -> String {
    if path.as_os_str().is_empty() { "the directory itself".to_owned() } else { quote(path) }
}

/// Lines of at most this many entries are printed.
const LISTED: usize = 100;

fn list(f: &mut fmt::Formatter<'_>, entries: &[(PathBuf, &'static str)]) -> fmt::Result {
    for (path, why) in entries.iter().take(LISTED) {
        let path = if path.as_os_str().is_empty() { ".".to_owned() } else { escape(path) };
        write!(f, "\n    {path}: {why}")?;
    }
    match entries.len().checked_sub(LISTED) {
        Some(more @ 1..) => write!(f, "\n    and {more} more"),
        _ => Ok(()),
    }
}

impl fmt::Display for ChangesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLayer(name) => write!(f, "cannot find the layer {}: there is none", quote(name)),
            Self::NoneHere(Some(cwd)) => {
                write!(f, "cannot find a layer of {}: no sandbox has changed it in one", quote(cwd))
            }
            Self::NoneHere(None) => {
                f.write_str("cannot find a layer of the working directory: it is not known")
            }
            Self::NoPlace => f.write_str("cannot find layers: neither HOME nor XDG_STATE_HOME says where"),
            Self::Layer { path, errno } => {
                write!(f, "cannot open the layer {}: {}", quote(path), errno_words(*errno))
            }
            Self::Record { path, why } => write!(f, "cannot read {}: {}", quote(path), escape(why)),
            Self::Directory { path, errno: Some(errno) } => {
                write!(f, "cannot open the layer's directory {}: {}", quote(path), errno_words(*errno))
            }
            Self::Directory { path, errno: None } => {
                write!(f, "cannot use the layer on {}: it is another directory now", quote(path))
            }
            Self::Merge { name, errno } => {
                write!(f, "cannot mount what the layer {} lies over: {}", quote(name), errno_words(*errno))
            }
            Self::Read { path, errno } => {
                write!(f, "cannot compare {}: {}", below(path), errno_words(*errno))
            }
            Self::Elsewhere { path } => {
                write!(f, "cannot compare {}: its overlay keeps a part of it elsewhere", below(path))
            }
            Self::NoChange(path) => write!(f, "cannot find a change at {}: there is none", quote(path)),
            Self::InUse(name) => write!(f, "cannot apply the layer {}: a sandbox uses it", quote(name)),
            Self::OfNoDirectory(name) => {
                write!(f, "cannot apply the layer {}: it is not of a directory", quote(name))
            }
            Self::HalfApplied(name) => {
                write!(f, "cannot try to apply the layer {}: it is half applied", quote(name))
            }
            Self::Conflicts { name, entries, .. } => {
                write!(f, "cannot apply the layer {}: nothing is changed, for", quote(name))?;
                list(f, entries)
            }
            Self::Full { path, needed, free } => write!(
                f,
                "cannot apply to {}: it takes {needed} bytes and {free} are free; nothing is changed",
                quote(path)
            ),
            Self::Write { path, errno, begun } => {
                let state = if *begun { "a part is applied" } else { "nothing is changed" };
                write!(f, "cannot write {}: {}; {state}", below(path), errno_words(*errno))
            }
            Self::Left { name, entries } => {
                write!(
                    f,
                    "cannot apply all of the layer {}: these were just changed, and stay in it",
                    quote(name)
                )?;
                list(f, entries)
            }
        }
    }
}

impl Diagnose for ChangesError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoLayer(name) => format!("for a path of the newest layer here: -- {}", escape(name)),
            Self::NoneHere(_) => "name a layer, or go to the directory that it is of".to_owned(),
            Self::NoPlace => "set HOME".to_owned(),
            Self::Directory { .. } => {
                "put the directory back where it was; the layer fits no other".to_owned()
            }
            Self::Merge { .. } => "`sbx doctor` says what keeps overlays from being mounted".to_owned(),
            Self::Elsewhere { .. } => "only layers that sbx has made can be read".to_owned(),
            Self::NoChange(_) => "paths are those that `sbx diff` prints".to_owned(),
            Self::InUse(_) => "end it, as with `sbx stop`".to_owned(),
            Self::OfNoDirectory(_) => {
                "only what was changed over a directory can be applied to it".to_owned()
            }
            Self::Conflicts { upper, .. } => format!(
                "name the paths that are to be applied; what the layer has of the others is below {}",
                quote(upper)
            ),
            Self::HalfApplied(_) => "finish that first, by `sbx apply` without --dry-run".to_owned(),
            Self::Full { .. } => "make room, or name the paths that are to be applied".to_owned(),
            Self::Write { begun: true, .. } => "make it possible, and run `sbx apply` again".to_owned(),
            Self::Left { .. } => "look at them with `sbx diff`".to_owned(),
            _ => return None,
        })
    }
}
