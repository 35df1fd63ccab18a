//! What an image says of how it is run: defaults, below what the profile and the command line say. None of it reaches further than
//! the words of a command line would: an image can't widen anything.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::entries;
use super::error::PlanError;
use super::mount::{Mount, MountOp};
use super::{Directory, Identity};
use crate::diag::quote;
use crate::host::{Host, Image};
use crate::profile::{Origin, Setting, UidMap};

/// The image, with who asked for it.
pub(super) struct Asked<'a> {
    pub(super) image: &'a Image,
    pub(super) origin: Origin,
}

impl<'a> Asked<'a> {
    /// The image that is the root, if one is.
    ///
    /// # Errors
    /// Its user is none that the sandbox has, or something in it can't be handed to a program.
    pub(super) fn of(
        host: &'a Host,
        origin: &Origin,
        identity: &Identity,
        map: UidMap,
    ) -> Result<Option<Self>, PlanError> {
        let Some(image) = &host.image else { return Ok(None) };
        let defaults = &image.defaults;
        let texts = [&defaults.entrypoint, &defaults.command, &defaults.environment];
        let conflict = |why: String, hint: &str| PlanError::Conflict {
            why,
            origin: origin.clone(),
            hint: hint.to_owned(),
        };
        if texts.into_iter().flatten().chain([&defaults.directory]).any(|text| text.contains('\0')) {
            let why = format!("cannot run the image {}: its configuration holds a NUL", quote(&image.name));
            return Err(conflict(why, "make the image anew"));
        }
        let (uid, gid) = image.user;
        // Root of the image is whoever its one user is.
        let is_root = (uid, gid) == (0, 0);
        if map == UidMap::Subordinate && !is_root {
            return Err(PlanError::NotBuilt {
                what: "an image's own user with privileges.uid = \"subordinate\"".to_owned(),
                origin: origin.clone(),
            });
        }
        if !is_root && (uid, gid) != (identity.uid, identity.gid) {
            let why = format!(
                "cannot run the image {} as its user {}: the sandbox has no uid but {} and no gid but {}, not {uid} and {gid}",
                quote(&image.name),
                quote(&defaults.user),
                identity.uid,
                identity.gid
            );
            return Err(conflict(why, "give the image another user, or none, when it is made"));
        }
        Ok(Some(Self { image, origin: origin.clone() }))
    }

    /// The words in front of the typed command, and those in its place where none is typed.
    pub(super) fn words(&self, typed: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
        let defaults = &self.image.defaults;
        let words = |words: &[String]| words.iter().map(OsString::from).collect();
        (
            words(&defaults.entrypoint),
            if typed.is_empty() { words(&defaults.command) } else { typed.to_vec() },
        )
    }

    /// Where it starts, if the image says.
    pub(super) fn directory(&self) -> Option<Setting<Directory>> {
        let text = &self.image.defaults.directory;
        let path = entries::normalize(&Path::new("/").join(text));
        (!text.is_empty()).then(|| Setting::new(Directory(path), self.origin.clone()))
    }

    /// That directory, made where the image has none.
    pub(super) fn mount(&self) -> Option<Mount> {
        let dest: PathBuf = self.directory()?.value.0;
        let made = Mount { dest, op: MountOp::Dir { mode: 0o755 }, origin: self.origin.clone() };
        (made.dest != Path::new("/")).then_some(made)
    }

    /// Its variables; what is none is left out.
    pub(super) fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs = self.image.defaults.environment.iter().filter_map(|text| text.split_once('='));
        pairs.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.into(), value.into()))
    }
}
