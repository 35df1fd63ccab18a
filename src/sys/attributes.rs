//! Extended attributes (xattr(7)). nix has none.

use std::ffi::{CStr, c_char};

use nix::errno::Errno;

/// How often a list or a value may grow between two calls.
const TRIES: usize = 16;

/// The names of the attributes of what is called `path`, each with its NUL; a link as its last component is not followed. A
/// filesystem that holds none gives none.
///
/// # Errors
/// What llistxattr(2) says, but `ENOTSUP`.
pub fn list(path: &CStr) -> nix::Result<Vec<u8>> {
    // SAFETY: path is a live NUL-terminated string; the buffer is live, and writable for the length that is passed with it.
    filled(|buffer, length| unsafe { libc::llistxattr(path.as_ptr(), buffer.cast::<c_char>(), length) })
        .map(Option::unwrap_or_default)
}

/// The value of an attribute of what is called `path`; a link as its last component is not followed. Nothing where there is
/// none.
///
/// # Errors
/// What lgetxattr(2) says, but `ENODATA` and `ENOTSUP`.
pub fn get(path: &CStr, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    filled(|buffer, length| {
        // SAFETY: both names are live NUL-terminated strings; the buffer is live, and writable for the length that is passed.
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.cast(), length) }
    })
}

fn filled(call: impl Fn(*mut u8, usize) -> isize) -> nix::Result<Option<Vec<u8>>> {
    let mut buffer = Vec::new();
    // Most files have none, and then one call is all.
    for _ in 0..TRIES {
        let length = call(buffer.as_mut_ptr(), buffer.len());
        match Errno::result(length) {
            Err(Errno::ENODATA | Errno::ENOTSUP) => return Ok(None),
            Err(Errno::ERANGE) => buffer.clear(),
            Err(errno) => return Err(errno),
            Ok(length) if length as usize <= buffer.len() => {
                buffer.truncate(length as usize);
                return Ok(Some(buffer));
            }
            // Asked with no room, it says how much it takes.
            Ok(length) => buffer = vec![0; length as usize],
        }
    }
    Err(Errno::ERANGE)
}

/// Gives what is called `path` an attribute; a link as its last component is not followed.
///
/// # Errors
/// What lsetxattr(2) says.
pub fn set(path: &CStr, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: both names are live NUL-terminated strings, and the value is live for the length that is passed with it.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// Takes an attribute from what is called `path`; a link as its last component is not followed.
///
/// # Errors
/// What lremovexattr(2) says.
pub fn remove(path: &CStr, name: &CStr) -> nix::Result<()> {
    // SAFETY: both names are live NUL-terminated strings.
    Errno::result(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}
