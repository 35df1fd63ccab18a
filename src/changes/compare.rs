//! Whether two files hold the same.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;

use nix::errno::Errno;

use super::node::Directory;

/// Bytes that are compared at a time.
const CHUNK: usize = 128 << 10;

/// Room for parts of two files.
pub(super) struct Contents {
    upper: Vec<u8>,
    lower: Vec<u8>,
}

impl Contents {
    pub(super) fn new() -> Self {
        Self { upper: vec![0; CHUNK], lower: vec![0; CHUNK] }
    }

    /// Whether the files that are called so in two directories, and had so many bytes, hold something else.
    pub(super) fn differ(
        &mut self,
        (upper, lower): (&Directory, &Directory),
        name: &OsStr,
        size: u64,
    ) -> nix::Result<bool> {
        let (mut upper, mut lower) = (File::from(upper.file(name)?), File::from(lower.file(name)?));
        let mut left = size;
        // That there is nothing more needs no look: what grows now is for the next time.
        while left > 0 {
            let part = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let new = fill(&mut upper, &mut self.upper[..part])?;
            let old = fill(&mut lower, &mut self.lower[..part])?;
            if self.upper.get(..new) != self.lower.get(..old) {
                return Ok(true);
            }
            if new < part {
                return Ok(false);
            }
            left -= part as u64;
        }
        Ok(false)
    }
}

/// Reads until the room is full or the file is at its end.
fn fill(file: &mut File, room: &mut [u8]) -> nix::Result<usize> {
    let mut length = 0;
    while let Some(rest) = room.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }
    Ok(length)
}
