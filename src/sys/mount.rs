//! The file-descriptor mount interface of Linux 5.2 and 5.12: `open_tree`, `move_mount`, `mount_setattr`,
//! `fsopen` and what belongs to them.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_uint};
use nix::errno::Errno;

use super::check;

/// Attributes of a mount, as `MOUNT_ATTR_*` bits (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr(pub u64);

impl MountAttr {
    /// Read-only.
    pub const RDONLY: Self = Self(0x1);
    /// Set-id bits and file capabilities are ignored.
    pub const NOSUID: Self = Self(0x2);
    /// Device nodes can't be opened.
    pub const NODEV: Self = Self(0x4);
    /// Programs can't be executed.
    pub const NOEXEC: Self = Self(0x8);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const OPEN_TREE_CLONE: c_uint = 1;
const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
const AT_RECURSIVE: c_uint = 0x8000;
const AT_SYMLINK_NOFOLLOW: c_uint = libc::AT_SYMLINK_NOFOLLOW as c_uint;
const AT_NO_AUTOMOUNT: c_uint = libc::AT_NO_AUTOMOUNT as c_uint;
const AT_EMPTY_PATH: c_uint = libc::AT_EMPTY_PATH as c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;

/// `struct mount_attr` of mount_setattr(2), size 32.
#[repr(C)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn owned(fd: c_long) -> Result<OwnedFd, Errno> {
    let fd = check(fd)?;
    // SAFETY: the kernel just returned this descriptor to us, so nobody else owns it; a descriptor fits c_int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Clones what is called `path` in `dir` (or `dir` itself for an empty path) into a detached tree, with every mount below it
/// when `recursive`. A link as its last component is cloned as a link; an automount point is not triggered.
///
/// # Errors
/// `EINVAL` for a tree of another mount namespace or, when not recursive, one with locked children.
pub fn clone_tree(dir: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let recursive = if recursive { AT_RECURSIVE } else { 0 };
    let last = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | last | recursive;
    // SAFETY: path is a live NUL-terminated string for the length of the call and dir a live descriptor.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), path.as_ptr(), flags) })
}

/// Attaches the detached `mount` at the single name `name` in `dir`, or over `dir` itself for an empty name.
/// A symlink at `name` is not followed.
///
/// # Errors
/// `ENOTDIR` when one of the two is a directory and the other isn't, `ENOENT` without a target.
pub fn attach(mount: impl AsFd, dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | if name.is_empty() { MOVE_MOUNT_T_EMPTY_PATH } else { 0 };
    let empty: *const c_char = c"".as_ptr();
    // SAFETY: both paths are live NUL-terminated strings and both descriptors are live.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            empty,
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            flags,
        )
    };
    check(result).map(drop)
}

/// Sets `attributes` on `mount` and makes it private; with `recursive` on every mount below it as well.
/// Only ever sets: clearing what the host set is forbidden in a user namespace.
///
/// # Errors
/// `EPERM` when an attribute is locked, `ENOSYS` before Linux 5.12.
pub fn restrict(mount: impl AsFd, attributes: MountAttr, recursive: bool) -> Result<(), Errno> {
    let attr =
        RawMountAttr { attr_set: attributes.0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: attr lives through the call and its size is passed; the path is a live empty string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<RawMountAttr>(),
        )
    };
    check(result).map(drop)
}

/// Makes a detached mount of a new instance of `filesystem`. A parameter without a value is a flag.
///
/// # Errors
/// `EPERM` for a proc when the caller's own is masked, `EINVAL` for a parameter that the kernel lacks.
pub fn new_filesystem(
    filesystem: &CStr,
    parameters: &[(&CStr, Option<&CStr>)],
    attributes: MountAttr,
) -> Result<OwnedFd, Errno> {
    // SAFETY: the name is a live NUL-terminated string.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, filesystem.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (key, value) in parameters {
        let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
        configure(&context, command, key.as_ptr(), value.map_or(ptr::null(), CStr::as_ptr))?;
    }
    configure(&context, FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())?;
    // SAFETY: context is a live fs context that was created just above.
    owned(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes.0 as c_uint)
    })
}

fn configure(
    context: &OwnedFd,
    command: c_uint,
    key: *const c_char,
    value: *const c_char,
) -> Result<(), Errno> {
    // SAFETY: key and value are each null where the command takes none, or point at live NUL-terminated strings
    // (both come from CStr references held by the only caller).
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
    check(result).map(drop)
}

/// Whether a tmpfs holds the user extended attributes by which an overlay marks things (Linux 6.6, tmpfs(5)): tried on a file in
/// memory, which is on one.
pub fn memory_holds_attributes() -> bool {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    memfd_create(c"sbx", MFdFlags::MFD_CLOEXEC).is_ok_and(|file| hold_attributes(file).is_ok())
}

/// Tries whether a file or directory that is open for more than its path can hold user extended attributes.
///
/// # Errors
/// What fsetxattr(2) says: `EOPNOTSUPP` where the filesystem has none.
pub fn hold_attributes(file: impl AsFd) -> Result<(), Errno> {
    let (fd, name) = (file.as_fd().as_raw_fd(), c"user.sbx");
    // SAFETY: the name is a live NUL-terminated string, and the value one live byte.
    check(unsafe { libc::fsetxattr(fd, name.as_ptr(), ptr::from_ref(&0_u8).cast(), 1, 0) })?;
    // SAFETY: the name is a live NUL-terminated string.
    check(unsafe { libc::fremovexattr(fd, name.as_ptr()) }).map(drop)
}

/// Whether a file or directory that is open for more than its path has extended attributes besides an overlay's own marks;
/// true where that can't be told.
pub fn has_attributes(file: impl AsFd) -> bool {
    let mut names = [0_u8; 4096];
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    let length =
        unsafe { libc::flistxattr(file.as_fd().as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let Some(names) = usize::try_from(length).ok().and_then(|length| names.get(..length)) else {
        return true;
    };
    let mut names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.any(|name| !name.starts_with(b"user.overlay.") && !name.starts_with(b"user.fuseoverlayfs."))
}

/// The number of the mount that `path` leads to.
///
/// # Errors
/// `ENOSYS` where the kernel does not number mounts, and what statx says.
pub fn mount_id(path: &CStr) -> Result<u64, Errno> {
    mount_id_at(libc::AT_FDCWD, path)
}

/// The number of the mount that `fd` lies in.
///
/// # Errors
/// As [`mount_id`].
pub fn mount_id_of(fd: impl AsFd) -> Result<u64, Errno> {
    mount_id_at(fd.as_fd().as_raw_fd(), c"")
}

/// statx(2) with `STATX_MNT_ID` (Linux 5.8): the number that mountinfo has.
fn mount_id_at(dir: c_int, path: &CStr) -> Result<u64, Errno> {
    const STATX_MNT_ID: c_uint = 0x1000;
    // SAFETY: all zeroes is a valid statx: numbers only.
    let mut status: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: path is a live NUL-terminated string and status is written by the kernel for its own size.
    let result =
        unsafe { libc::statx(dir, path.as_ptr(), libc::AT_EMPTY_PATH, STATX_MNT_ID, &raw mut status) };
    check(result)?;
    if status.stx_mask & STATX_MNT_ID == 0 { Err(Errno::ENOSYS) } else { Ok(status.stx_mnt_id) }
}
