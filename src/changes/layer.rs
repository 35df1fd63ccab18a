//! Finds and opens layers that are kept.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::geteuid;

use super::error::ChangesError;
use super::walk::{Trees, walk};
use super::{Change, marks};
use crate::host::Host;
use crate::layers::{JOURNAL, Kind, OF_FUSE, Record, Under};
use crate::sys::caps;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Where the kernel's overlay keeps its own, with a mode that nobody else gives it.
const KERNELS_WORK: &str = "work/work";

/// Whose the ids are that files have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Everybody's: 0 is root.
    Hosts,
    /// The caller's alone: 0 is the caller, and the subordinate ids follow. Files of theirs can be read, and with
    /// [`caps::CHANGE`], which is permitted, be changed.
    Callers,
}

impl Ids {
    /// Whether files are given the owners that the layer's have, as by root.
    pub(super) fn carries_owners(self) -> bool {
        self == Self::Hosts && geteuid().is_root()
    }

    /// Lets what lies in the layer be changed whoever it belongs to, as long as the answer lives.
    pub(super) fn open_layer(self) -> nix::Result<Option<Opened>> {
        if self == Self::Hosts {
            return Ok(None);
        }
        caps::set(caps::READ | caps::CHANGE, caps::READ | caps::CHANGE).map(|()| Some(Opened))
    }
}

/// The layer can be changed.
pub(super) struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        // Nothing can fail: it is less than before.
        let _ = caps::set(caps::READ | caps::CHANGE, caps::READ);
    }
}

/// A layer, and the directory that it lies over.
#[derive(Debug)]
pub struct Layer {
    /// Its name.
    pub name: OsString,
    /// Where it is.
    pub path: PathBuf,
    pub(super) dir: OwnedFd,
    /// Where its upper and its work dir are.
    tree: OwnedFd,
    pub(super) upper: OwnedFd,
    /// What is written down of it; nothing for one that has only a name.
    pub record: Option<Record>,
    /// The directory that it lies over, if it lies over one.
    pub(super) lower: Option<OwnedFd>,
    /// Whose ids these are.
    pub(super) ids: Ids,
}

/// Where a user's layers are kept.
///
/// # Errors
/// [`ChangesError::NoPlace`].
pub fn place(host: &Host) -> Result<PathBuf, ChangesError> {
    host.layers().ok_or(ChangesError::NoPlace)
}

/// Opens a layer by its name.
///
/// # Errors
/// [`ChangesError`]: there is none, or it or its directory can't be opened.
pub fn find(place: &Path, name: &OsStr, ids: Ids) -> Result<Layer, ChangesError> {
    // Names with a dot in front are sbx's own, for what is about to go.
    let is_name = !name.is_empty() && !name.as_bytes().contains(&b'/') && !name.as_bytes().starts_with(b".");
    let path = place.join(name);
    let none = || ChangesError::NoLayer(name.to_owned());
    if !is_name {
        return Err(none());
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |errno| ChangesError::Layer { path, errno }
    };
    let dir = match nix::fcntl::open(&path, DIRECTORY, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(none()),
        dir => dir.map_err(failed(&path))?,
    };
    let tree = match openat(&dir, OF_FUSE, DIRECTORY, Mode::empty()) {
        Err(Errno::ENOENT) => openat(&dir, ".", DIRECTORY, Mode::empty()),
        tree => tree,
    };
    let tree = tree.map_err(failed(&path))?;
    let upper = openat(&tree, "upper", DIRECTORY, Mode::empty()).map_err(failed(&path.join("upper")))?;
    let record = match Record::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(ChangesError::Record { path: path.join("layer.json"), why: error.to_string() });
        }
        Ok(record) => Some(record),
    };
    let lower = match &record {
        Some(record) if record.kind == Kind::Overlay => Some(lower(record)?),
        _ => None,
    };
    Ok(Layer { name: name.to_owned(), path, dir, tree, upper, record, lower, ids })
}

/// Opens the directory that a layer lies over, if it still is the same.
fn lower(record: &Record) -> Result<OwnedFd, ChangesError> {
    open_same(&record.directory, (record.device, record.inode))
}

/// Opens a directory, if it still is the same.
fn open_same(directory: &Path, id: (u64, u64)) -> Result<OwnedFd, ChangesError> {
    let path = || directory.to_owned();
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(DIRECTORY).resolve(resolve);
    let opened = openat2(nix::fcntl::AT_FDCWD, directory, how);
    let opened = opened.map_err(|errno| ChangesError::Directory { path: path(), errno: Some(errno) })?;
    let status =
        fstat(&opened).map_err(|errno| ChangesError::Directory { path: path(), errno: Some(errno) })?;
    if (status.st_dev, status.st_ino) != id {
        return Err(ChangesError::Directory { path: path(), errno: None });
    }
    Ok(opened)
}

