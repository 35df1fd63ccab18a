//! What a run has changed in a directory whose changes are kept apart, in short.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::kept::{Changes, Kept};
use crate::layers::{OPAQUE, WHITEOUT};

/// Entries of a layer that are counted: the end of a run waits for it.
const MOST: u64 = 10_000;

/// A layer in which something was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// The directory that it has the changes of.
    pub directory: PathBuf,
    /// Entries that the directory does not have.
    pub new: u64,
    /// Entries that are another than in the directory, or may be: files that were opened for writing, directories whose mode is
    /// another.
    pub changed: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// There are more, which were not counted.
    pub more: bool,
}

impl Changed {
    /// What is in a layer, if it has something of a directory's that was changed.
    pub(super) fn of(kept: &Kept) -> Option<Self> {
        let Changes { name, directory, .. } = kept.changes.as_ref().filter(|_| !kept.is_empty())?;
        let (name, directory) = (name.clone(), directory.clone());
        let mut found = Self { name, directory, new: 0, changed: 0, removed: 0, more: false };
        found.count(&kept.upper, kept.is_of_fuse());
        Some(found)
    }

    fn count(&mut self, upper: &Path, of_fuse: bool) {
        let mut looked = 0;
        let mut left = vec![PathBuf::new()];
        while let Some(directory) = left.pop() {
            let Ok(entries) = fs::read_dir(upper.join(&directory)) else {
                self.more = true;
                continue;
            };
            for entry in entries.flatten() {
                looked += 1;
                if looked > MOST {
                    self.more = true;
                    return;
                }
                let mut name = entry.file_name();
                if of_fuse && OPAQUE.contains(&name.as_bytes()) {
                    continue;
                }
                let hides = name.as_bytes().strip_prefix(WHITEOUT).filter(|_| of_fuse);
                let hides = hides.map(|hides| OsString::from_vec(hides.to_vec()));
                let is_whiteout = hides.is_some();
                name = hides.unwrap_or(name);
                let path = directory.join(name);
                let Ok(here) = entry.metadata() else { continue };
                let there = fs::symlink_metadata(self.directory.join(&path)).ok();
                self.add(&here, there.as_ref(), is_whiteout);
                if here.is_dir() {
                    left.push(path);
                }
            }
        }
    }

    /// Counts an entry: what it is in the layer, and in the directory, if it is there.
    fn add(&mut self, here: &Metadata, there: Option<&Metadata>, is_whiteout: bool) {
        match there {
            // One that hides nothing is left of something that came and went.
            _ if is_whiteout || here.file_type().is_char_device() && here.rdev() == 0 => {
                self.removed += u64::from(there.is_some());
            }
            None => self.new += 1,
            Some(there) if here.is_dir() && there.is_dir() && here.mode() == there.mode() => {}
            Some(_) => self.changed += 1,
        }
    }
}
