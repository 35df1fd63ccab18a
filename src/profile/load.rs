//! Finds profiles, follows `extends` and merges the layers.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

pub use super::catalog::{find_match, list};
pub use super::error::{ProfileError, Warning};

use super::merge::Merge;
use super::schema::{self, Layer};
use super::search::{Found, Id, SearchPath, is_name};
use super::{Profile, set};
use crate::diag::{Location, Source};

/// The most profiles that one run is made of.
const MAX_PROFILES: usize = 64;

/// The profile that is used when none is named.
const DEFAULT: &str = "default";

/// Merges the profiles of these names, later ones on top, and then each `--set`. A name with a `/` is a path.
/// No name at all stands for `default`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn load(
    names: &[OsString],
    set: &[String],
    search: &SearchPath,
    uid: u32,
) -> Result<Profile, ProfileError> {
    load_with_warnings(names, set, search, uid).map(|(profile, _)| profile)
}

/// The same as [`load`], and what is odd about the layers.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn load_with_warnings(
    names: &[OsString],
    set: &[String],
    search: &SearchPath,
    uid: u32,
) -> Result<(Profile, Vec<Warning>), ProfileError> {
    let default = [OsString::from(DEFAULT)];
    let names = if names.is_empty() { &default[..] } else { names };
    let mut loader = Loader::new(search, uid);
    for name in names {
        let found = if name.as_bytes().contains(&b'/') {
            search.open(Path::new(name), uid)?
        } else {
            loader.named(name, None)?
        };
        loader.ask_for(found)?;
    }
    for typed in set {
        loader.set(typed)?;
    }
    Ok((loader.profile, loader.warnings))
}

/// The defaults with these settings, `KEY=VALUE` each, and no file at all.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn of_settings(set: &[String]) -> Result<Profile, ProfileError> {
    let search = SearchPath::from_directories(Vec::new());
    let mut loader = Loader::new(&search, 0);
    for typed in set {
        loader.set(typed)?;
    }
    Ok(loader.profile)
}

/// Merges the profile in `file` and what it extends.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn check(file: &Path, search: &SearchPath, uid: u32) -> Result<(Profile, Vec<Warning>), ProfileError> {
    let mut loader = Loader::new(search, uid);
    loader.ask_for(search.open(file, uid)?)?;
    Ok((loader.profile, loader.warnings))
}

struct Loader<'a> {
    search: &'a SearchPath,
    uid: u32,
    profile: Profile,
    warnings: Vec<Warning>,
    /// What has been merged.
    merged: Vec<Id>,
    /// What is being followed: each one extends the next.
    open: Vec<Id>,
}

impl<'a> Loader<'a> {
    fn new(search: &'a SearchPath, uid: u32) -> Self {
        let (profile, warnings, merged, open) = Default::default();
        Self { search, uid, profile, warnings, merged, open }
    }

    /// The topmost profile of this name.
    fn named(&self, name: &OsStr, location: Option<Location>) -> Result<Found, ProfileError> {
        let Some(name) = name.to_str().filter(|name| is_name(name)) else {
            return Err(ProfileError::InvalidName { name: name.to_owned(), location });
        };
        self.search.find(name, 0, self.uid)?.ok_or_else(|| {
            let known = self.search.every_name();
            let nearest = crate::diag::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
            ProfileError::NotFound { name: name.to_owned(), nearest, location }
        })
    }

    /// The profile that an `extends` entry of `by` means.
    fn extended(&self, entry: &str, by: &Id, location: &Location) -> Result<Found, ProfileError> {
        match by {
            Id::Named { name, layer } if name == entry => self
                .search
                .find(name, layer + 1, self.uid)?
                .ok_or_else(|| ProfileError::NoneBelow { name: name.clone(), location: location.clone() }),
            _ if entry.starts_with('/') => self.search.open(Path::new(entry), self.uid),
            _ if entry.contains('/') => Err(ProfileError::Value {
                message: format!("{} is neither a name nor an absolute path", crate::diag::quote(entry)),
                location: location.clone(),
            }),
            _ => self.named(OsStr::new(entry), Some(location.clone())),
        }
    }

    /// Merges a profile that the user named.
    fn ask_for(&mut self, found: Found) -> Result<(), ProfileError> {
        let name = match &found.id {
            Id::Named { name, .. } => name.clone(),
            Id::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        if !self.profile.name.is_empty() {
            self.profile.name.push('+');
        }
        self.profile.name.push_str(&name);
        self.add(found)
    }

    /// Merges a profile after what it extends, once.
    fn add(&mut self, found: Found) -> Result<(), ProfileError> {
        if self.merged.contains(&found.id) {
            return Ok(());
        }
        if self.merged.len() + self.open.len() >= MAX_PROFILES {
            return Err(ProfileError::TooMany { limit: MAX_PROFILES });
        }
        let layer = schema::parse_file(&found.source)?;
        self.open.push(found.id.clone());
        let mut below_itself = false;
        for entry in &layer.extends.0 {
            let location = Location { source: Arc::clone(&found.source), range: entry.span.clone() };
            let base = self.extended(&entry.value, &found.id, &location)?;
            if let Some(start) = self.open.iter().position(|id| *id == base.id) {
                let chain = self.open[start..].iter().chain([&base.id]).map(Id::label).collect();
                return Err(ProfileError::Cycle { chain, location });
            }
            below_itself |= base.id.label() == found.id.label();
            self.add(base)?;
        }
        self.open.pop();
        self.merged.push(found.id);
        // The topmost describes the whole; one that only adds to its namesake need not say it again.
        if !below_itself {
            self.profile.description = None;
        }
        let label = found.source.name.clone();
        self.merge(layer, &found.source, None, label)
    }

    /// Merges one `--set`.
    fn set(&mut self, typed: &str) -> Result<(), ProfileError> {
        let (layer, source) = set::parse(typed)?;
        let flag = format!("--set {typed}");
        self.merge(layer, &source, Some(flag.clone()), flag)
    }

    fn merge(
        &mut self,
        mut layer: Layer,
        source: &Arc<Source>,
        flag: Option<String>,
        label: String,
    ) -> Result<(), ProfileError> {
        let mut merge = Merge { source, flag, warnings: &mut self.warnings };
        if let Some(description) = layer.description.take() {
            self.profile.description = Some(merge.setting(description.value, description.span));
        }
        self.profile.layers.push(label);
        merge.apply(&mut self.profile, layer)
    }
}