/// The name of the newest layer of a directory or of one above it.
///
/// # Errors
/// [`ChangesError::NoneHere`].
pub fn newest(place: &Path, cwd: Option<&Path>) -> Result<OsString, ChangesError> {
    let none = || ChangesError::NoneHere(cwd.map(Path::to_owned));
    let cwd = cwd.ok_or_else(none)?;
    let mut best: Option<(i128, OsString)> = None;
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        // One that can't be read is none of this directory's.
        let Ok(record) = Record::read(&entry.path()) else { continue };
        let is_here = record.kind == Kind::Overlay && cwd.starts_with(&record.directory);
        let found = (record.created, name);
        if is_here && best.as_ref().is_none_or(|best| *best < found) {
            best = Some(found);
        }
    }
    best.map(|best| best.1).ok_or_else(none)
}

impl Layer {
    /// Everything in it that differs, with marks, in the bytewise order of paths.
    ///
    /// # Errors
    /// [`ChangesError::Read`] for what can't be looked at, [`ChangesError::Elsewhere`].
    pub fn changes(&self) -> Result<Vec<Change>, ChangesError> {
        let lower = self.lower.as_ref().map(AsFd::as_fd);
        let mut changes = walk(Trees { upper: self.upper.as_fd(), lower, by_name: self.is_by_name() })?;
        let directory = self.record.as_ref().map(|record| record.directory.as_path());
        let marker = marks::Marker::new(directory.filter(|_| self.is_of_directory()), self.ids);
        changes.iter_mut().for_each(|change| change.marks = marker.marks(change));
        Ok(changes)
    }

    /// What it lies over, if it is one with a name: nothing where that is not written down.
    ///
    /// # Errors
    /// [`ChangesError::Record`], and [`ChangesError::Directory`] where one of them is not there any more.
    pub fn under(&self) -> Result<Vec<PathBuf>, ChangesError> {
        let under = match Under::read(&self.path) {
            _ if self.lower.is_some() => return Ok(Vec::new()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            under => under.map_err(|error| ChangesError::Record {
                path: self.path.join("under.json"),
                why: error.to_string(),
            })?,
        };
        for one in &under {
            open_same(&one.path, (one.device, one.inode))?;
        }
        Ok(under.into_iter().map(|one| one.path).collect())
    }

    /// Opens one of these.
    ///
    /// # Errors
    /// [`ChangesError::Directory`].
    pub fn open(&self, under: &Path) -> Result<OwnedFd, ChangesError> {
        let failed = |errno| ChangesError::Directory { path: under.to_owned(), errno: Some(errno) };
        nix::fcntl::open(under, DIRECTORY, Mode::empty()).map_err(failed)
    }

    /// Whether it is compared with a directory.
    pub fn is_compared(&self) -> bool {
        self.lower.is_some()
    }

    /// The same layer, to be compared with this directory. Only one that is of a directory can be applied.
    pub fn over(self, lower: OwnedFd) -> Self {
        Self { lower: Some(lower), ..self }
    }

    /// Whether it is of a directory, and can be applied to it.
    pub(super) fn is_of_directory(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.kind == Kind::Overlay)
    }

    /// Whether its whiteouts may be files with names of their own: the kernel's are not, and a file called so is just that.
    pub(super) fn is_by_name(&self) -> bool {
        let work = fstatat(&self.tree, KERNELS_WORK, AtFlags::AT_SYMLINK_NOFOLLOW);
        !work.is_ok_and(|status| status.st_mode & 0o7777 == 0)
    }

    /// Takes the layer for oneself. Nothing if a sandbox has it.
    pub(super) fn lock(&self) -> nix::Result<Option<Flock<OwnedFd>>> {
        // A description of its own: the lock goes with it.
        let again = openat(&self.dir, ".", DIRECTORY, Mode::empty())?;
        match Flock::lock(again, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno),
        }
    }

    /// Whether a sandbox has it.
    pub fn is_in_use(&self) -> bool {
        matches!(self.lock(), Ok(None))
    }

    /// Whether an `sbx apply` of it was ended while it changed the directory.
    pub fn is_half_applied(&self) -> bool {
        fstatat(&self.dir, JOURNAL, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }
}
