//! A layer's tree while it is unpacked. Every member is resolved by the kernel below the tree's top, without links, and made by its
//! last name in the directory that came of it: no path is a string of the host's.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, mkfifoat, symlinkat, unlinkat};

use super::below::Below;
use super::member::{Kind, Member, wrong};
use super::owners::{Attribute, Owner};
use super::path::{c_string, join, lies_in, normal, split};
use crate::{removal, sys};

/// What overlayfs reads on a directory that covers all below it (`userxattr`).
pub(super) const OPAQUE: &std::ffi::CStr = c"user.overlay.opaque";
/// Attributes that a filesystem of layers would take for its own: an image's never reach it.
const INTERPRETED: [&[u8]; 3] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers."];
/// The mode of a directory while it is filled, and of one that no member is about.
const FILLED: u32 = 0o700;
const IMPLIED: u32 = 0o755;
/// Bytes that are remembered of a layer's members at most: paths, and attributes that files here can't have; and what each takes
/// besides.
const NOTED: u64 = 256 << 20;
const EACH: u64 = 64;

type Result<T> = io::Result<T>;

/// The directories that were made, with what they have at the end.
#[derive(Clone, Copy)]
struct Final {
    mode: u32,
    mtime: Option<(i64, i64)>,
}

pub(super) struct Tree {
    top: Rc<OwnedFd>,
    directories: BTreeMap<Vec<u8>, Final>,
    pub(super) owners: BTreeMap<Vec<u8>, Owner>,
    /// The directory that was looked up last.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    buffer: Vec<u8>,
    /// Directories that no member was about when they were made.
    pub(super) implied: u64,
    /// Bytes of what is remembered of members.
    noted: u64,
}

impl Tree {
    /// A tree in an empty directory.
    pub(super) fn new(top: OwnedFd) -> Self {
        let directories = [(Vec::new(), Final { mode: IMPLIED, mtime: None })].into();
        Self {
            top: Rc::new(top),
            directories,
            owners: BTreeMap::new(),
            last: None,
            buffer: vec![0; 1 << 17],
            implied: 0,
            noted: 0,
        }
    }

