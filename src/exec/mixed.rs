//! What `fuse-overlayfs` would mix up when it goes on with a layer, outside.
//!
//! It notes of each file that it copies up where that came from, and takes the two for one file from then on. Where the lower
//! file has another name besides, that name shows the copy's size with the lower file's bytes (seen with 1.10).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ExecError;
use super::sources::Source;
use super::subordinate::{self, Power};
use crate::diag::quote;
use crate::plan::Identity;
use crate::sys::xattr;

/// Where a file that was copied up came from: its path in a lower dir.
const ORIGIN: &std::ffi::CStr = c"user.fuseoverlayfs.origin";

/// Refuses a layer with a file that came from one of several names.
///
/// # Errors
/// [`ExecError::Unmet`] with the first.
pub(super) fn check(upper: &Path, lower: &[Source], identity: &Identity) -> Result<(), ExecError> {
    let lower: Vec<&Path> =
        lower.iter().map(|source| Path::new(OsStr::from_bytes(source.path.to_bytes()))).collect();
    let mut found = find(upper, &lower);
    if found.is_some() && identity.subordinate.is_some() {
        // Only whoever has all of the owners can look at everything.
        let mixed = subordinate::within(identity, Power::Read, || u8::from(find(upper, &lower).is_some()))?;
        found = found.filter(|_| mixed != 0);
    }
    let Some(path) = found else { return Ok(()) };
    Err(ExecError::Unmet {
        what: format!("go on with what is in {}", quote(upper)),
        why: format!("fuse-overlayfs would mix up {} with other names of the file that it was", quote(&path)),
        hint: Some("take another layer; `sbx diff` and `sbx apply` still take this one".to_owned()),
    })
}

/// The first such file, or the first directory that can't be looked at.
fn find(upper: &Path, lower: &[&Path]) -> Option<PathBuf> {
    let mut left = vec![PathBuf::new()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(upper.join(&directory)) else { return Some(directory) };
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(path),
                Ok(kind) if kind.is_file() && is_mixed(&upper.join(&path), &path, lower) => {
                    return Some(path);
                }
                _ => {}
            }
        }
    }
    None
}

fn is_mixed(file: &Path, path: &Path, lower: &[&Path]) -> bool {
    let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file);
    let origin = match opened.map(|file| xattr::get(&file, ORIGIN)) {
        Ok(Ok(origin)) => {
            PathBuf::from(OsStr::from_bytes(origin.split(|byte| *byte == 0).next().unwrap_or(&[])))
        }
        // It came from nowhere.
        Ok(Err(_)) => return false,
        // It may have come from where it is.
        Err(_) => path.to_owned(),
    };
    lower.iter().any(|lower| fs::symlink_metadata(lower.join(&origin)).is_ok_and(|there| there.nlink() > 1))
}
