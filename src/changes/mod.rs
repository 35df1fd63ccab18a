//! What a sandbox has changed in a layer: shown, and carried over to the directory that the layer lies over.
#![forbid(unsafe_code)]

mod apply;
mod bytes;
mod check;
mod compare;
mod error;
mod journal;
mod known;
mod layer;
mod marks;
mod node;
mod patch;
mod report;
mod select;
mod settled;
mod stage;
mod walk;

use std::path::PathBuf;

pub use apply::{Applied, apply};
pub use error::ChangesError;
pub use layer::{Ids, Layer, find, newest, place};
pub use marks::Mark;
pub use node::{Kind, Node};
pub use patch::{Look, patch};
pub use report::{json, text};
pub use select::select;

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is new.
    Added,
    /// It is of the same kind as before.
    Modified,
    /// It is gone; of a directory, all in it.
    Deleted,
    /// It is of another kind.
    TypeChanged,
}

impl Status {
    /// The letter that git has for it.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Modified => 'M',
            Self::Deleted => 'D',
            Self::TypeChanged => 'T',
        }
    }
}

/// One entry that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Below the directory; empty for itself.
    pub path: PathBuf,
    /// How it differs.
    pub status: Status,
    /// What the directory has.
    pub old: Option<Node>,
    /// What the layer has.
    pub new: Option<Node>,
    /// The bytes of a file, or the number of a device, differ.
    pub content: bool,
    /// The permissions differ.
    pub mode: bool,
    /// Extended attributes or access lists differ.
    pub attributes: bool,
    /// What a link says differs.
    pub target: bool,
    /// A part can't be read, so that it may be more.
    pub unreadable: bool,
    /// Why to look twice.
    pub marks: Vec<Mark>,
    /// What a deleted directory has in it.
    below: walk::Below,
    /// It was copied up, from here or from another name.
    from_below: bool,
    /// A directory above is opaque.
    hidden: bool,
    /// The layer's file has capabilities.
    capabilities: bool,
}

impl Change {
    fn new(path: PathBuf, status: Status, old: Option<Node>, new: Option<Node>) -> Self {
        Self {
            path,
            status,
            old,
            new,
            content: false,
            mode: false,
            attributes: false,
            target: false,
            unreadable: false,
            marks: Vec::new(),
            below: walk::Below::default(),
            from_below: false,
            hidden: false,
            capabilities: false,
        }
    }

    /// Entries in a directory that is gone or replaced.
    pub fn entries_below(&self) -> u64 {
        self.below.entries
    }

    /// What it is now, or was.
    fn kind(&self) -> Option<Kind> {
        self.new.as_ref().or(self.old.as_ref()).map(|node| node.kind)
    }
}