    /// Adds a member; what is in a file is read from `content`.
    pub(super) fn add(&mut self, member: &Member, content: &mut dyn Read) -> Result<()> {
        let attributes = member.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.note(member.path.len() + attributes.sum::<usize>())?;
        let path = normal(&member.path)?;
        if path.is_empty() {
            if member.kind != Kind::Directory {
                return Err(wrong("it is the layer's top and no directory"));
            }
            let top = self.top.clone();
            return self.set_directory(path, member, &top);
        }
        let (parent, name) = split(&path);
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            // Below what has become a file nothing is left to hide; tools say so all the same.
            if let Err(Errno::ENOTDIR | Errno::ELOOP) = open_directory(&self.top, parent) {
                return Ok(());
            }
            let directory = self.directory(parent)?;
            return self.whiteout(parent, &directory, hidden);
        }
        let directory = self.directory(parent)?;
        let name = c_string(name)?;
        if let Kind::HardLink = member.kind {
            return self.hard_link(path, &directory, &name, member);
        }
        let was_hidden = self.make_way(&path, &directory, &name, member.kind == Kind::Directory)?;
        let mut dropped = Vec::new();
        match member.kind {
            Kind::File => dropped = self.file(&directory, &name, member, content)?,
            Kind::Link => {
                symlinkat(OsStr::from_bytes(&member.target), &directory, name.as_c_str())?;
                set_time_of_link(&directory, &name, member.mtime)?;
            }
            Kind::Fifo => {
                mkfifoat(&directory, name.as_c_str(), Mode::S_IRWXU)?;
                nix::sys::stat::fchmodat(
                    &directory,
                    name.as_c_str(),
                    mode(member.mode & 0o1777),
                    nix::sys::stat::FchmodatFlags::FollowSymlink,
                )?;
                set_time_of_link(&directory, &name, member.mtime)?;
            }
            Kind::Device(..) => hide(&directory, &name)?,
            Kind::Directory => {
                let made = Rc::new(open_directory(&directory, name.to_bytes())?);
                if was_hidden {
                    sys::xattr::set(made.as_fd(), OPAQUE, b"y")?;
                }
                return self.set_directory(path, member, &made);
            }
            Kind::HardLink => {}
        }
        self.remember(path, member, &dropped);
        Ok(())
    }

    /// Sets what could not be set while directories were filled, the deepest first; whether one has what it has below.
    pub(super) fn finish(&mut self, below: &mut Below) -> Result<bool> {
        self.last = None;
        let mut is_implied = false;
        // The top's mode is that of the writable layer.
        for (path, last) in
            self.directories.iter_mut().filter(|(path, last)| !path.is_empty() && last.mtime.is_none())
        {
            is_implied = true;
            if let Some(had) = below.directory(path)? {
                *last = Final { mode: had.mode, mtime: Some(had.mtime) };
                self.owners.extend(had.owner.map(|owner| (path.clone(), owner)));
            }
        }
        for (path, last) in self.directories.iter().rev() {
            let directory = open_directory(&self.top, path)?;
            fchmod(&directory, mode(last.mode & 0o1777))?;
            if let Some(mtime) = last.mtime {
                let time = time(mtime);
                futimens(&directory, &time, &time)?;
            }
        }
        Ok(is_implied)
    }

    /// Bounds what is remembered, whatever the layer says.
    fn note(&mut self, bytes: usize) -> Result<()> {
        self.noted += bytes as u64 + EACH;
        if self.noted > NOTED {
            Err(wrong("its members say more than may be remembered of them"))
        } else {
            Ok(())
        }
    }

    /// The directory, which is made where no member was about it.
    fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.top.clone());
        }
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let directory = match open_directory(&self.top, path) {
            Err(Errno::ENOENT) => {
                let (parent, name) = split(path);
                let above = self.directory(parent)?;
                self.implied += 1;
                self.note(path.len())?;
                mkdirat(&above, OsStr::from_bytes(name), mode(FILLED))?;
                self.directories.insert(path.to_vec(), Final { mode: IMPLIED, mtime: None });
                open_directory(&above, name)?
            }
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(wrong("it lies below something that is no directory in this layer"));
            }
            directory => directory?,
        };
        let directory = Rc::new(directory);
        self.last = Some((path.to_vec(), directory.clone()));
        Ok(directory)
    }

    /// Takes away what is in the member's place; whether that was a whiteout.
    fn make_way(&mut self, path: &[u8], directory: &OwnedFd, name: &CString, is_dir: bool) -> Result<bool> {
        let there = status(directory, name)?.map(|there| kind_of(&there));
        match there {
            Some(SFlag::S_IFDIR) if is_dir => return Ok(false),
            Some(SFlag::S_IFDIR) => {
                removal::remove(directory, name)?;
                let below = |other: &Vec<u8>| other == path || lies_in(other, path);
                self.directories.retain(|other, _| !below(other));
                self.owners.retain(|other, _| !below(other));
                self.last = None;
            }
            Some(_) => unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?,
            None => {}
        }
        self.owners.remove(path);
        if is_dir {
            mkdirat(directory, name.as_c_str(), mode(FILLED))?;
        }
        Ok(there == Some(SFlag::S_IFCHR))
    }

    /// Writes a file; the names of the attributes that it can't have here.
    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &CString,
        member: &Member,
        content: &mut dyn Read,
    ) -> Result<Vec<Vec<u8>>> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(directory, name.as_c_str(), flags, mode(0o600))?);
        let mut left = member.size;
        while left > 0 {
            let length = content.read(&mut self.buffer)?;
            if length == 0 {
                return Err(wrong("it is cut off"));
            }
            file.write_all(&self.buffer[..length])?;
            left = left.saturating_sub(length as u64);
        }
        let dropped = set_attributes(&file, member)?;
        fchmod(&file, mode(member.mode & 0o1777))?;
        let time = time(member.mtime);
        futimens(&file, &time, &time)?;
        Ok(dropped)
    }

    /// A link to another member, not through any link.
    fn hard_link(
        &mut self,
        path: Vec<u8>,
        directory: &OwnedFd,
        name: &CString,
        member: &Member,
    ) -> Result<()> {
        let target = normal(&member.target)?;
        let (parent, last) = split(&target);
        let last = c_string(last)?;
        let none = || wrong("a hard link to what is not in this layer");
        let from = match open_directory(&self.top, parent) {
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => return Err(none()),
            from => from?,
        };
        let there = status(&from, &last)?.ok_or_else(none)?;
        if target == path {
            return Ok(());
        }
        let recorded = self.owners.get(&target).cloned();
        match kind_of(&there) {
            SFlag::S_IFDIR => return Err(wrong("a hard link to a directory")),
            SFlag::S_IFCHR if recorded.is_none() => return Err(none()),
            _ => {}
        }
        // What it replaces may hold its target.
        if lies_in(&target, &path) {
            return Err(none());
        }
        self.make_way(&path, directory, name, false)?;
        linkat(&from, last.as_c_str(), directory, name.as_c_str(), LinkatFlags::empty())?;
        if let Some(owner) = recorded {
            self.owners.insert(path.clone(), Owner { path, ..owner });
        }
        Ok(())
    }

    /// Hides what lower layers have. What this layer has itself stays.
    fn whiteout(&mut self, parent: &[u8], directory: &OwnedFd, hidden: &[u8]) -> Result<()> {
        if hidden == b".wh..opq" {
            let here = open_directory(directory, b"")?;
            return Ok(sys::xattr::set(here.as_fd(), OPAQUE, b"y")?);
        }
        if hidden.starts_with(b".wh.") {
            // AUFS kept its own records under such names; they hide nothing.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(wrong("a whiteout of no name"));
        }
        let name = c_string(hidden)?;
        match status(directory, &name)?.map(|there| kind_of(&there)) {
            None => hide(directory, &name),
            Some(SFlag::S_IFDIR) => {
                self.directories.entry(join(parent, hidden)).or_insert(Final { mode: IMPLIED, mtime: None });
                let below = open_directory(directory, hidden)?;
                Ok(sys::xattr::set(below.as_fd(), OPAQUE, b"y")?)
            }
            Some(_) => Ok(()),
        }
    }

    fn set_directory(&mut self, path: Vec<u8>, member: &Member, made: &OwnedFd) -> Result<()> {
        let dropped = set_attributes(made, member)?;
        self.directories.insert(path.clone(), Final { mode: member.mode, mtime: Some(member.mtime) });
        self.owners.remove(&path);
        self.remember(path, member, &dropped);
        Ok(())
    }

    /// Notes what a file of one user can't say.
    fn remember(&mut self, path: Vec<u8>, member: &Member, dropped: &[Vec<u8>]) {
        let kept = |name: &[u8]| {
            let settable = matches!(member.kind, Kind::File | Kind::Directory) && is_settable(name);
            settable && !dropped.iter().any(|other| other == name)
        };
        let xattrs = member.xattrs.iter().filter(|(name, _)| !kept(name));
        let owner = Owner {
            path: path.clone(),
            uid: member.uid,
            gid: member.gid,
            mode: member.mode,
            device: match member.kind {
                Kind::Device(letter, major, minor) => Some((letter, major, minor)),
                _ => None,
            },
            xattrs: xattrs
                .map(|(name, value)| Attribute { name: name.clone(), value: value.clone() })
                .collect(),
        };
        if owner.differs() {
            self.owners.insert(path, owner);
        }
    }
}

