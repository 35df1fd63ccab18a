//! What profiles there are: the list for `sbx profiles`, and the one that matches a command.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Listing;
use super::error::ProfileError;
use super::load::load;
use super::schema;
use super::search::{Found, SearchPath, is_name};
use crate::diag::{Diagnose as _, Location};

/// The profile whose own `match` has `command`, a real absolute path. A higher layer wins; a file that a
/// higher layer hides has no say.
///
/// # Errors
/// A profile that can't be read, or two of one layer that match.
pub fn find_match(command: &Path, search: &SearchPath, uid: u32) -> Result<Option<String>, ProfileError> {
    // Entries are strings, so nothing else can be one of them.
    let Some(command) = command.to_str() else { return Ok(None) };
    let mut hidden = HashSet::new();
    for layer in 0..search.layers() {
        let mut matched: Option<(String, Location)> = None;
        for name in search.names(layer)? {
            let Some(name) = name.into_string().ok().filter(|name| is_name(name)) else { continue };
            if hidden.contains(&name) {
                continue;
            }
            let Some(found) = search.read(&name, layer, uid)? else { continue };
            if !builds_on_itself(&found, &name) {
                hidden.insert(name.clone());
            }
            if !may_match(&found.source.text, command) {
                continue;
            }
            let Some(entry) =
                schema::parse_file(&found.source)?.r#match.0.into_iter().find(|path| path.value == command)
            else {
                continue;
            };
            let location = Location { source: Arc::clone(&found.source), range: entry.span };
            if let Some((_, first)) = matched {
                let command = PathBuf::from(command);
                return Err(ProfileError::MatchedTwice { command, first, second: location });
            }
            matched = Some((name, location));
        }
        if let Some((name, _)) = matched {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether a profile extends the one of its own name in a lower layer: what that one matches, it matches too.
fn builds_on_itself(found: &Found, name: &str) -> bool {
    let named = found.source.text.contains("extends") && found.source.text.contains(name);
    named
        && schema::parse_file(&found.source)
            .is_ok_and(|file| file.extends.0.iter().any(|entry| entry.value == name))
}

/// Whether it is worth parsing a text to see if it matches. With escapes, a key or a path can be spelled
/// in ways that a search for it misses.
fn may_match(text: &str, command: &str) -> bool {
    text.contains('\\') || text.contains("match") && text.contains(command)
}

/// Every profile, sorted by name; one that can't be used has the reason in place of its description.
pub fn list(search: &SearchPath, uid: u32) -> Vec<Listing> {
    let mut layers_of: BTreeMap<OsString, Vec<usize>> = BTreeMap::new();
    let mut listings = Vec::new();
    for layer in 0..search.layers() {
        match search.names(layer) {
            Ok(names) => names.into_iter().for_each(|name| layers_of.entry(name).or_default().push(layer)),
            Err(error) => listings.push(unreadable(search.directory(layer), &error)),
        }
    }
    listings.extend(layers_of.iter().map(|(name, layers)| listing(name, layers, search, uid)));
    listings.sort_by(|one, other| one.name.cmp(&other.name));
    listings
}

/// A directory that can't be listed: what it hides must not go unsaid.
fn unreadable(directory: Option<&Path>, error: &ProfileError) -> Listing {
    let directory = directory.map(crate::diag::escape).unwrap_or_default();
    Listing {
        name: directory.clone(),
        description: error.to_string(),
        source: directory,
        shadows: Vec::new(),
    }
}

fn listing(name: &OsStr, layers: &[usize], search: &SearchPath, uid: u32) -> Listing {
    let label = name.to_string_lossy().into_owned();
    let mut paths = layers.iter().map(|layer| search.path(&label, *layer));
    let source = match paths.next().flatten() {
        Some(path) => path.to_string_lossy().into_owned(),
        None => "built-in".to_owned(),
    };
    let shadows = paths.flatten().collect();
    let description = match load(&[name.to_owned()], &[], search, uid) {
        Ok(profile) => profile.description.map(|description| description.value).unwrap_or_default(),
        Err(error) => match error.location() {
            Some(location) => format!("{}: {error}", crate::diag::escape(location.short())),
            None => error.to_string(),
        },
    };
    Listing { name: label, description, source, shadows }
}
