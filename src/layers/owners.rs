//! Whose the entries of a kept layer are.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether something in a layer's upper dir, or that itself, has a uid and a gid that `is_wanted`. What lies in a directory that
/// can't be read stays unknown, but not whose the directory is.
pub fn has_entry_of(layer: &Path, is_wanted: &dyn Fn(u32, u32) -> bool) -> bool {
    let upper = super::tree(layer).join("upper");
    let wanted = |there: &fs::Metadata| is_wanted(there.uid(), there.gid());
    let Ok(top) = fs::symlink_metadata(&upper) else { return false };
    if wanted(&top) {
        return true;
    }
    let mut left = vec![upper];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(there) = entry.metadata() else { continue };
            if wanted(&there) {
                return true;
            }
            if there.is_dir() {
                left.push(entry.path());
            }
        }
    }
    false
}
