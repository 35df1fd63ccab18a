//! Overlays, inside. Layers are named to the kernel as `/proc/self/fd/N`, so that no character in a layer's path can
//! be taken for a separator, and mount(2) takes them all in one string of at most 4,095 bytes on every kernel.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::mkdirat;

use super::items::Upper;
use super::mounts::is_as_asked;
use super::sources::Source;
use super::walk;
use crate::sys::mount::{self as sys_mount, MountAttr};

/// Layers of one overlay: what fits into mount(2)'s string.
const MAX_LAYERS: usize = 200;

/// A C string of at most 4,095 bytes, put together in place.
pub(super) struct Options {
    bytes: [u8; 4096],
    length: usize,
}

impl Options {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 4096], length: 0 }
    }

    fn text(&mut self, text: &[u8]) -> nix::Result<&mut Self> {
        let end = self.length + text.len();
        if end >= self.bytes.len() {
            return Err(Errno::E2BIG);
        }
        self.bytes[self.length..end].copy_from_slice(text);
        self.length = end;
        Ok(self)
    }

    /// The path of a descriptor of this process.
    fn descriptor(&mut self, fd: &OwnedFd) -> nix::Result<&mut Self> {
        self.text(b"/proc/self/fd/")?.number(fd)
    }

    /// The number of a descriptor.
    pub(super) fn number(&mut self, fd: &OwnedFd) -> nix::Result<&mut Self> {
        let mut digits = [0_u8; 10];
        let mut start = digits.len();
        let mut rest = fd.as_raw_fd();
        while rest > 0 || start == digits.len() {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.text(&digits[start..])
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// Where the writes to an overlay go.
pub(super) struct Writable {
    pub(super) upper: OwnedFd,
    pub(super) work: OwnedFd,
}

/// Opens or makes what is written to, if anything is. A tmpfs is mounted at the target, where the overlay then covers it.
pub(super) fn writable(upper: &Upper, target: &OwnedFd) -> nix::Result<Option<Writable>> {
    Ok(match upper {
        Upper::None => None,
        Upper::Directory { upper, work } | Upper::Kept { upper, work } => {
            Some(Writable { upper: walk::open_source(upper)?, work: walk::open_source(work)? })
        }
        Upper::Tmpfs { size, inodes } => Some(in_memory(size, inodes, target)?),
    })
}

/// An upper and a work dir on a tmpfs of their own, which is mounted at the target.
pub(super) fn in_memory(size: &CStr, inodes: &CStr, target: &OwnedFd) -> nix::Result<Writable> {
    upper_and_work(&attach_tmpfs(size, inodes, target)?)
}

/// Mounts an overlay over `target`: `first`, then the lower dirs; read-only without anything that is written to.
pub(super) fn mount(
    first: Option<&OwnedFd>,
    lower: &[Source],
    writable: Option<&Writable>,
    target: &OwnedFd,
) -> nix::Result<()> {
    let mut layers = [const { None }; MAX_LAYERS];
    let mut options = Options::new();
    options.text(b"userxattr,lowerdir=")?;
    if let Some(first) = first {
        options.descriptor(first)?;
    }
    for (index, source) in lower.iter().enumerate() {
        let slot: &mut Option<OwnedFd> = layers.get_mut(index).ok_or(Errno::E2BIG)?;
        let layer = slot.insert(walk::open_source(&source.path)?);
        let separator: &[u8] = if index == 0 && first.is_none() { b"" } else { b":" };
        options.text(separator)?.descriptor(layer)?;
    }
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    match writable {
        Some(Writable { upper, work }) => {
            options.text(b",upperdir=")?.descriptor(upper)?.text(b",workdir=")?.descriptor(work)?;
        }
        None => flags |= MsFlags::MS_RDONLY,
    }
    let mut path = Options::new();
    path.descriptor(target)?;
    nix::mount::mount(Some(c"overlay"), path.as_c_str(), Some(c"overlay"), flags, Some(options.as_c_str()))
}

/// Takes a mount away that this descriptor is the root of. It is gone when nothing of it is open any more.
pub(super) fn unmount(root: &OwnedFd) -> nix::Result<()> {
    let mut path = Options::new();
    path.descriptor(root)?;
    nix::mount::umount2(path.as_c_str(), nix::mount::MntFlags::MNT_DETACH)
}

/// A tmpfs for an upper and a work dir. It is attached at the target, where the overlay then covers it: before Linux 7.2 no
/// layer may lie on a detached mount.
fn attach_tmpfs(size: &CStr, inodes: &CStr, target: &OwnedFd) -> nix::Result<OwnedFd> {
    let mode = c"700";
    let parameters = [(c"size", Some(size)), (c"nr_inodes", Some(inodes)), (c"mode", Some(mode))];
    let tmpfs = sys_mount::new_filesystem(c"tmpfs", &parameters, MountAttr::NOSUID.and(MountAttr::NODEV))?;
    is_as_asked(&tmpfs, size, inodes, mode)?;
    sys_mount::attach(&tmpfs, target, c"")?;
    Ok(tmpfs)
}

/// An upper and a work dir on it.
fn upper_and_work(tmpfs: &OwnedFd) -> nix::Result<Writable> {
    for name in [c"upper", c"work"] {
        mkdirat(tmpfs, name, walk::mode(0o755))?;
    }
    let open = |name| walk::open_without_links(tmpfs.as_fd(), name, OFlag::O_DIRECTORY);
    Ok(Writable { upper: open(c"upper")?, work: open(c"work")? })
}
