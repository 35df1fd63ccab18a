//! Extended attributes of open files (xattr(7)).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use super::check;

/// Bytes that a value, and a list of names, may have (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MOST: usize = 65_536;

/// Sets an attribute.
///
/// # Errors
/// As fsetxattr(2) has them.
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name ends with a NUL and the value has as many bytes as are said; the kernel only reads both.
    check(unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }).map(drop)
}

/// The value of an attribute.
///
/// # Errors
/// As fgetxattr(2) has them; `ENODATA` where there is none of that name.
pub fn get(file: impl AsFd, name: &CStr) -> Result<Vec<u8>, Errno> {
    let fd = file.as_fd().as_raw_fd();
    read(|buffer| {
        // SAFETY: the name ends with a NUL, and the kernel writes no more than the buffer's length into it.
        unsafe { libc::fgetxattr(fd, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    })
}

/// The names of the attributes that the caller may see, each with a NUL at its end.
///
/// # Errors
/// As flistxattr(2) has them.
pub fn names(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let fd = file.as_fd().as_raw_fd();
    read(|buffer| {
        // SAFETY: the kernel writes no more than the buffer's length into it.
        unsafe { libc::flistxattr(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
    })
}

fn read(mut call: impl FnMut(&mut [u8]) -> isize) -> Result<Vec<u8>, Errno> {
    // Nearly all fit here.
    for size in [256, MOST] {
        let mut buffer = vec![0; size];
        match check(call(&mut buffer) as i64) {
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
            Ok(length) => {
                buffer.truncate(usize::try_from(length).unwrap_or(0));
                return Ok(buffer);
            }
        }
    }
    Err(Errno::ERANGE)
}