/// Sets the attributes that may be set; the names of those that the filesystem did not take.
fn set_attributes(file: impl AsFd, member: &Member) -> Result<Vec<Vec<u8>>> {
    let mut dropped = Vec::new();
    for (name, value) in member.xattrs.iter().filter(|(name, _)| is_settable(name)) {
        match sys::xattr::set(file.as_fd(), &c_string(name)?, value) {
            Ok(()) => {}
            Err(Errno::EOPNOTSUPP | Errno::E2BIG | Errno::ERANGE) => dropped.push(name.clone()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(dropped)
}

fn is_settable(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !INTERPRETED.iter().any(|prefix| name.starts_with(prefix))
}

/// A whiteout: a device node of the number 0:0, which everybody may make (Linux 5.8).
fn hide(directory: &OwnedFd, name: &CString) -> Result<()> {
    Ok(mknodat(directory, name.as_c_str(), SFlag::S_IFCHR, Mode::empty(), 0)?)
}

/// Opens a directory of the tree to make entries in it: never through a link.
pub(super) fn open_directory(top: &OwnedFd, path: &[u8]) -> nix::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(resolve);
    openat2(top, OsStr::from_bytes(path), how)
}

fn status(directory: &OwnedFd, name: &CString) -> Result<Option<FileStat>> {
    match fstatat(directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(status)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn kind_of(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}

fn time((seconds, nanoseconds): (i64, i64)) -> TimeSpec {
    TimeSpec::new(seconds, nanoseconds)
}

fn set_time_of_link(directory: &OwnedFd, name: &CString, mtime: (i64, i64)) -> Result<()> {
    let time = time(mtime);
    Ok(utimensat(directory, name.as_c_str(), &time, &time, UtimensatFlags::NoFollowSymlink)?)
}
