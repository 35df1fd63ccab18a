//! Where profiles are looked for: ordered layers of directories, the compiled-in profiles lowest.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builtin::BUILTIN;
use super::error::ProfileError;
use super::file;
use crate::diag::{Source, escape};

/// The vendor's directory, fixed at build time.
const VENDOR: &str = match option_env!("SBX_VENDOR_PROFILES") {
    Some(directory) => directory,
    None => "/usr/share/sbx/profiles",
};

/// Ordered layers of profiles; a name is looked for from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    directories: Vec<PathBuf>,
}

/// Which of the files that a name can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// The one that a layer of the search path has.
    Named {
        /// Its name.
        name: String,
        /// The layer, 0 the topmost.
        layer: usize,
    },
    /// One outside the search path.
    File(PathBuf),
}

impl Id {
    /// What messages call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Named { name, .. } => name.clone(),
            Self::File(path) => escape(path),
        }
    }
}

/// The text of a profile.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Which one it is.
    pub(crate) id: Id,
    /// Its text and its place.
    pub(crate) source: Arc<Source>,
}

/// Whether a profile can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 100
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || b"._-".contains(&byte))
}

impl SearchPath {
    /// The search path of a user whose `$XDG_CONFIG_HOME`, or what stands for it, is `config_home`.
    pub fn new(config_home: Option<&Path>) -> Self {
        let user = config_home.map(|home| home.join("sbx/profiles"));
        Self::from_directories(user.into_iter().chain(["/etc/sbx/profiles".into(), VENDOR.into()]).collect())
    }

    /// These directories, the topmost first, and the compiled-in profiles below them.
    pub fn from_directories(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// How many layers there are.
    pub(crate) fn layers(&self) -> usize {
        self.directories.len() + 1
    }

    /// The file that `layer` has for `name`, if it has one; nothing for the compiled-in layer.
    pub(crate) fn path(&self, name: &str, layer: usize) -> Option<PathBuf> {
        self.directories.get(layer).map(|directory| directory.join(format!("{name}.toml")))
    }

    /// The profile `name` of one layer.
    pub(crate) fn read(&self, name: &str, layer: usize, uid: u32) -> Result<Option<Found>, ProfileError> {
        let source = match self.path(name, layer) {
            Some(path) => file::read(&path, uid)?.map(|text| Source { name: escape(&path), text }),
            None => BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| Source {
                name: format!("built-in profile {name}"),
                text: (*text).to_owned(),
            }),
        };
        let id = Id::Named { name: name.to_owned(), layer };
        Ok(source.map(|source| Found { id, source: Arc::new(source) }))
    }

    /// The profile `name` in the topmost layer that has it, `from` or lower.
    pub(crate) fn find(&self, name: &str, from: usize, uid: u32) -> Result<Option<Found>, ProfileError> {
        for layer in from..self.layers() {
            if let Some(found) = self.read(name, layer, uid)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The profile in the file at `path`, which may be one of a layer.
    pub(crate) fn open(&self, path: &Path, uid: u32) -> Result<Found, ProfileError> {
        let text = file::read(path, uid)?
            .ok_or_else(|| ProfileError::Read { path: path.to_owned(), errno: nix::errno::Errno::ENOENT })?;
        let source = Source { name: escape(path), text };
        let id = match self.locate(path) {
            Some(id) => id,
            None => Id::File(path.canonicalize().map_err(|error| file::read_error(path, &error))?),
        };
        Ok(Found { id, source: Arc::new(source) })
    }

    fn locate(&self, path: &Path) -> Option<Id> {
        let name = path.file_name()?.to_str()?.strip_suffix(".toml").filter(|name| is_name(name))?;
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let parent = parent.canonicalize().ok()?;
        let same = |directory: &PathBuf| directory.canonicalize().is_ok_and(|real| real == parent);
        let layer = self.directories.iter().position(same)?;
        Some(Id::Named { name: name.to_owned(), layer })
    }

    /// What one layer has: the names of its `.toml` files without their ending, sorted. Not all of them
    /// need be names that a profile can have.
    pub(crate) fn names(&self, layer: usize) -> Result<Vec<OsString>, ProfileError> {
        let Some(directory) = self.directories.get(layer) else {
            return Ok(BUILTIN.iter().map(|(name, _)| name.into()).collect());
        };
        let error = |error: io::Error| file::read_error(directory, &error);
        let entries = match directory.read_dir() {
            Ok(entries) => entries,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(other) => return Err(error(other)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(error)?.file_name();
            if let Some(stem) = name.as_bytes().strip_suffix(b".toml") {
                names.push(std::ffi::OsStr::from_bytes(stem).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The directory of a layer, as a word for lists.
    pub(crate) fn directory(&self, layer: usize) -> Option<&Path> {
        self.directories.get(layer).map(PathBuf::as_path)
    }

    /// Every name that a profile has in any layer that can be read.
    pub fn every_name(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..self.layers())
            .filter_map(|layer| self.names(layer).ok())
            .flatten()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| is_name(name))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
