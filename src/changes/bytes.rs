//! Paths and words in JSON, which may not be UTF-8.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

/// Text where it is UTF-8, else `{"hex": "…"}`, as everywhere in sbx's JSON.
pub(super) struct Bytes<'a>(pub(super) &'a OsStr);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let hex: String = self.0.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &hex)?;
                map.end()
            }
        }
    }
}

/// A path below a directory.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(path.as_os_str()).serialize(serializer)
}

/// The same read back: nothing that leads elsewhere.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let wrong = || de::Error::custom("not a path below a directory");
    let path = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => PathBuf::from(text),
        value => {
            let hex = value.get("hex").and_then(serde_json::Value::as_str).ok_or_else(wrong)?;
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
            OsString::from_vec(bytes.ok_or_else(wrong)?).into()
        }
    };
    let is_below = path.iter().all(|name| name != OsStr::new("..")) && !path.is_absolute();
    if is_below && !path.as_os_str().as_bytes().contains(&0) { Ok(path) } else { Err(wrong()) }
}
