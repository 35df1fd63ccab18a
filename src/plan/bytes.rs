//! How a plan's words, paths and settings stand in JSON.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeSeq, SerializeStruct, Serializer};

use crate::bytes::Bytes;
use crate::profile::{Setting, TimeOffsets};

pub(super) fn word<S: Serializer>(text: &OsString, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(text).serialize(serializer)
}

pub(super) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(path.as_os_str()).serialize(serializer)
}

pub(super) fn optional_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| Bytes(path.as_os_str())).serialize(serializer)
}

pub(super) fn words<S: Serializer>(words: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    sequence(words.iter().map(OsString::as_os_str), serializer)
}

pub(super) fn paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    sequence(paths.iter().map(|path| path.as_os_str()), serializer)
}

fn sequence<'a, S: Serializer>(
    items: impl ExactSizeIterator<Item = &'a OsStr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(items.len()))?;
    for item in items {
        sequence.serialize_element(&Bytes(item))?;
    }
    sequence.end()
}

pub(super) fn capabilities<S: Serializer>(
    kept: &[Setting<caps::Capability>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let name = |kept: &Setting<caps::Capability>| Setting::new(kept.value.to_string(), kept.origin.clone());
    serializer.collect_seq(kept.iter().map(name))
}

pub(super) fn display<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl<T: Serialize> Serialize for Setting<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Setting", 2)?;
        fields.serialize_field("value", &self.value)?;
        fields.serialize_field("set-by", &self.origin.to_string())?;
        fields.end()
    }
}

impl Serialize for TimeOffsets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("TimeOffsets", 2)?;
        fields.serialize_field("boottime-ns", &self.boottime)?;
        fields.serialize_field("monotonic-ns", &self.monotonic)?;
        fields.end()
    }
}
