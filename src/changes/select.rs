//! Which of the changes are meant.
#![forbid(unsafe_code)]

use std::path::{Component, Path, PathBuf};

use super::error::ChangesError;
use super::{Change, Layer};

/// A path as it was typed, below the layer's directory.
fn below(layer: &Layer, typed: &Path) -> Option<PathBuf> {
    let directory = layer.record.as_ref().map(|record| record.directory.as_path());
    let path = match directory {
        Some(directory) if typed.is_absolute() => typed.strip_prefix(directory).ok()?,
        _ => typed,
    };
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => return None,
        }
    }
    Some(out)
}

/// Those of the changes that are at or below one of the paths; all of them without any.
///
/// # Errors
/// [`ChangesError::NoChange`]: a path has none.
pub fn select(changes: Vec<Change>, layer: &Layer, typed: &[PathBuf]) -> Result<Vec<Change>, ChangesError> {
    if typed.is_empty() {
        return Ok(changes);
    }
    let mut wanted = Vec::new();
    for path in typed {
        let is_there = |below: &PathBuf| changes.iter().any(|change| change.path.starts_with(below));
        let found = below(layer, path).filter(is_there);
        wanted.push(found.ok_or_else(|| ChangesError::NoChange(path.clone()))?);
    }
    Ok(changes.into_iter().filter(|change| wanted.iter().any(|path| change.path.starts_with(path))).collect())
}

/// Whether one of the paths is exactly that of a change.
pub(super) fn is_named(change: &Change, layer: &Layer, typed: &[PathBuf]) -> bool {
    typed.iter().any(|path| below(layer, path).is_some_and(|path| path == change.path))
}
