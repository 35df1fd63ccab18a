//! The entries of `[filesystem]` that are a string or a table.
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde::de::MapAccess;
use serde::de::value::MapAccessDeserializer;

use super::field::{Field, Raw, Spelling};
use super::spelling::{LayerName, Size, Template};
use crate::profile::value::{ByteSize, PathTemplate};
use crate::profile::{EntryKind, FilesystemEntry};

/// `read`.
#[derive(Debug)]
pub(crate) enum Read {}
/// `write`.
#[derive(Debug)]
pub(crate) enum Write {}
/// `hide`.
#[derive(Debug)]
pub(crate) enum Hide {}
/// `tmpfs`.
#[derive(Debug)]
pub(crate) enum Tmpfs {}
/// `overlay`.
#[derive(Debug)]
pub(crate) enum Overlay {}

/// The table that stands for an entry of `read` and `write`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BindTable {
    path: Field<Template>,
    dest: Option<Field<Template>>,
    optional: Option<Field<bool>>,
}

/// The table that stands for an entry of `tmpfs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TmpfsTable {
    path: Field<Template>,
    size: Option<Field<Size>>,
}

/// The table that stands for an entry of `overlay`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlayTable {
    path: Field<Template>,
    layer: Option<Field<LayerName>>,
    optional: Option<Field<bool>>,
}

fn plain(kind: EntryKind, path: PathTemplate) -> FilesystemEntry {
    FilesystemEntry { kind, path, dest: None, optional: false, size: None, layer: None }
}

fn string(kind: EntryKind, raw: Raw<'_>) -> Option<Result<FilesystemEntry, String>> {
    let Raw::Text(text) = raw else { return None };
    Some(PathTemplate::parse(text).map(|path| plain(kind, path)))
}

fn bind<'de, A: MapAccess<'de>>(kind: EntryKind, map: A) -> Result<FilesystemEntry, A::Error> {
    let table = BindTable::deserialize(MapAccessDeserializer::new(map))?;
    Ok(FilesystemEntry {
        dest: table.dest.map(|dest| dest.value),
        optional: table.optional.is_some_and(|optional| optional.value),
        ..plain(kind, table.path.value)
    })
}

impl Spelling for Read {
    type Value = FilesystemEntry;
    const WHAT: &'static str = "a path, or a table with a `path`";

    fn read(raw: Raw<'_>) -> Option<Result<FilesystemEntry, String>> {
        string(EntryKind::Read, raw)
    }
    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<FilesystemEntry, A::Error> {
        bind(EntryKind::Read, map)
    }
}

impl Spelling for Write {
    type Value = FilesystemEntry;
    const WHAT: &'static str = Read::WHAT;

    fn read(raw: Raw<'_>) -> Option<Result<FilesystemEntry, String>> {
        string(EntryKind::Write, raw)
    }
    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<FilesystemEntry, A::Error> {
        bind(EntryKind::Write, map)
    }
}

impl Spelling for Hide {
    type Value = FilesystemEntry;
    const WHAT: &'static str = "a path";

    fn read(raw: Raw<'_>) -> Option<Result<FilesystemEntry, String>> {
        string(EntryKind::Hide, raw)
    }
}

impl Spelling for Tmpfs {
    type Value = FilesystemEntry;
    const WHAT: &'static str = Read::WHAT;

    fn read(raw: Raw<'_>) -> Option<Result<FilesystemEntry, String>> {
        string(EntryKind::Tmpfs, raw)
    }
    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<FilesystemEntry, A::Error> {
        let table = TmpfsTable::deserialize(MapAccessDeserializer::new(map))?;
        let size: Option<ByteSize> = table.size.map(|size| size.value);
        Ok(FilesystemEntry { size, ..plain(EntryKind::Tmpfs, table.path.value) })
    }
}

impl Spelling for Overlay {
    type Value = FilesystemEntry;
    const WHAT: &'static str = Read::WHAT;

    fn read(raw: Raw<'_>) -> Option<Result<FilesystemEntry, String>> {
        string(EntryKind::Overlay, raw)
    }
    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<FilesystemEntry, A::Error> {
        let table = OverlayTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(FilesystemEntry {
            layer: table.layer.map(|layer| layer.value),
            optional: table.optional.is_some_and(|optional| optional.value),
            ..plain(EntryKind::Overlay, table.path.value)
        })
    }
}
