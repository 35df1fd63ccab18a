//! What one user's files can't express of a layer's members: owners, set-id bits, device nodes, attributes. It stands in a file
//! beside the layer's tree, a record a line, for each member that is not root's own plain one.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A member that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Owner {
    /// Its path below the layer, without a slash at either end; empty for the layer's top.
    #[serde(with = "text")]
    pub path: Vec<u8>,
    /// Its owner in the image.
    pub uid: u64,
    /// Its group in the image.
    pub gid: u64,
    /// Its permissions, with set-id and sticky bits, which the tree's file lacks.
    pub mode: u32,
    /// For a device node `c` or `b`, and its numbers: the tree has a whiteout in its place, so that it covers what is below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(char, u32, u32)>,
    /// Attributes that the tree's file lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Attribute>,
}

/// An extended attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Attribute {
    /// Its name.
    #[serde(with = "text")]
    pub name: Vec<u8>,
    /// Its value.
    #[serde(with = "text")]
    pub value: Vec<u8>,
}

impl Owner {
    /// Whether a file of one user can't say it.
    pub(super) fn differs(&self) -> bool {
        let set_id = self.mode & 0o6000 != 0;
        self.uid != 0 || self.gid != 0 || set_id || self.device.is_some() || !self.xattrs.is_empty()
    }
}

/// Reads the owners file of a layer, whose directory in the store that is.
///
/// # Errors
/// The file can't be read; a record that is none is an error too.
pub fn owners(layer: &Path) -> io::Result<impl Iterator<Item = io::Result<Owner>>> {
    let lines = BufReader::new(File::open(layer.join(FILE))?).lines();
    Ok(lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
}

/// Its name.
pub(super) const FILE: &str = "owners";

/// Writes it.
pub(super) fn write(layer: &Path, owners: &BTreeMap<Vec<u8>, Owner>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create_new(layer.join(FILE))?);
    for owner in owners.values() {
        serde_json::to_writer(&mut out, owner)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map(drop).map_err(io::IntoInnerError::into_error)
}

/// Names and values in its records.
mod text {
    use std::ffi::OsStr;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::bytes::{Bytes, Read};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(OsStr::from_bytes(bytes)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Read::deserialize(deserializer).map(|read| read.0.into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let attribute = Attribute { name: b"security.capability".to_vec(), value: vec![0, 10, 37, 255] };
        let owner = Owner {
            path: b"a%/\xff\n\"b".to_vec(),
            uid: 7,
            gid: 8,
            mode: 0o4755,
            device: Some(('c', 1, 3)),
            xattrs: vec![attribute],
        };
        let line = serde_json::to_string(&owner).unwrap();
        assert!(line.is_ascii() && !line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Owner>(&line).unwrap(), owner);
        assert!(owner.differs() && !Owner::default().differs());
    }
}
