//! What a layer with a name lies over: `under.json`, beside its upper and its work dir. Each run on the layer writes it anew, as a
//! layer can be put over other directories.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bytes::{Bytes, Read};

/// The file, and what it is called while it is written.
const NAME: &str = "under.json";
const NEW: &str = "under.new";

/// The version of the file. Another one is not read.
const VERSION: u32 = 1;

/// Bytes of a file that is read at all.
const LONGEST: u64 = 16 << 20;

/// A directory below a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Under {
    /// Where it is, without links in its path.
    #[serde(serialize_with = "to_text", deserialize_with = "path")]
    pub path: PathBuf,
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    version: u32,
    under: Vec<Under>,
}

impl Under {
    /// What is at a path.
    ///
    /// # Errors
    /// As stat(2).
    pub fn at(path: &Path) -> io::Result<Self> {
        let there = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), device: there.dev(), inode: there.ino() })
    }

    /// Writes down what a layer lies over, topmost first; nothing, if it can't be said by paths.
    ///
    /// # Errors
    /// What the filesystem says.
    pub fn write(layer: &Path, under: &[Self]) -> io::Result<()> {
        if Self::read(layer).is_ok_and(|there| there == under) {
            return Ok(());
        }
        // What was below before is not to be taken for what is now.
        match fs::remove_file(layer.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ if under.is_empty() => return Ok(()),
            _ => {}
        }
        let text = serde_json::to_string_pretty(&Page { version: VERSION, under: under.to_vec() })?;
        let _ = fs::remove_file(layer.join(NEW));
        let mut file = File::create_new(layer.join(NEW))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        fs::rename(layer.join(NEW), layer.join(NAME))
    }

    /// What a layer lies over, topmost first.
    ///
    /// # Errors
    /// `NotFound` where nothing is written down; `InvalidData` for what is no such file.
    pub fn read(layer: &Path) -> io::Result<Vec<Self>> {
        let mut text = Vec::new();
        File::open(layer.join(NAME))?.take(LONGEST).read_to_end(&mut text)?;
        let page: Page = serde_json::from_slice(&text)?;
        match page.version {
            VERSION => Ok(page.under),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a version that is not known")),
        }
    }
}

fn to_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(path.as_os_str()).serialize(serializer)
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::from(Read::deserialize(deserializer)?.0);
    if path.is_absolute() { Ok(path) } else { Err(de::Error::custom("not an absolute path")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn it_is_read_as_it_was_written() {
        let layer = std::env::temp_dir().join(format!("sbx-under-{}", std::process::id()));
        fs::create_dir(&layer).unwrap();
        assert_eq!(Under::read(&layer).unwrap_err().kind(), io::ErrorKind::NotFound);
        let odd = Path::new("/srv").join(OsStr::from_bytes(b"a\xff\n\"b"));
        let under = [Under { path: odd, device: u64::MAX, inode: 1 }, Under::at(&layer).unwrap()];
        Under::write(&layer, &under).unwrap();
        assert_eq!(Under::read(&layer).unwrap(), under);
        Under::write(&layer, &under[..1]).unwrap();
        assert_eq!(Under::read(&layer).unwrap(), under[..1]);
        for wrong in [
            "",
            "{}",
            r#"{"version":2,"under":[]}"#,
            r#"{"version":1,"under":[{"path":"a","device":1,"inode":1}]}"#,
        ] {
            fs::write(layer.join(NAME), wrong).unwrap();
            assert!(Under::read(&layer).is_err(), "{wrong}");
        }
        Under::write(&layer, &[]).unwrap();
        assert_eq!(Under::read(&layer).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&layer).unwrap();
    }
}
