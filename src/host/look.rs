//! Looks at files that may be absent: for other reasons than that, what is not seen is an error and not taken for absent.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Entry, HostError};

/// Bytes up to which a configuration file is copied into the sandbox rather than mounted.
const SMALL_FILE: u64 = 256 << 10;

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The result, or nothing where the path does not exist or the user may not see it.
pub(super) fn unless_absent<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, HostError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) || error.raw_os_error() == Some(libc::EACCES) => Ok(None),
        Err(error) => Err(HostError::path(path, &error)),
    }
}

/// Those of the paths of which it is not certain that they are absent.
pub(super) fn not_absent(lists: &[&[&'static str]]) -> Vec<&'static str> {
    let there = |path: &&'static str| !fs::symlink_metadata(path).is_err_and(|error| is_absent(&error));
    lists.iter().copied().flatten().copied().filter(there).collect()
}

/// Those of the names below a directory that exist.
pub(super) fn entries(below: &str, names: &[&'static str]) -> Result<Vec<(&'static str, Entry)>, HostError> {
    let mut found = Vec::new();
    for name in names {
        let path = Path::new(below).join(name);
        let Some(metadata) = unless_absent(&path, fs::symlink_metadata(&path))? else { continue };
        let entry = if metadata.is_symlink() {
            let Some(target) = unless_absent(&path, fs::read_link(&path))? else { continue };
            Entry::Link(target)
        } else if metadata.is_file() && metadata.len() <= SMALL_FILE && metadata.mode() & 0o004 != 0 {
            Entry::SmallFile
        } else {
            Entry::Real
        };
        found.push((*name, entry));
    }
    Ok(found)
}

/// A configuration file, cut off at 1 MiB; empty where there is none.
pub(super) fn small_file(path: impl AsRef<Path>) -> Result<Vec<u8>, HostError> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    let Some(file) = unless_absent(path, fs::File::open(path))? else { return Ok(bytes) };
    file.take(1 << 20).read_to_end(&mut bytes).map_err(|error| HostError::path(path, &error))?;
    Ok(bytes)
}

/// The number that a file of the kernel's holds.
pub(super) fn number(path: &str) -> Result<Option<u64>, HostError> {
    let text = unless_absent(Path::new(path), fs::read_to_string(path))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}
