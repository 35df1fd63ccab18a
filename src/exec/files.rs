//! Files of the root filesystem that is being built, inside. Nothing here allocates, and nothing is made in directories
//! that somebody else can write.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, SFlag, fchmodat, fstat, mkdirat};
use nix::unistd::symlinkat;

use super::walk;
use crate::plan::Content;
use crate::sys::process;

/// An open directory that something is made or mounted in.
pub(super) struct Place<'p> {
    pub(super) directory: BorrowedFd<'p>,
    /// Only this set-up can have written there.
    pub(super) own: bool,
    /// Something new may be made there.
    pub(super) may_make: bool,
}

/// What is called `name`; `ELOOP` when that is a link.
pub(super) fn not_a_link(place: &Place<'_>, name: &CStr) -> nix::Result<SFlag> {
    match walk::kind(place.directory, name)? {
        SFlag::S_IFLNK => Err(Errno::ELOOP),
        kind => Ok(kind),
    }
}

/// A directory with just this mode, where one is or may be made.
pub(super) fn make_directory(place: &Place<'_>, name: &CStr, mode: u32) -> nix::Result<()> {
    let made =
        if place.may_make { mkdirat(place.directory, name, walk::mode(mode)) } else { Err(Errno::EEXIST) };
    match made {
        Err(Errno::EEXIST) => match not_a_link(place, name) {
            Ok(SFlag::S_IFDIR) if place.own => change_mode(place, name, mode),
            Ok(SFlag::S_IFDIR) => Ok(()),
            Ok(_) => Err(Errno::ENOTDIR),
            Err(Errno::ENOENT) => Err(Errno::EROFS),
            Err(errno) => Err(errno),
        },
        other => other,
    }
}

/// A new, empty file.
pub(super) fn new_file(place: &Place<'_>, name: &CStr, mode: u32) -> nix::Result<OwnedFd> {
    if !place.may_make {
        return Err(Errno::EROFS);
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(place.directory, name, flags, walk::mode(mode)) {
        Err(Errno::EEXIST) => not_a_link(place, name).and(Err(Errno::EEXIST)),
        other => other,
    }
}

/// A link that says `target`, where none is that does.
pub(super) fn symlink(place: &Place<'_>, name: &CStr, target: &CStr) -> nix::Result<()> {
    let made = if place.may_make { symlinkat(target, place.directory, name) } else { Err(Errno::EEXIST) };
    match made {
        Err(Errno::EEXIST) => match says(place, name, target) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Err(Errno::EROFS),
            Err(errno) => Err(errno),
        },
        other => other,
    }
}

pub(super) fn write_file(file: &OwnedFd, content: &Content) -> nix::Result<()> {
    match content {
        Content::Bytes(bytes) | Content::Secret(bytes) => write_all(file, bytes),
        Content::Fd(fd) => {
            let input = process::inherited(*fd)?;
            let mut buffer = [0; 16 * 1024];
            loop {
                match nix::unistd::read(input, &mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(length) => write_all(file, &buffer[..length])?,
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
}

/// Copies `length` bytes, or up to the end, in the kernel.
pub(super) fn copy(from: &OwnedFd, mut length: usize, to: &OwnedFd) -> nix::Result<()> {
    while length > 0 {
        match nix::sys::sendfile::sendfile(to, from, None, length) {
            Ok(0) => break,
            Ok(copied) => length -= copied,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets the mode of something of the set-up's own, where no link can appear after the look.
pub(super) fn change_mode(place: &Place<'_>, name: &CStr, mode: u32) -> nix::Result<()> {
    if !place.own {
        return Err(Errno::EROFS);
    }
    not_a_link(place, name)?;
    fchmodat(place.directory, name, walk::mode(mode), FchmodatFlags::FollowSymlink)
}

/// Whether `name` is a link with just this text.
fn says(place: &Place<'_>, name: &CStr, target: &CStr) -> nix::Result<bool> {
    let link = walk::open_without_links(place.directory, name, OFlag::empty())?;
    if SFlag::from_bits_truncate(fstat(&link)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        return Ok(false);
    }
    let mut text = [0; libc::PATH_MAX as usize];
    let length = process::read_link(&link, &mut text)?;
    Ok(text[..length] == *target.to_bytes())
}
