//! Paths of members: bytes, below their layer's top.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::io;

use nix::errno::Errno;

use super::member::wrong;

/// A path below the layer's top: an absolute one starts there too, and nothing leads up.
pub(super) fn normal(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(wrong("its path has a `..`")),
            name if name.contains(&0) => return Err(wrong("its path holds a NUL")),
            name => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(name);
            }
        }
    }
    if out.len() >= libc::PATH_MAX as usize { Err(Errno::ENAMETOOLONG.into()) } else { Ok(out) }
}

pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

pub(super) fn lies_in(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
}

pub(super) fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| wrong("a name holds a NUL"))
}
