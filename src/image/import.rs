//! Imports an image: its layers that are not stored yet are unpacked beside the store's, and only when all are right does its
//! record appear.
#![forbid(unsafe_code)]

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::blobs::Blobs;
use super::digest::Digest;
use super::error::{ImageError, errno};
use super::found::{self, Packed};
use super::layer::{self, Bounds};
use super::store::{self, Layer, Making, Record, Store};
use super::{name, owners};

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The layer that is read, from 1 on.
    pub layer: usize,
    /// How many there are.
    pub layers: usize,
    /// Bytes of it that are read.
    pub read: u64,
    /// Bytes of it.
    pub size: u64,
}

/// What a layer's directory says of itself, beside its tree and its owners.
const SIZE: &str = "layer.json";

/// Imports the image at a path.
///
/// # Errors
/// [`ImageError`]: the store has the images that it had.
pub fn import(
    store: &Store,
    path: &Path,
    typed: Option<&str>,
    bounds: Bounds,
    progress: &mut dyn FnMut(Progress),
) -> Result<Record, ImageError> {
    let wanted = typed.map(name::full).transpose()?;
    let blobs = Blobs::open(path)?;
    let found = found::find(&blobs, wanted.as_deref())?;
    let name = match wanted {
        Some(name) => name,
        None => own_name(path, found.name.as_deref())?,
    };
    let config = serde_json::from_slice(&found.config)
        .map_err(|error| ImageError::source(path, crate::diag::escape(error.to_string())))?;
    let lock = store.lock()?;
    store.sweep(&lock);
    let making = store.making(&lock)?;
    drop(lock);
    let mut left = bounds;
    let (mut layers, mut new, mut held) = (Vec::new(), Vec::new(), Vec::new());
    let number = found.layers.len();
    for (index, packed) in found.layers.into_iter().enumerate() {
        let (diff_id, size) = (packed.diff_id.clone(), packed.blob.left());
        let passed = &mut |read| progress(Progress { layer: index + 1, layers: number, read, size });
        let layer = match stored(store, &diff_id, &mut held)? {
            Some(layer) => {
                layer::check(packed, passed)?;
                layer
            }
            None if new.contains(&diff_id) => layers
                .iter()
                .find(|layer: &&Layer| layer.diff_id == diff_id.to_string())
                .cloned()
                .ok_or_else(|| ImageError::source(path, "a layer has gone"))?,
            None => {
                let layer = unpack(&making, packed, left, passed)?;
                new.push(diff_id);
                layer
            }
        };
        left.size = left.size.saturating_sub(layer.size);
        left.entries = left.entries.saturating_sub(layer.entries);
        layers.push(layer);
    }
    let record = Record::new(name, &found.digest, layers, config);
    let lock = store.lock()?;
    for diff_id in &new {
        store.put(&lock, &making.path.join(diff_id.hex()), diff_id)?;
    }
    store.write(&lock, &record)?;
    Ok(record)
}

/// The name that an image has where it is; a layout says the tag alone, or nothing.
fn own_name(path: &Path, said: Option<&str>) -> Result<String, ImageError> {
    let file = name::of_file(path);
    match said {
        Some(said) if said.contains([':', '/']) => name::full(said),
        Some(tag) => name::full(&format!("{file}:{tag}")),
        None => name::full(&file),
    }
    .map_err(|error| ImageError::Source {
        path: path.to_owned(),
        why: error.to_string(),
        hint: Some("give it a name: sbx image import PATH NAME".to_owned()),
    })
}

/// What is known of a layer that is stored, which then stays.
fn stored(
    store: &Store,
    diff_id: &Digest,
    held: &mut Vec<store::Held>,
) -> Result<Option<Layer>, ImageError> {
    let place = store.place(&diff_id.to_string())?;
    let bytes = match std::fs::read(place.join(SIZE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|error| ImageError::store(&place, errno(&error)))?,
    };
    let layer: Layer = serde_json::from_slice(&bytes).map_err(|error| ImageError::Store {
        path: place,
        why: format!("it is not a layer: {}", crate::diag::escape(error.to_string())),
    })?;
    held.push(store.hold(std::slice::from_ref(&layer))?);
    Ok(Some(layer))
}

fn unpack(
    making: &Making,
    packed: Packed,
    left: Bounds,
    passed: &mut dyn FnMut(u64),
) -> Result<Layer, ImageError> {
    let place = making.path.join(packed.diff_id.hex());
    let wrong = |error: &io::Error| ImageError::store(&place, errno(error));
    let tree = place.join("tree");
    for directory in [&place, &tree] {
        DirBuilder::new().mode(0o700).create(directory).map_err(|error| wrong(&error))?;
    }
    let diff_id = packed.diff_id.to_string();
    let top = store::open(&tree).map_err(|errno| ImageError::store(&tree, errno))?;
    let unpacked = layer::unpack(packed, top, left, passed)?;
    owners::write(&place, &unpacked.owners).map_err(|error| wrong(&error))?;
    let layer = Layer { diff_id, size: unpacked.size, entries: unpacked.entries };
    let bytes = serde_json::to_vec(&layer).map_err(|error| wrong(&error.into()))?;
    std::fs::write(place.join(SIZE), bytes).map_err(|error| wrong(&error))?;
    Ok(layer)
}
