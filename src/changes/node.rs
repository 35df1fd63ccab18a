//! One entry of a directory, on either side: what it is, and what overlays have marked it with.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use crate::sys::xattr;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device node.
    Device,
}

impl Kind {
    /// What stat(2) says.
    pub(super) fn of(mode: u32) -> Self {
        match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Link,
            SFlag::S_IFIFO => Self::Fifo,
            SFlag::S_IFSOCK => Self::Socket,
            _ => Self::Device,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::Device => "device",
        }
    }
}

/// What is known of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permissions, with set-id and sticky bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// What a link says.
    pub target: Option<OsString>,
    /// Its inode.
    pub(super) inode: u64,
    /// When it was last changed in any way: nanoseconds since 1970.
    pub(super) changed: i128,
    /// Names that it has.
    pub(super) names: u64,
    /// Bytes on the disk.
    pub(super) blocks: u64,
    /// Who it belongs to.
    pub(super) owner: u32,
    /// Its group.
    pub(super) group: u32,
    /// A device's number.
    pub(super) device: u64,
}

impl Node {
    fn of(status: &FileStat) -> Self {
        Self {
            kind: Kind::of(status.st_mode),
            mode: status.st_mode & 0o7777,
            size: u64::try_from(status.st_size).unwrap_or(0),
            target: None,
            inode: status.st_ino,
            changed: i128::from(status.st_ctime) * 1_000_000_000 + i128::from(status.st_ctime_nsec),
            names: status.st_nlink,
            blocks: u64::try_from(status.st_blocks).unwrap_or(0) * 512,
            owner: status.st_uid,
            group: status.st_gid,
            device: status.st_rdev,
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// What was found in an attribute list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Those that are the file's own: the user's, and access lists.
    pub(super) own: BTreeMap<CString, Vec<u8>>,
    /// An overlay's mark of a directory that hides what is below it (`y`), or that has whiteouts which are files (`x`).
    pub(super) opaque: Option<u8>,
    /// fuse-overlayfs's mark of a directory that hides what is below it.
    pub(super) fuse_opaque: bool,
    /// An overlay's mark of a file that is a whiteout.
    pub(super) whiteout: bool,
    /// It was copied up from below, perhaps from another name.
    pub(super) from_below: bool,
    /// It is only a part, or elsewhere: an overlay with other options than sbx's has made it.
    pub(super) elsewhere: bool,
    /// File capabilities.
    pub(super) capabilities: bool,
}

/// Prefixes of overlays' own attributes, as the kernel and fuse-overlayfs write them.
const OVERLAYS: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];
const FUSE: &[u8] = b"user.fuseoverlayfs.";

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory(pub(super) OwnedFd);

const PLAIN: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens what lies at a relative path below an open directory, and never what lies elsewhere: no link is followed, and no
/// other filesystem entered.
pub(super) fn open_below(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(resolve);
    // What was renamed meanwhile is EAGAIN (openat2(2)).
    for _ in 0..128 {
        match openat2(root.as_fd(), path, how) {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
    Err(Errno::EAGAIN)
}

impl Directory {
    /// Opens the directory at a relative path, which may be empty, below `root`.
    pub(super) fn open(root: impl AsFd, path: &Path) -> nix::Result<Self> {
        open_below(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map(Self)
    }

    /// The names in it, in no order.
    pub(super) fn names(&self) -> nix::Result<Vec<OsString>> {
        // Its own position, so that it can be read again.
        let again = openat(&self.0, ".", PLAIN | OFlag::O_DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(again)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// What is called so in it. Nothing where there is nothing.
    pub(super) fn node(&self, name: &OsStr) -> nix::Result<Option<Node>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            status => {
                let mut node = Node::of(&status?);
                if node.kind == Kind::Link {
                    node.target = Some(readlinkat(&self.0, name)?);
                }
                Ok(Some(node))
            }
        }
    }

    /// What it is itself.
    pub(super) fn itself(&self) -> nix::Result<Node> {
        nix::sys::stat::fstat(&self.0).map(|status| Node::of(&status))
    }

    /// Opens a regular file for reading.
    pub(super) fn file(&self, name: &OsStr) -> nix::Result<OwnedFd> {
        // Something else may have come to its place: neither to wait for a pipe's writer nor to take a terminal.
        let fd = openat(&self.0, name, PLAIN | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty())?;
        match Kind::of(nix::sys::stat::fstat(&fd)?.st_mode) {
            Kind::File => Ok(fd),
            _ => Err(Errno::EAGAIN),
        }
    }

    /// A path that leads to what is called so; the empty name to the directory itself.
    pub(super) fn path_of(&self, name: &OsStr) -> CString {
        let mut path = format!("/proc/self/fd/{}/", self.0.as_raw_fd()).into_bytes();
        path.extend_from_slice(if name.is_empty() { b"." } else { name.as_bytes() });
        // No name holds a NUL.
        CString::new(path).unwrap_or_default()
    }

    /// What its attributes, or those of something in it, say. A link itself, a device and the like can have none that matter.
    pub(super) fn attributes(&self, name: &OsStr, kind: Kind) -> nix::Result<Attributes> {
        let mut found = Attributes::default();
        if !matches!(kind, Kind::File | Kind::Directory) {
            return Ok(found);
        }
        let path = self.path_of(name);
        let list = xattr::names_at(&path)?;
        for name in list.split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            found.add(&path, name)?;
        }
        Ok(found)
    }
}

impl Attributes {
    fn add(&mut self, path: &CStr, name: &CStr) -> nix::Result<()> {
        let bytes = name.to_bytes();
        let of_overlay = OVERLAYS.iter().find_map(|prefix| bytes.strip_prefix(*prefix));
        match (of_overlay, bytes.strip_prefix(FUSE)) {
            (Some(b"opaque"), _) => {
                self.opaque = xattr::get_at(path, name)?.and_then(|value| value.first().copied());
            }
            (Some(b"whiteout"), _) => self.whiteout = true,
            (Some(b"origin"), _) | (_, Some(b"origin")) => self.from_below = true,
            (Some(b"redirect" | b"metacopy"), _) => self.elsewhere = true,
            (_, Some(b"opaque")) => self.fuse_opaque = true,
            (Some(_), _) | (_, Some(_)) => {}
            _ if bytes == b"security.capability" => self.capabilities = true,
            _ if bytes.starts_with(b"user.") || bytes.starts_with(b"system.posix_acl_") => {
                if let Some(value) = xattr::get_at(path, name)? {
                    self.own.insert(name.to_owned(), value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A path with one more name.
pub(super) fn join(path: &Path, name: &OsStr) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.as_os_str().len() + 1 + name.len());
    bytes.extend_from_slice(path.as_os_str().as_bytes());
    if !bytes.is_empty() {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(name.as_bytes());
    OsString::from_vec(bytes).into()
}
