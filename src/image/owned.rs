//! What a layer's members have of owners, set-id modes and attributes, as a second tree for sandboxes with subordinate ids: it lies
//! directly over the layer's own and holds only the members that differ, and the directories above them. It is made where those ids
//! are mapped, by root of them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::stat::{fchmod, fchmodat, fstat, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, fchown, fchownat, fsync, linkat, mkfifoat, symlinkat, syncfs};

use super::owners::{self, Attribute, Owner};
use super::path::split;
use super::store;
use super::tree::{OPAQUE, open_directory};
use crate::{removal, sys};

/// The tree's name beside the layer's own, and what it is called while it is made.
pub(super) const OWNED: &str = "owned";
const MAKING: &str = ".owned";

/// Whether a layer has members that one user's files can't express, and no tree of them yet.
pub(super) fn is_missing(layer: &Path) -> io::Result<bool> {
    if fs::symlink_metadata(layer.join(OWNED)).is_ok() {
        return Ok(false);
    }
    let mut owners = owners::owners(layer)?;
    owners.try_fold(false, |differs, owner| Ok(differs || owner?.device.is_none()))
}

/// Makes the tree of a layer. Every id of its owners must be mapped.
///
/// # Errors
/// What the filesystem says; `EINVAL` for an owner that is not mapped.
pub(super) fn make(layer: &Path) -> io::Result<()> {
    let owners: BTreeMap<Vec<u8>, Owner> = owners::owners(layer)?
        .map(|owner| owner.map(|owner| (owner.path.clone(), owner)))
        .collect::<io::Result<_>>()?;
    let parent = store::open(layer)?;
    let making = CString::new(MAKING).unwrap_or_default();
    if fs::symlink_metadata(layer.join(MAKING)).is_ok() {
        removal::remove(&parent, &making)?;
    }
    DirBuilder::new().mode(0o755).create(layer.join(MAKING))?;
    let (from, to) = (store::open(&layer.join("tree"))?, store::open(&layer.join(MAKING))?);
    let mut copy = Copy { from, to, owners: &owners, directories: Vec::new(), linked: BTreeMap::new() };
    for owner in owners.values().filter(|owner| owner.device.is_none() && !owner.path.is_empty()) {
        copy.add(owner)?;
    }
    copy.finish()?;
    // It has its name only when the disk has it.
    syncfs(&copy.to)?;
    fs::rename(layer.join(MAKING), layer.join(OWNED))?;
    Ok(fsync(&parent)?)
}

struct Copy<'a> {
    from: OwnedFd,
    to: OwnedFd,
    owners: &'a BTreeMap<Vec<u8>, Owner>,
    /// Those that are made, each behind the ones above it.
    directories: Vec<Vec<u8>>,
    /// Files with more names than one: where the first was made.
    linked: BTreeMap<u64, Vec<u8>>,
}

