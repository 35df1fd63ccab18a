//! What stays read-only in a writable directory: files that other programs of the user run, or take orders from.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

use super::bytes;
use crate::profile::{Origin, Profile};

/// A path that stays as it is in every writable directory of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Protected {
    /// Below such a directory.
    #[serde(serialize_with = "bytes::path")]
    pub path: PathBuf,
    /// What holds its place where there is nothing.
    pub placeholder: Placeholder,
    /// Who asked for it.
    #[serde(rename = "set-by", serialize_with = "bytes::display")]
    pub origin: Origin,
}

/// What holds the place of something that does not exist while a sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placeholder {
    /// An empty directory: git does not see it, so that no commit takes it along.
    Directory,
    /// An empty file, where the programs that read it stumble over a directory.
    File,
    /// A file that says `.`: git gives up on an empty one.
    Dot,
}

impl Placeholder {
    /// What the file holds.
    pub fn content(self) -> &'static [u8] {
        if self == Placeholder::Dot { b".\n" } else { b"" }
    }
}

/// Paths that are read by programs that give up on a directory.
const READ_AS_FILES: [(&str, Placeholder); 4] = [
    (".cargo/config.toml", Placeholder::File),
    (".git/commondir", Placeholder::Dot),
    (".git/config", Placeholder::File),
    (".git/config.worktree", Placeholder::File),
];

/// What the profile protects.
pub(super) fn protected(profile: &Profile) -> Vec<Protected> {
    let one = |setting: &crate::profile::Setting<String>| Protected {
        path: PathBuf::from(&setting.value),
        placeholder: READ_AS_FILES
            .into_iter()
            .find(|(path, _)| *path == setting.value)
            .map_or(Placeholder::Directory, |(_, placeholder)| placeholder),
        origin: setting.origin.clone(),
    };
    profile.filesystem.protect.iter().map(one).collect()
}
