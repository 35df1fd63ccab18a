//! Which layers are kept, and how much they hold.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::Serialize;

use super::{Kind, LayersError, Record, tree};

/// The file in a layer that says what is being carried over.
pub(crate) const JOURNAL: &str = "journal";

/// A layer that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it has in it.
    pub kind: Kind,
    /// The directory that it has the changes of.
    pub directory: Option<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// There are more, which could not be looked at.
    pub more: bool,
    /// Seconds since it was made.
    pub age_seconds: u64,
    /// A sandbox writes it.
    pub in_use: bool,
    /// Carrying it over to its directory was begun, and not ended.
    pub half_applied: bool,
    /// The profile of the run that made it.
    pub profile: Option<String>,
    /// The command of that run.
    pub command: Vec<String>,
}

/// The names of layers, the last of each directory behind the others: what is about to be removed, or not whole, has none.
///
/// # Errors
/// [`LayersError::System`]: the directory can't be read; a missing one has no layers.
pub fn names(layers: &Path) -> Result<Vec<String>, LayersError> {
    let unreadable = |error: std::io::Error| LayersError::System {
        verb: "list",
        name: layers.to_string_lossy().into_owned(),
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    };
    let entries = match fs::read_dir(layers) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // A layer's name is text.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_layer(layers, &name) {
            names.push(name);
        }
    }
    names.sort_by(|left, right| in_order(left).cmp(&in_order(right)));
    Ok(names)
}

/// A name as it sorts: by the number at its end, if it has one.
fn in_order(name: &str) -> (&str, u64, &str) {
    let numbered = name.rsplit_once('-').and_then(|(stem, number)| Some((stem, number.parse().ok()?)));
    numbered.map_or((name, 0, name), |(stem, number)| (stem, number, name))
}

/// Whether there is a layer of this name.
pub fn is_layer(layers: &Path, name: &str) -> bool {
    let is_directory = |path: PathBuf| fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
    let one_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    one_name && is_directory(layers.join(name)) && is_directory(tree(&layers.join(name)).join("upper"))
}

/// Whether carrying a layer over to its directory was begun and not ended: what it was about to do is written in it.
pub fn is_half_applied(layer: &Path) -> bool {
    fs::symlink_metadata(layer.join(JOURNAL)).is_ok()
}

/// The layers, by name.
///
/// # Errors
/// As [`names`].
pub fn all(layers: &Path) -> Result<Vec<Listed>, LayersError> {
    Ok(names(layers)?.into_iter().map(|name| look(layers, name)).collect())
}

fn look(layers: &Path, name: String) -> Listed {
    let layer = layers.join(&name);
    let record = Record::read(&layer).ok();
    let now = SystemTime::now();
    let made = match &record {
        Some(record) => u64::try_from(record.created / 1_000_000_000).unwrap_or(0),
        None => fs::metadata(&layer).map_or(0, |there| u64::try_from(there.mtime()).unwrap_or(0)),
    };
    let (bytes, more) = size(&tree(&layer).join("upper"));
    Listed {
        kind: record.as_ref().map_or(Kind::Named, |record| record.kind),
        directory: record.as_ref().map(|record| record.directory.to_string_lossy().into_owned()),
        bytes,
        more,
        age_seconds: now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().saturating_sub(made)),
        in_use: is_in_use(&layer),
        half_applied: is_half_applied(&layer),
        profile: record.as_ref().map(|record| record.profile.clone()),
        command: record.into_iter().flat_map(|record| record.command).map(lossy).collect(),
        name,
    }
}

fn lossy(word: std::ffi::OsString) -> String {
    word.to_string_lossy().into_owned()
}

/// Bytes on disk, each file once; whether there is more that can't be looked at.
fn size(directory: &Path) -> (u64, bool) {
    const BLOCK: u64 = 512;
    let (mut bytes, mut more) = (0, false);
    let mut linked = HashSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            more = true;
            continue;
        };
        for entry in entries.flatten() {
            let Ok(there) = entry.metadata() else { continue };
            if there.is_dir() {
                left.push(entry.path());
            } else if there.nlink() > 1 && !linked.insert((there.dev(), there.ino())) {
                continue;
            }
            bytes += there.blocks() * BLOCK;
        }
    }
    (bytes, more)
}

/// Whether somebody has locked it. The lock is taken for the moment of this look: who wants the layer then tries again.
fn is_in_use(layer: &Path) -> bool {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = File::options().read(true).custom_flags(flags.bits()).open(layer);
    opened.is_ok_and(|layer| {
        matches!(Flock::lock(layer, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_comes_after_the_second() {
        let mut names = ["b", "a-10", "a-2", "a-x", "a-1-3", "a"];
        names.sort_by_key(|name| in_order(name));
        assert_eq!(names, ["a", "a-2", "a-10", "a-1-3", "a-x", "b"]);
    }
}
