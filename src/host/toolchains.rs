//! Toolchains that their users install below their homes.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::{Host, HostError, look};

/// Where a kind of toolchain is kept, and what of it a program needs.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolchainKind {
    /// The word for it in profiles.
    pub word: &'static str,
    /// Its directories.
    pub places: &'static [ToolchainPlace],
}

/// A directory that holds a toolchain, or parts of one.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolchainPlace {
    /// The variable that says where it is.
    pub variable: &'static str,
    /// Where it is without that, below the home directory.
    pub default: &'static str,
    /// What is shown of it, read-only: patterns, in which a `*` stands for one whole name; an empty one is all of it. What is
    /// not named stays hidden, credentials above all.
    pub show: &'static [&'static str],
    /// A pattern of what lies in whatever is shown: a variable may name any directory, but shows none that is no toolchain.
    pub mark: &'static str,
    /// What is hidden again of what is shown: patterns.
    pub hide: &'static [&'static str],
    /// Programs write into it: where it does not lie in the home directory, an empty one takes its place.
    pub written: bool,
}

/// What was found of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// The word for it in profiles.
    pub word: String,
    /// What is shown, read-only.
    pub read: Vec<PathBuf>,
    /// What is hidden below that.
    pub hide: Vec<PathBuf>,
    /// Directories outside the home that its programs want to write.
    pub written: Vec<PathBuf>,
}

/// What is there of a kind.
pub(super) fn find(host: &Host, kind: &ToolchainKind) -> Result<Toolchain, HostError> {
    let mut found = Toolchain { word: kind.word.to_owned(), ..Toolchain::default() };
    for place in kind.places {
        let Some(directory) = place.directory(host) else { continue };
        for pattern in place.show {
            for path in matching(&directory, pattern)? {
                if place.mark.is_empty() || !matching(&path, place.mark)?.is_empty() {
                    found.read.push(path);
                }
            }
        }
        for pattern in place.hide {
            found.hide.extend(matching(&directory, pattern)?);
        }
        let in_home = host.home.as_ref().is_some_and(|home| directory.starts_with(home));
        if place.written && !in_home {
            found.written.push(directory);
        }
    }
    Ok(found)
}

impl ToolchainPlace {
    /// One of which this is shown, without a mark, and nothing hidden.
    pub const fn at(variable: &'static str, default: &'static str, show: &'static [&'static str]) -> Self {
        Self { variable, default, show, mark: "", hide: &[], written: false }
    }

    /// Where it is: never the home directory itself, nor anything around it.
    fn directory(&self, host: &Host) -> Option<PathBuf> {
        let home = host.home.as_deref()?;
        let named = host.variable(self.variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory: PathBuf = named.unwrap_or_else(|| home.join(self.default)).components().collect();
        let homes = host.real_homes.iter().map(PathBuf::as_path).chain([home]);
        let around = homes.into_iter().any(|home| home.starts_with(&directory));
        let climbs = directory.components().any(|part| part == std::path::Component::ParentDir);
        (!around && !climbs).then_some(directory)
    }
}

/// The paths below `directory` that a pattern stands for, and that are there; links count by what they lead to.
fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, HostError> {
    let mut paths = vec![directory.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for path in paths {
            if part != "*" {
                next.push(path.join(part));
                continue;
            }
            let Some(entries) = look::unless_absent(&path, fs::read_dir(&path))? else { continue };
            for entry in entries {
                next.push(entry.map_err(|error| HostError::path(&path, &error))?.path());
            }
        }
        paths = next;
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if look::unless_absent(&path, fs::metadata(&path))?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}
