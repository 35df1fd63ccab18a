//! What a layer is of: `layer.json`, beside its upper and its work dir.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bytes::{Bytes, Read};

/// The name of the file.
const RECORD: &str = "layer.json";

/// The version of the file. Another one is not read.
const VERSION: u32 = 1;

/// Bytes of a file that is read at all.
const LONGEST: u64 = 16 << 20;

/// What a layer has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The changes to a directory of the host's.
    Overlay,
    /// What was written to a root filesystem, kept by name.
    Named,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Named => "named",
        }
    }
}

/// What is written down of a layer when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Record {
    /// What it has in it.
    pub kind: Kind,
    /// The directory that it lies over, without links in its path.
    #[serde(serialize_with = "to_text", deserialize_with = "path")]
    pub directory: PathBuf,
    /// The device that the directory is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// When the layer was made, before anything could be written: nanoseconds since 1970, no later than what files that are
    /// changed afterwards have as their times.
    pub created: i128,
    /// The profile of the run that made it.
    pub profile: String,
    /// The command of that run.
    #[serde(serialize_with = "to_texts", deserialize_with = "words")]
    pub command: Vec<OsString>,
}

impl Record {
    /// Writes it into a layer that has none.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn write(&self, layer: &Path) -> io::Result<()> {
        #[derive(Serialize)]
        struct Page<'a> {
            version: u32,
            #[serde(flatten)]
            record: &'a Record,
        }
        let text = serde_json::to_string_pretty(&Page { version: VERSION, record: self })?;
        let mut file = File::create_new(layer.join(RECORD))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    }

    /// Reads a layer's.
    ///
    /// # Errors
    /// `NotFound` for a layer that has none; `InvalidData` for one of another version, or that is none.
    pub fn read(layer: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(layer.join(RECORD))?.take(LONGEST).read_to_end(&mut text)?;
        let mut page: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text)?;
        if page.remove("version") != Some(VERSION.into()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a version that is not known"));
        }
        Ok(serde_json::from_value(page.into())?)
    }
}

fn to_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(path.as_os_str()).serialize(serializer)
}

fn to_texts<S: Serializer>(words: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(words.iter().map(|word| Bytes(word)))
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::from(Read::deserialize(deserializer)?.0);
    if path.is_absolute() { Ok(path) } else { Err(de::Error::custom("not an absolute path")) }
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OsString>, D::Error> {
    Ok(Vec::<Read>::deserialize(deserializer)?.into_iter().map(|word| word.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    #[test]
    fn it_is_read_as_it_was_written() {
        let layer = std::env::temp_dir().join(format!("sbx-record-{}", std::process::id()));
        std::fs::create_dir(&layer).unwrap();
        let record = Record {
            kind: Kind::Overlay,
            directory: Path::new("/srv").join(OsStr::from_bytes(b"a\\x41\xff\n\"b")),
            device: u64::MAX,
            inode: 1,
            created: 1_700_000_000_123_456_789,
            profile: "build".to_owned(),
            command: vec!["sh".into(), OsString::from_vec(b"\xfe\\".to_vec())],
        };
        record.write(&layer).unwrap();
        assert_eq!(Record::read(&layer).unwrap(), record);
        assert!(record.write(&layer).is_err());
        for wrong in ["", "{}", "{\"version\":2}", "{\"version\":1}", "[1]"] {
            std::fs::write(layer.join(RECORD), wrong).unwrap();
            assert!(Record::read(&layer).is_err(), "{wrong}");
        }
        std::fs::remove_dir_all(&layer).unwrap();
    }
}
