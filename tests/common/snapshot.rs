//! A directory tree as it was at one moment.

use super::text;
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::fs;
use std::hash::Hasher as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Everything below a directory: type, mode, owner, size, a hash of the contents, and link targets.
#[derive(Clone, Debug)]
pub struct Snapshot {
    entries: BTreeMap<PathBuf, Vec<(&'static str, String)>>,
}

impl Snapshot {
    /// Looks at a tree. Times don't count.
    pub fn of(dir: impl AsRef<Path>) -> Result<Self, Failed> {
        Self::take(dir.as_ref(), false)
    }

    /// Looks at a tree, modification times included.
    pub fn with_times(dir: impl AsRef<Path>) -> Result<Self, Failed> {
        Self::take(dir.as_ref(), true)
    }

    fn take(dir: &Path, times: bool) -> Result<Self, Failed> {
        let mut snapshot = Self { entries: BTreeMap::new() };
        snapshot
            .add(dir, Path::new(""), times)
            .map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
        Ok(snapshot)
    }

    fn add(&mut self, dir: &Path, below: &Path, times: bool) -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (path, name) = (entry.path(), below.join(entry.file_name()));
            self.entries.insert(name.clone(), describe(&path, times)?);
            if entry.file_type()?.is_dir() {
                match self.add(&path, &name, times) {
                    // Its owner has closed it, as the kernel closes an overlay's work dir.
                    Err(_) if entry.metadata()?.mode() & 0o700 == 0 => {}
                    added => added?,
                }
            }
        }
        Ok(())
    }

    /// The paths in it, relative and sorted.
    pub fn paths(&self) -> Vec<&Path> {
        self.entries.keys().map(PathBuf::as_path).collect()
    }

    /// What is different in a later snapshot, one line for each path: `+` appeared, `-` went, `~` changed.
    pub fn difference(&self, later: &Self) -> String {
        let mut lines = String::new();
        for (path, old) in &self.entries {
            let name = text::plain(&path.to_string_lossy());
            match later.entries.get(path) {
                None => _ = writeln!(lines, "- {name} ({})", old[0].1),
                Some(new) if new != old => _ = writeln!(lines, "~ {name}: {}", changes(old, new)),
                Some(_) => {}
            }
        }
        for (path, new) in later.entries.iter().filter(|(path, _)| !self.entries.contains_key(*path)) {
            _ = writeln!(lines, "+ {} ({})", text::plain(&path.to_string_lossy()), new[0].1);
        }
        lines
    }

    /// Fails with the difference if there is one.
    pub fn same_as(&self, later: &Self) -> Result<(), Failed> {
        let difference = self.difference(later);
        if difference.is_empty() { Ok(()) } else { Err(format!("the tree changed:\n{difference}").into()) }
    }
}

/// The properties of one file, its type first.
fn describe(path: &Path, times: bool) -> std::io::Result<Vec<(&'static str, String)>> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let word = match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "link",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "device",
    };
    let mut list = vec![
        ("type", word.to_owned()),
        ("mode", format!("{:o}", meta.mode() & 0o7777)),
        ("owner", format!("{}:{}", meta.uid(), meta.gid())),
    ];
    if kind.is_file() {
        list.push(("size", meta.len().to_string()));
        let mut hasher = DefaultHasher::new();
        hasher.write(&fs::read(path)?);
        list.push(("contents", format!("{:016x}", hasher.finish())));
    }
    if kind.is_symlink() {
        list.push(("target", text::plain(&fs::read_link(path)?.to_string_lossy())));
    }
    if times {
        list.push(("time", format!("{}.{:09}", meta.mtime(), meta.mtime_nsec())));
    }
    Ok(list)
}

fn changes(old: &[(&'static str, String)], new: &[(&'static str, String)]) -> String {
    let value = |list: &[(&'static str, String)], key| {
        list.iter()
            .find(|(name, _)| *name == key)
            .map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
    };
    let mut keys: Vec<_> = old.iter().chain(new).map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    let words = keys.into_iter().map(|key| (key, value(old, key), value(new, key)));
    let words: Vec<_> = words
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| format!("{key} {old} → {new}"))
        .collect();
    words.join(", ")
}
