//! Finds and opens layers that are kept.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat, fstatat};

use super::error::ChangesError;
use super::walk::{Trees, walk};
use super::{Change, marks};
use crate::host::Host;
use crate::layers::{JOURNAL, Kind, OF_FUSE, Record};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Where the kernel's overlay keeps its own, with a mode that nobody else gives it.
const KERNELS_WORK: &str = "work/work";

/// A layer, and the directory that it lies over.
#[derive(Debug)]
pub struct Layer {
    /// Its name.
    pub name: OsString,
    /// Where it is.
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    /// Where its upper and its work dir are.
    tree: OwnedFd,
    pub(super) upper: OwnedFd,
    /// What is written down of it; nothing for one that has only a name.
    pub record: Option<Record>,
    /// The directory that it lies over, if it lies over one.
    pub(super) lower: Option<OwnedFd>,
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
pub fn find(place: &Path, name: &OsStr) -> Result<Layer, ChangesError> {
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
    Ok(Layer { name: name.to_owned(), path, dir, tree, upper, record, lower })
}

/// Opens the directory that a layer lies over, if it still is the same.
fn lower(record: &Record) -> Result<OwnedFd, ChangesError> {
    let path = || record.directory.clone();
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(DIRECTORY).resolve(resolve);
    let opened = openat2(nix::fcntl::AT_FDCWD, &record.directory, how);
    let opened = opened.map_err(|errno| ChangesError::Directory { path: path(), errno: Some(errno) })?;
    let status =
        fstat(&opened).map_err(|errno| ChangesError::Directory { path: path(), errno: Some(errno) })?;
    if (status.st_dev, status.st_ino) != (record.device, record.inode) {
        return Err(ChangesError::Directory { path: path(), errno: None });
    }
    Ok(opened)
}

/// Opens the newest layer of a directory or of one above it.
///
/// # Errors
/// As [`find`], and [`ChangesError::NoneHere`].
pub fn newest(place: &Path, cwd: Option<&Path>) -> Result<Layer, ChangesError> {
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
    find(place, &best.ok_or_else(none)?.1)
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
        let marker = marks::Marker::new(directory.filter(|_| lower.is_some()));
        changes.iter_mut().for_each(|change| change.marks = marker.marks(change));
        Ok(changes)
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
