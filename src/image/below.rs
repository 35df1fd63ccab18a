//! The layers below one that is unpacked. Archives leave out directories that did not change: in a stack those would cover the
//! lower ones with modes of their own, so they get what the lower ones have.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::digest::Digest;
use super::owners::{self, Owner};
use super::store;
use super::tree::{OPAQUE, open_directory};
use crate::sys;

/// What a layer's owners file says, by path.
type Owners = BTreeMap<Vec<u8>, Owner>;

/// The layers below, as they are in the store or about to be.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// Where they are, lowest first, with what their owners are once somebody asked.
    layers: Vec<(PathBuf, Option<Owners>)>,
    /// What they are called.
    names: String,
}

/// What a directory has in the layers below.
#[derive(Debug)]
pub(super) struct Had {
    pub(super) mode: u32,
    pub(super) mtime: (i64, i64),
    pub(super) owner: Option<Owner>,
}

impl Below {
    /// Puts a layer on top of them.
    pub(super) fn push(&mut self, layer: PathBuf, name: &str) {
        self.layers.push((layer, None));
        self.names.push_str(name);
        self.names.push('\n');
    }

    /// What a layer is called that is another one on other layers.
    pub(super) fn name_above(&self, diff_id: &Digest) -> Digest {
        Digest::of(format!("{}{}", self.names, diff_id.hex()).as_bytes())
    }

    /// What a directory has in the topmost layer that has it; nothing where it can't be seen.
    pub(super) fn directory(&mut self, path: &[u8]) -> io::Result<Option<Had>> {
        for (layer, known) in self.layers.iter_mut().rev() {
            let top = store::open(&layer.join("tree"))?;
            let directory = match open_directory(&top, path) {
                Ok(directory) => directory,
                Err(Errno::ENOENT) if !is_covered(&top, path)? => continue,
                // A whiteout, or something that is no directory.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                // A directory that its owner can't open is one all the same, but says nothing.
                Err(Errno::EACCES) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            let status = fstat(&directory)?;
            let owners = match known {
                Some(owners) => owners,
                None => known.insert(
                    owners::owners(layer)?
                        .map(|owner| owner.map(|owner| (owner.path.clone(), owner)))
                        .collect::<io::Result<_>>()?,
                ),
            };
            let mtime = (status.st_mtime, status.st_mtime_nsec);
            return Ok(Some(Had { mode: status.st_mode & 0o7777, mtime, owner: owners.get(path).cloned() }));
        }
        Ok(None)
    }
}

/// Whether a directory that the path lies in covers what is below.
fn is_covered(top: &std::os::fd::OwnedFd, path: &[u8]) -> nix::Result<bool> {
    let ends = (0..path.len()).filter(|at| path[*at] == b'/').chain([0]);
    for end in ends {
        match open_directory(top, &path[..end]) {
            Ok(above) if sys::xattr::get(&above, OPAQUE).is_ok() => return Ok(true),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}
