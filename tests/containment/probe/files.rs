//! Attacks on files: opening them, and giving them modes.

use super::{Attack, call};
use std::ffi::CString;

pub(super) const ATTACKS: &[Attack] = &[
    ("open-to-read", |words| open(words, libc::O_RDONLY | libc::O_NONBLOCK)),
    ("open-to-write", |words| open(words, libc::O_WRONLY | libc::O_NONBLOCK)),
    ("set-id", set_id),
    ("set-capabilities", set_capabilities),
    ("has-capabilities", has_capabilities),
];

/// `AT_FDCWD`.
const HERE: u64 = flags(libc::AT_FDCWD);
const NEW: i32 = libc::O_WRONLY | libc::O_CREAT;
const NAMELESS: i32 = libc::O_WRONLY | libc::O_TMPFILE;

/// An `int` as the kernel takes it.
const fn flags(flags: i32) -> u64 {
    u32::from_ne_bytes(flags.to_ne_bytes()) as u64
}

/// Each file in turn.
fn open(words: &[String], how: i32) -> i64 {
    let mut result = -1;
    for path in words {
        let Ok(path) = CString::new(path.as_str()) else { return -1 };
        result = call(libc::SYS_openat, [HERE, path.as_ptr().addr() as u64, flags(how), 0, 0, 0]);
    }
    result
}

/// A way, an octal mode, and the name of the file that gets it.
fn set_id(words: &[String]) -> i64 {
    let [way, mode, name] = words else { return -1 };
    let (Ok(mode), Ok(path)) = (u64::from_str_radix(mode, 8), CString::new(name.as_str())) else { return -1 };
    let name = path.as_ptr().addr() as u64;
    let regular = u64::from(libc::S_IFREG) | mode;
    match way.as_str() {
        #[cfg(target_arch = "x86_64")]
        "chmod" => plain(name, |_| call(libc::SYS_chmod, [name, mode, 0, 0, 0, 0])),
        "fchmod" => plain(name, |fd| call(libc::SYS_fchmod, [fd, mode, 0, 0, 0, 0])),
        "fchmodat" => plain(name, |_| call(libc::SYS_fchmodat, [HERE, name, mode, 0, 0, 0])),
        "fchmodat2" => plain(name, |_| call(FCHMODAT2, [HERE, name, mode, 0, 0, 0])),
        #[cfg(target_arch = "x86_64")]
        "mknod" => call(libc::SYS_mknod, [name, regular, 0, 0, 0, 0]),
        "mknodat" => call(libc::SYS_mknodat, [HERE, name, regular, 0, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        "open" => call(libc::SYS_open, [name, flags(NEW), mode, 0, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        "creat" => call(libc::SYS_creat, [name, mode, 0, 0, 0, 0]),
        "openat" => call(libc::SYS_openat, [HERE, name, flags(NEW), mode, 0, 0]),
        "openat-exclusive" => call(libc::SYS_openat, [HERE, name, flags(NEW | libc::O_EXCL), mode, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        "open-nameless" => named(call(libc::SYS_open, [here(), flags(NAMELESS), mode, 0, 0, 0]), name),
        "openat-nameless" => named(call(libc::SYS_openat, [HERE, here(), flags(NAMELESS), mode, 0, 0]), name),
        "openat2" => {
            let how: [u64; 3] = [flags(NEW), mode, 0];
            call(libc::SYS_openat2, [HERE, name, how.as_ptr().addr() as u64, size_of_val(&how) as u64, 0, 0])
        }
        _ => -1,
    }
}

/// The same number on every processor.
const FCHMODAT2: i64 = 452;

fn here() -> u64 {
    c".".as_ptr().addr() as u64
}

/// Makes a plain file and has its mode changed.
fn plain(name: u64, change: impl FnOnce(u64) -> i64) -> i64 {
    let fd = call(libc::SYS_openat, [HERE, name, flags(NEW), 0o644, 0, 0]);
    u64::try_from(fd).map_or(fd, change)
}

/// Gives a nameless file its name.
fn named(fd: i64, name: u64) -> i64 {
    let Ok(link) = CString::new(format!("/proc/self/fd/{fd}")) else { return -1 };
    let follow = flags(libc::AT_SYMLINK_FOLLOW);
    call(libc::SYS_linkat, [HERE, link.as_ptr().addr() as u64, HERE, name, follow, 0])
}

/// `struct vfs_cap_data`, version 2: permitted and effective `CAP_NET_RAW`.
const NET_RAW: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];

fn attribute() -> u64 {
    c"security.capability".as_ptr().addr() as u64
}

/// Makes a file and gives it a capability.
fn set_capabilities(words: &[String]) -> i64 {
    let [name] = words else { return -1 };
    let Ok(path) = CString::new(name.as_str()) else { return -1 };
    let name = path.as_ptr().addr() as u64;
    let value = NET_RAW.as_ptr().addr() as u64;
    plain(name, |_| call(libc::SYS_setxattr, [name, attribute(), value, size_of_val(&NET_RAW) as u64, 0, 0]))
}

/// Whether a file has capabilities of whatever kind: no failure if it has.
fn has_capabilities(words: &[String]) -> i64 {
    let [name] = words else { return -1 };
    let Ok(path) = CString::new(name.as_str()) else { return -1 };
    call(libc::SYS_getxattr, [path.as_ptr().addr() as u64, attribute(), 0, 0, 0, 0])
}
