//! Imports an image: its layers that are not stored yet are unpacked beside the store's, and only when all are right does its
//! record appear.
#![forbid(unsafe_code)]

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::below::Below;
use super::blobs::Blobs;
use super::digest::Digest;
use super::error::{ImageError, errno};
use super::found::{self, Packed};
use super::layer::{self, Bounds};
use super::store::{self, Held, Layer, Making, Record, Store};
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
const RECORD: &str = "layer.json";

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
    let mut stack =
        Stack { store, making, below: Below::default(), layers: Vec::new(), new: 0, held: Vec::new() };
    let (mut left, number) = (bounds, found.layers.len());
    for (index, packed) in found.layers.into_iter().enumerate() {
        let size = packed.blob.left();
        let passed = &mut |read| progress(Progress { layer: index + 1, layers: number, read, size });
        let layer = stack.add(packed, bounds, left, passed)?;
        left.size = left.size.saturating_sub(layer.size);
        left.entries = left.entries.saturating_sub(layer.entries);
    }
    // A layer has its name only when the disk has the layer, and the image its record when it has those names.
    if stack.new > 0 {
        store.sync()?;
    }
    let lock = store.lock()?;
    for (layer, place) in &stack.layers {
        if place.starts_with(&stack.making.path) && place.exists() {
            store.put(&lock, place, &store.layer(layer)?)?;
        }
    }
    store.sync_names(&store.layers())?;
    let layers = stack.layers.iter().map(|(layer, _)| layer.clone()).collect();
    let record = Record::new(name, &found.digest, layers, config);
    store.write(&lock, &record)?;
    Ok(record)
}

/// The layers that an image has so far.
struct Stack<'a> {
    store: &'a Store,
    making: Making,
    below: Below,
    /// Each with where it is now.
    layers: Vec<(Layer, PathBuf)>,
    /// How many were unpacked.
    new: usize,
    /// Those that were there, which then stay.
    held: Vec<Held>,
}

impl Stack<'_> {
    /// Puts a layer on top, unpacked if it is not there yet.
    fn add(
        &mut self,
        packed: Packed,
        bounds: Bounds,
        left: Bounds,
        passed: &mut dyn FnMut(u64),
    ) -> Result<Layer, ImageError> {
        let (layer, place) = match self.stored(&packed.diff_id)? {
            Some(there) => {
                layer::fits(&there.0, bounds, left)?;
                layer::check(packed, passed)?;
                there
            }
            None => self.unpack(packed, bounds, left, passed)?,
        };
        self.below.push(place.clone(), &layer.directory);
        self.layers.push((layer.clone(), place));
        Ok(layer)
    }

    /// A layer that is there: in the store, where it then stays, or just unpacked.
    fn stored(&mut self, diff_id: &Digest) -> Result<Option<(Layer, PathBuf)>, ImageError> {
        for name in [diff_id, &self.below.name_above(diff_id)] {
            if let Some(new) = self.layers.iter().find(|(layer, _)| layer.directory == name.hex()) {
                return Ok(Some(new.clone()));
            }
            let place = self.store.place(name);
            let bytes = match std::fs::read(place.join(RECORD)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(|error| ImageError::store(&place, errno(&error)))?,
            };
            let bad = |error: serde_json::Error| ImageError::Store {
                path: place.clone(),
                why: format!("it is not a layer: {}", crate::diag::escape(error.to_string())),
            };
            let layer: Layer = serde_json::from_slice(&bytes).map_err(bad)?;
            self.held.push(Held::of([place.as_path()].into_iter())?);
            return Ok(Some((layer, place)));
        }
        Ok(None)
    }

    fn unpack(
        &mut self,
        packed: Packed,
        bounds: Bounds,
        left: Bounds,
        passed: &mut dyn FnMut(u64),
    ) -> Result<(Layer, PathBuf), ImageError> {
        let place = self.making.path.join(self.new.to_string());
        self.new += 1;
        let wrong = |error: &io::Error| ImageError::store(&place, errno(error));
        let tree = place.join("tree");
        for directory in [&place, &tree] {
            DirBuilder::new().mode(0o700).create(directory).map_err(|error| wrong(&error))?;
        }
        let diff_id = packed.diff_id.clone();
        let top = store::open(&tree).map_err(|errno| ImageError::store(&tree, errno))?;
        let unpacked = layer::unpack(packed, top, bounds, left, &mut self.below, passed)?;
        owners::write(&place, &unpacked.owners).map_err(|error| wrong(&error))?;
        let name = if unpacked.is_of_stack { self.below.name_above(&diff_id) } else { diff_id.clone() };
        let layer = Layer {
            diff_id: diff_id.to_string(),
            directory: name.hex().to_owned(),
            size: unpacked.size,
            entries: unpacked.entries,
        };
        let bytes = serde_json::to_vec(&layer).map_err(|error| wrong(&error.into()))?;
        std::fs::write(place.join(RECORD), bytes).map_err(|error| wrong(&error))?;
        Ok((layer, place))
    }
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
