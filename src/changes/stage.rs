//! The stage: a directory in the layer's directory where everything new is made ready, so that the disk has it before anything
//! is changed, and where what is replaced as a whole goes until the end.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Whence, fchown, fsync, linkat, lseek, symlinkat, syncfs};

use super::node::{Attributes, Directory, Kind, open_below};
use crate::removal;
use crate::sys::xattr;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// The stage, open.
pub(super) struct Stage {
    parent: OwnedFd,
    name: CString,
    pub(super) dir: Directory,
    /// Files are few: each is written to the disk by itself, without what others have written.
    few: bool,
    /// Files get the owners that they have in the layer.
    owners: bool,
    /// Files of the layer with several names, and the number of the first.
    linked: HashMap<u64, u64>,
}

/// What a stage is called: nobody can know it before.
pub(super) fn new_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!(".sbx-apply-{:x}-{:x}", std::process::id(), now.as_nanos())
}

/// The times of a status.
pub(super) fn times(status: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(status.st_atime, status.st_atime_nsec),
        TimeSpec::new(status.st_mtime, status.st_mtime_nsec),
    )
}

/// The name of what has a number.
pub(super) fn numbered(number: u64) -> String {
    number.to_string()
}

fn split(path: &Path) -> nix::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

fn parent(root: &OwnedFd, path: &Path) -> nix::Result<(OwnedFd, CString)> {
    let (above, name) = split(path)?;
    let parent = open_below(root, above, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    Ok((parent, CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?))
}

impl Stage {
    /// Makes it, in a place where there is nothing of that name.
    pub(super) fn make(root: &OwnedFd, path: &Path, few: bool, owners: bool) -> nix::Result<Self> {
        let (parent, name) = parent(root, path)?;
        mkdirat(&parent, name.as_c_str(), Mode::S_IRWXU)?;
        Ok(Self { few, owners, ..Self::open_in(parent, name)? })
    }

    /// Has all that was made ready on the disk.
    pub(super) fn sync(&self) -> nix::Result<()> {
        if self.few { fsync(&self.dir.0) } else { syncfs(&self.dir.0) }
    }

    /// Opens one that there is. Nothing if it is gone.
    pub(super) fn open(root: &OwnedFd, path: &Path) -> nix::Result<Option<Self>> {
        let opened = parent(root, path).and_then(|(parent, name)| Self::open_in(parent, name));
        match opened {
            Err(Errno::ENOENT) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn open_in(parent: OwnedFd, name: CString) -> nix::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = Directory(openat(&parent, name.as_c_str(), flags, Mode::empty())?);
        Ok(Self { parent, name, dir, few: false, owners: false, linked: HashMap::new() })
    }

    /// Removes it with all that is in it.
    pub(super) fn remove(self) -> nix::Result<()> {
        removal::remove(&self.parent, &self.name)
    }

    /// Makes ready what the layer has at a path, under a number.
    pub(super) fn ready(&mut self, upper: &OwnedFd, path: &Path, number: u64) -> nix::Result<()> {
        let name = numbered(number);
        let (above, own) = split(path)?;
        let above = Directory::open(upper, above)?;
        let status = fstatat(&above.0, own, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = Kind::of(status.st_mode);
        if status.st_nlink > 1 {
            if let Some(first) = self.linked.get(&status.st_ino) {
                let first = numbered(*first);
                return linkat(&self.dir.0, first.as_str(), &self.dir.0, name.as_str(), AtFlags::empty());
            }
            self.linked.insert(status.st_ino, number);
        }
        match kind {
            Kind::File => return self.file(&above, own, &name),
            Kind::Link => symlinkat(readlinkat(&above.0, own)?.as_os_str(), &self.dir.0, name.as_str())?,
            Kind::Fifo => {
                let mode = Mode::from_bits_truncate(status.st_mode & 0o7777);
                mknodat(&self.dir.0, name.as_str(), SFlag::S_IFIFO, mode, 0)?;
                // The mask of the caller's took from it.
                let path = self.dir.path_of(OsStr::new(&name));
                let exact = std::os::unix::fs::PermissionsExt::from_mode(status.st_mode & 0o7777);
                std::fs::set_permissions(OsStr::from_bytes(path.to_bytes()), exact)
                    .map_err(|error| errno(&error))?;
            }
            Kind::Directory | Kind::Socket | Kind::Device => return Err(Errno::EAGAIN),
        }
        let (accessed, modified) = times(&status);
        utimensat(&self.dir.0, name.as_str(), &accessed, &modified, UtimensatFlags::NoFollowSymlink)
    }

    fn file(&self, above: &Directory, own: &OsStr, name: &str) -> nix::Result<()> {
        let from = above.file(own)?;
        let status = fstat(&from)?;
        let attributes = above.attributes(own, Kind::File)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = openat(&self.dir.0, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let (mut from, mut to) = (File::from(from), File::from(to));
        copy(&mut from, &mut to, status.st_size)?;
        dress(&to, &self.dir.path_of(OsStr::new(name)), (&status, &attributes), self.owners)?;
        let (accessed, modified) = times(&status);
        futimens(&to, &accessed, &modified)?;
        if self.few { fsync(&to) } else { Ok(()) }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Gives a file or directory the mode and attributes of another, and the owner with `owners`, and takes those attributes of the
/// user's that it lacks.
pub(super) fn dress(
    fd: impl AsFd,
    path: &std::ffi::CStr,
    (status, wanted): (&FileStat, &Attributes),
    owners: bool,
) -> nix::Result<()> {
    if owners {
        fchown(&fd, Some(status.st_uid.into()), Some(status.st_gid.into()))?;
    }
    fchmod(&fd, Mode::from_bits_truncate(status.st_mode & 0o7777))?;
    for name in xattr::names_at(path)?.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = std::ffi::CStr::from_bytes_with_nul(name) else { continue };
        let of_user =
            name.to_bytes().starts_with(b"user.") || name.to_bytes().starts_with(b"system.posix_acl_");
        if of_user && !wanted.own.contains_key(name) {
            xattr::remove_at(path, name)?;
        }
    }
    wanted.own.iter().try_for_each(|(name, value)| xattr::set_at(path, name, value))
}

/// Copies what a file has, and leaves holes where it has them.
fn copy(from: &mut File, to: &mut File, size: i64) -> nix::Result<()> {
    let mut room = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK)).max(1)];
    let mut at = 0;
    while at < size {
        let (start, end) = match lseek(&*from, at, Whence::SeekData) {
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => break,
            // A filesystem that knows of no holes.
            Err(Errno::EINVAL) => (at, size),
            start => {
                let start = start?;
                (start, lseek(&*from, start, Whence::SeekHole)?)
            }
        };
        let place = |at: i64| SeekFrom::Start(u64::try_from(at).unwrap_or(0));
        from.seek(place(start)).and_then(|_| to.seek(place(start))).map_err(|error| errno(&error))?;
        let mut left = end - start;
        while left > 0 {
            let part = room.len().min(usize::try_from(left).unwrap_or(room.len()));
            let read = from.read(&mut room[..part]).map_err(|error| errno(&error))?;
            if read == 0 {
                break;
            }
            to.write_all(&room[..read]).map_err(|error| errno(&error))?;
            left -= i64::try_from(read).unwrap_or(left);
        }
        at = end;
    }
    to.set_len(u64::try_from(size).unwrap_or(0)).map_err(|error| errno(&error))
}

/// Where a stage is, below the layer's directory.
pub(super) fn place(directory: &Path) -> PathBuf {
    directory.join(new_name())
}

/// A number that tells whether a directory has the same names and mode at two times.
pub(super) fn names(root: &OwnedFd, path: &Path) -> nix::Result<u64> {
    let directory = Directory::open(root, path)?;
    let mut names = directory.names()?;
    names.sort_unstable();
    let mut hasher = DefaultHasher::new();
    (names, directory.itself()?.mode).hash(&mut hasher);
    Ok(hasher.finish())
}
