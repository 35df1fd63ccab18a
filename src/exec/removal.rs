//! Takes a tree away that a sandbox has written, with whatever modes and depths it has in it.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// How deep to go at a time: each level takes a descriptor. What lies deeper is moved up.
const DEPTH: usize = 100;
/// Times to begin anew: a tree of 100,000 directories in each other.
const ROUNDS: usize = 1000;

/// Removes `name` in a directory and all below. Links are not followed.
pub(crate) fn remove(parent: &OwnedFd, name: &CString) -> nix::Result<()> {
    // Never the same name twice: what was moved before may still be there.
    let mut moved = 0;
    for _ in 0..ROUNDS {
        let before = moved;
        let top = match open(parent, name) {
            Err(Errno::ENOENT) => return Ok(()),
            top => top?,
        };
        clear(&top, top.try_clone().map_err(|_| Errno::EMFILE)?, 0, &mut moved)?;
        match unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST) if moved > before => {}
            result => return result,
        }
    }
    Err(Errno::ENOTEMPTY)
}

/// Empties a directory; what is too deep goes to `top`.
fn clear(top: &OwnedFd, directory: OwnedFd, depth: usize, moved: &mut usize) -> nix::Result<()> {
    let here = directory.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut entries = Dir::from_fd(directory)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => super::walk::kind(&here, name)? == nix::sys::stat::SFlag::S_IFDIR,
        };
        if !is_dir {
            unlinkat(&here, name, UnlinkatFlags::NoRemoveDir)?;
        } else if depth < DEPTH {
            clear(top, open(&here, name)?, depth + 1, moved)?;
            unlinkat(&here, name, UnlinkatFlags::RemoveDir)?;
        } else {
            // Where a directory lies is written in it: one that is closed can't be moved.
            drop(open(&here, name)?);
            *moved += 1;
            let deep = format!("moved-{moved}-{}", std::process::id());
            renameat(&here, name, top, deep.as_str())?;
        }
    }
    Ok(())
}

/// Opens a directory, whatever its mode.
fn open(parent: impl AsFd, name: &std::ffi::CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Nothing can be removed from a directory that can't be written either.
    if super::walk::kind(&parent, name)? == nix::sys::stat::SFlag::S_IFDIR {
        fchmodat(&parent, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
    }
    openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    #[test]
    fn any_tree_goes_and_nothing_else() {
        let place = std::env::temp_dir().join(format!("sbx-removal-{}", std::process::id()));
        let (tree, kept) = (place.join("tree"), place.join("kept"));
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(kept.join("below")).unwrap();
        symlink(&kept, tree.join("link")).unwrap();
        for branch in ["a", "b"] {
            let deep: PathBuf = std::iter::repeat_n("d", 450).collect();
            let deep = tree.join(branch).join(deep);
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("file"), "").unwrap();
            // Among them those that are moved up.
            for closed in deep.ancestors().take(120) {
                fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
            }
        }
        let parent = OwnedFd::from(fs::File::open(&place).unwrap());
        assert_eq!(remove(&parent, &CString::new("tree").unwrap()), Ok(()));
        assert!(!tree.exists() && kept.join("below").exists());
        assert_eq!(remove(&parent, &CString::new("tree").unwrap()), Ok(()));
        fs::remove_dir_all(place).unwrap();
    }
}
