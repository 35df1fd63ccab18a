//! Where in a layer's directory its upper and its work dir are, which says who has written them.
//!
//! The kernel's overlayfs and `fuse-overlayfs` don't mark alike what is gone, so that neither is given what the other has
//! written. What `fuse-overlayfs` writes has a directory of its own, beside what sbx notes of the layer: its process sees
//! nothing above.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// The directory with the upper and the work dir of a layer that `fuse-overlayfs` has written.
pub(crate) const OF_FUSE: &str = "fuse-overlayfs";

/// What `fuse-overlayfs` and AUFS put before the name that a whiteout hides.
pub(crate) const WHITEOUT: &[u8] = b".wh.";

/// What they call the file that makes a directory opaque.
pub(crate) const OPAQUE: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];

/// The directory with the upper and the work dir of a layer, which may be the layer's own.
pub fn tree(layer: &Path) -> PathBuf {
    let of_fuse = layer.join(OF_FUSE);
    match std::fs::symlink_metadata(&of_fuse) {
        Ok(there) if there.is_dir() => of_fuse,
        _ => layer.to_owned(),
    }
}