impl Copy<'_> {
    fn add(&mut self, owner: &Owner) -> io::Result<()> {
        let path = &owner.path;
        let (parent, name) = split(path);
        let from = open_directory(&self.from, parent)?;
        let name = CString::new(name)?;
        let there = fstatat(&from, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            return self.directory(path);
        }
        self.directory(parent)?;
        let to = open_directory(&self.to, parent)?;
        match kind {
            SFlag::S_IFREG => self.file(owner, (&from, &to), &name, &there),
            SFlag::S_IFLNK => {
                symlinkat(readlinkat(&from, name.as_c_str())?.as_os_str(), &to, name.as_c_str())?;
                chown(&to, &name, owner)?;
                set_time(&to, &name, &there)
            }
            SFlag::S_IFIFO => {
                mkfifoat(&to, name.as_c_str(), Mode::S_IRWXU)?;
                chown(&to, &name, owner)?;
                fchmodat(&to, name.as_c_str(), mode(owner), FchmodatFlags::FollowSymlink)?;
                set_time(&to, &name, &there)
            }
            // A whiteout has no owner.
            _ => Ok(()),
        }
    }

    fn file(
        &mut self,
        owner: &Owner,
        (from, to): (&OwnedFd, &OwnedFd),
        name: &CStr,
        there: &FileStat,
    ) -> io::Result<()> {
        if let Some(first) = self.linked.get(&there.st_ino) {
            let (parent, first) = split(first);
            let parent = open_directory(&self.to, parent)?;
            return Ok(linkat(&parent, OsStr::from_bytes(first), to, name, LinkatFlags::empty())?);
        }
        if there.st_nlink > 1 {
            self.linked.insert(there.st_ino, owner.path.clone());
        }
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let write = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut old = File::from(openat(from, name, read, Mode::empty())?);
        let mut new = File::from(openat(to, name, write, Mode::S_IRUSR | Mode::S_IWUSR)?);
        io::copy(&mut old, &mut new)?;
        // Another owner takes set-id modes and capabilities away.
        fchown(&new, uid(owner)?, gid(owner)?)?;
        attributes(&old, &new, &owner.xattrs)?;
        fchmod(&new, mode(owner))?;
        Ok(futimens(&new, &accessed(there), &modified(there))?)
    }

    /// A directory, and those above it.
    fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        if path.is_empty() || self.directories.iter().any(|made| made == path) {
            return Ok(());
        }
        let (parent, name) = split(path);
        self.directory(parent)?;
        mkdirat(&open_directory(&self.to, parent)?, OsStr::from_bytes(name), Mode::S_IRWXU)?;
        self.directories.push(path.to_vec());
        Ok(())
    }

    /// Gives the directories what the layer's own have, the deepest first.
    fn finish(&self) -> io::Result<()> {
        let roots = Owner::default();
        for path in self.directories.iter().rev() {
            let (old, new) = (open_directory(&self.from, path)?, open_directory(&self.to, path)?);
            let there = fstat(&old)?;
            let known = self.owners.get(path);
            let owner = known.unwrap_or(&roots);
            fchown(&new, uid(owner)?, gid(owner)?)?;
            attributes(&old, &new, &owner.xattrs)?;
            let plain = Mode::from_bits_truncate(there.st_mode & 0o7777);
            fchmod(&new, known.map_or(plain, mode))?;
            futimens(&new, &accessed(&there), &modified(&there))?;
        }
        Ok(())
    }
}

/// Those that the layer's file has, and those that it could not have; what root of these ids can't set, either, is left out.
fn attributes(
    old: &impl std::os::fd::AsFd,
    new: &impl std::os::fd::AsFd,
    further: &[Attribute],
) -> io::Result<()> {
    let names = sys::xattr::names(old)?;
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let name = CString::new(name)?;
        // What covers the layers below does so by the layer's own directory.
        if name.as_c_str() != OPAQUE {
            sys::xattr::set(new, &name, &sys::xattr::get(old, &name)?)?;
        }
    }
    for Attribute { name, value } in further {
        match sys::xattr::set(new, &CString::new(name.as_slice())?, value) {
            Ok(()) | Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn uid(owner: &Owner) -> io::Result<Option<Uid>> {
    u32::try_from(owner.uid).map(|id| Some(Uid::from_raw(id))).map_err(|_| Errno::EINVAL.into())
}

fn gid(owner: &Owner) -> io::Result<Option<Gid>> {
    u32::try_from(owner.gid).map(|id| Some(Gid::from_raw(id))).map_err(|_| Errno::EINVAL.into())
}

fn mode(owner: &Owner) -> Mode {
    Mode::from_bits_truncate(owner.mode & 0o7777)
}

fn chown(directory: &OwnedFd, name: &CStr, owner: &Owner) -> io::Result<()> {
    Ok(fchownat(directory, name, uid(owner)?, gid(owner)?, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

fn set_time(directory: &OwnedFd, name: &CStr, there: &FileStat) -> io::Result<()> {
    let (read, written) = (accessed(there), modified(there));
    Ok(utimensat(directory, name, &read, &written, UtimensatFlags::NoFollowSymlink)?)
}

fn accessed(there: &FileStat) -> TimeSpec {
    TimeSpec::new(there.st_atime, there.st_atime_nsec)
}

fn modified(there: &FileStat) -> TimeSpec {
    TimeSpec::new(there.st_mtime, there.st_mtime_nsec)
}
