//! Paths below a directory in a journal.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bytes::{Bytes, Read};

/// A path below a directory.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(path.as_os_str()).serialize(serializer)
}

/// The same read back: nothing that leads elsewhere.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::from(Read::deserialize(deserializer)?.0);
    let is_below = path.iter().all(|name| name != OsStr::new("..")) && !path.is_absolute();
    let fine = is_below && !path.as_os_str().as_bytes().contains(&0);
    if fine { Ok(path) } else { Err(de::Error::custom("not a path below a directory")) }
}
