//! Extended attributes (xattr(7)), of open files and of what a path calls without following a link. nix has none.

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

/// The names of the attributes of what is called `path`. A filesystem that holds none gives none.
///
/// # Errors
/// What llistxattr(2) says, but `ENOTSUP`.
pub fn names_at(path: &CStr) -> Result<Vec<u8>, Errno> {
    let names = read(|buffer| {
        // SAFETY: the path ends with a NUL, and the kernel writes no more than the buffer's length into it.
        unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    });
    if names == Err(Errno::ENOTSUP) { Ok(Vec::new()) } else { names }
}

/// The value of an attribute of what is called `path`. Nothing where there is none.
///
/// # Errors
/// What lgetxattr(2) says, but `ENODATA` and `ENOTSUP`.
pub fn get_at(path: &CStr, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let value = read(|buffer| {
        let (place, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: path and name end with a NUL, and the kernel writes no more than the buffer's length into it.
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), place, length) }
    });
    match value {
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        value => value.map(Some),
    }
}

/// Gives what is called `path` an attribute.
///
/// # Errors
/// What lsetxattr(2) says.
pub fn set_at(path: &CStr, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let (place, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: path and name end with a NUL and the value has as many bytes as are said; the kernel only reads them.
    check(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), place, length, 0) }).map(drop)
}

/// Takes an attribute from what is called `path`.
///
/// # Errors
/// What lremovexattr(2) says.
pub fn remove_at(path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: path and name end with a NUL; the kernel only reads them.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
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
