//! Path walks that never follow a link nobody asked about. The kernel resolves paths without links in one call; only a
//! path that has one is walked here, component by component, below a given root.
//!
//! Runs on both sides of `clone3`, so it allocates nothing.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc::PATH_MAX;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// Links that one path may hold (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A path of at most `PATH_MAX` bytes, relative to some root, without `.`, `..` and doubled slashes.
#[derive(Clone, Debug)]
pub(super) struct PathBuffer {
    bytes: [u8; PATH_MAX as usize],
    /// Bytes in use, without the NUL.
    length: usize,
}

impl PathBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: [0; PATH_MAX as usize], length: 0 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// As a C string; `.` when empty, so that it can be opened.
    pub(super) fn as_c_str(&self) -> &CStr {
        if self.length == 0 {
            return c".";
        }
        // The byte after the length is always a NUL and none comes before it.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    fn clear(&mut self) {
        self.truncate(0);
    }

    fn truncate(&mut self, length: usize) {
        self.length = length;
        self.bytes[length] = 0;
    }

    /// Adds a component; its start is where to [`Self::truncate`] to take it off again.
    pub(super) fn push(&mut self, component: &[u8]) -> Result<usize, Errno> {
        let before = self.length;
        let slash = usize::from(before > 0);
        let end = before + slash + component.len();
        if end >= self.bytes.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        if slash == 1 {
            self.bytes[before] = b'/';
        }
        self.bytes[before + slash..end].copy_from_slice(component);
        self.truncate(end);
        Ok(before)
    }

    /// The directory and the last component.
    pub(super) fn split(&self) -> (PathBuffer, PathBuffer) {
        let (mut directory, mut name) = (self.clone(), PathBuffer::new());
        directory.pop();
        let start = if directory.length == 0 { 0 } else { directory.length + 1 };
        name.bytes[..self.length - start].copy_from_slice(&self.bytes[start..self.length]);
        name.truncate(self.length - start);
        (directory, name)
    }

    fn pop(&mut self) {
        let cut = self.as_bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.truncate(cut);
    }
}

/// Opens `path` below `root` as `O_PATH` without following any link, the last component's included.
pub(super) fn open_without_links(root: impl AsFd, path: &CStr, extra: OFlag) -> Result<OwnedFd, Errno> {
    let resolve =
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    open(root, path, extra, resolve)
}

/// Opens a link-free absolute path of the host's as `O_PATH`.
pub(super) fn open_source(path: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    open(nix::fcntl::AT_FDCWD, path, OFlag::empty(), resolve)
}

/// Opens a link-free absolute directory of the host's as `O_PATH`.
pub(super) fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    open(nix::fcntl::AT_FDCWD, path, OFlag::O_DIRECTORY, resolve)
}

/// Opens a name in a directory for reading, without waiting for the writer of a FIFO.
pub(super) fn open_readable(directory: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(directory, name, flags, Mode::empty())
}

fn open(root: impl AsFd, path: &CStr, extra: OFlag, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    open_flags(root, path, OFlag::O_PATH | extra, resolve)
}

fn open_flags(root: impl AsFd, path: &CStr, flags: OFlag, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    // A last component that is a link is opened as such, but where a directory is wanted it is ELOOP like any other link.
    let no_follow = if flags.contains(OFlag::O_DIRECTORY) { OFlag::empty() } else { OFlag::O_NOFOLLOW };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | no_follow).resolve(resolve);
    // RESOLVE_IN_ROOT answers EAGAIN when something was renamed meanwhile (openat2(2)).
    for _ in 0..128 {
        match openat2(root.as_fd(), path, how) {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
    Err(Errno::EAGAIN)
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The kernel says no.
    Errno(Errno),
    /// The caller does not trust a link: [`canonicalize`] leaves its path in the buffer.
    Untrusted,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Stop::Errno(errno)
    }
}

/// Resolves the links of `path` below `root` into `out`; a link out of the root leads back into it. Components that do
/// not exist are kept as they are. `trust` is asked about each link, with an open directory that it lies in and the
/// path of that directory.
pub(super) fn canonicalize(
    root: BorrowedFd<'_>,
    path: &CStr,
    out: &mut PathBuffer,
    trust: &mut dyn FnMut(BorrowedFd<'_>, &PathBuffer) -> bool,
) -> Result<(), Stop> {
    // What is still to be walked, with room to put a link's text in front of it.
    let mut rest = PathBuffer::new();
    let text = path.to_bytes();
    rest.bytes.get_mut(..text.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(text);
    rest.length = text.len();
    let mut links = 0;
    let mut start = 0;
    out.clear();
    while start < rest.length {
        let end =
            rest.bytes[start..rest.length].iter().position(|b| *b == b'/').map_or(rest.length, |n| start + n);
        let component = start..end;
        start = (end + 1).min(rest.length);
        match &rest.bytes[component.clone()] {
            b"" | b"." => continue,
            b".." => {
                out.pop();
                continue;
            }
            name => {
                let before = out.push(name)?;
                let fd = match open_without_links(root, out.as_c_str(), OFlag::empty()) {
                    Ok(fd) => fd,
                    // Nothing below exists either, and `..` is resolved by the text, as the target will be.
                    Err(Errno::ENOENT) => continue,
                    Err(errno) => return Err(errno.into()),
                };
                if SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
                    continue;
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let mut parent = out.clone();
                parent.truncate(before);
                let directory = open_without_links(root, parent.as_c_str(), OFlag::O_DIRECTORY)?;
                if !trust(directory.as_fd(), &parent) {
                    return Err(Stop::Untrusted);
                }
                let absolute = splice_link(&fd, &mut rest, start)?;
                if absolute {
                    out.clear();
                } else {
                    out.truncate(before);
                }
                start = 0;
            }
        }
    }
    Ok(())
}

/// Replaces what was walked of `rest` by the text of `link`; whether that text is absolute.
fn splice_link(link: &OwnedFd, rest: &mut PathBuffer, walked: usize) -> Result<bool, Errno> {
    let mut text = [0_u8; PATH_MAX as usize];
    let length = read_link(link, &mut text)?;
    let tail = rest.length - walked;
    if length + 1 + tail >= rest.bytes.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    rest.bytes.copy_within(walked..rest.length, length + 1);
    rest.bytes[..length].copy_from_slice(&text[..length]);
    rest.bytes[length] = b'/';
    rest.truncate(length + 1 + tail);
    Ok(text.first() == Some(&b'/'))
}

/// readlinkat(2) on a link opened with `O_PATH`, without allocating.
fn read_link(link: &OwnedFd, text: &mut [u8; PATH_MAX as usize]) -> Result<usize, Errno> {
    let length = crate::sys::process::read_link(link, text)?;
    if length == 0 || length == text.len() { Err(Errno::ENAMETOOLONG) } else { Ok(length) }
}

/// What is called `name` in `directory`, links not followed.
pub(super) fn kind(directory: impl AsFd, name: &CStr) -> Result<SFlag, Errno> {
    Ok(kind_of(&status(directory, name)?))
}

pub(super) fn kind_of(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// The device and the number of a file.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(status: &FileStat) -> Identity {
    (status.st_dev, status.st_ino)
}

pub(super) fn status(directory: impl AsFd, name: &CStr) -> Result<FileStat, Errno> {
    nix::sys::stat::fstatat(directory.as_fd(), name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The permission bits of a mode.
pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}
