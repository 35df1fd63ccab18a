//! The store: `layers/DIFF_ID/tree` with the layer's owners beside, and `images/NAME.json` for each image. Whatever is there under
//! its name is whole; what is being made has a name that begins with a dot, and goes with the next import when its maker is gone.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{fsync, syncfs};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{ImageError, errno};
use super::{name, owned};
use crate::removal;

/// What the names of what is being made begin with.
const IMPORTING: &str = ".importing-";
/// The version of the records.
const VERSION: u32 = 1;

/// An image that is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// Its name, with the tag.
    pub name: String,
    /// The digest of the manifest that it was imported by, or of its configuration where there was none.
    pub digest: String,
    /// When it was imported, in seconds since 1970.
    pub imported: u64,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Its configuration, as the OCI image specification has it.
    pub config: serde_json::Value,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Layer {
    /// The digest of its archive.
    pub diff_id: String,
    /// Its directory's name in the store: the digest's digits, or, where it depends on the layers below, those of them all.
    pub directory: String,
    /// Bytes of its archive.
    pub size: u64,
    /// Members of it.
    pub entries: u64,
}

impl Record {
    pub(super) fn new(name: String, digest: &Digest, layers: Vec<Layer>, config: serde_json::Value) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let imported = now.map_or(0, |time| time.as_secs());
        Self { version: VERSION, name, digest: digest.to_string(), imported, layers, config }
    }

    /// Bytes of all its layers.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// How a directory is taken away with all that is in it.
pub type Remove<'a> = &'a dyn Fn(&OwnedFd, &CString) -> nix::Result<()>;

/// The store of a user.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

/// Nobody else changes the store while this lives.
pub(super) struct Locked(#[allow(dead_code, reason = "it is held")] Flock<OwnedFd>);

/// Layers that are not removed while this lives.
#[derive(Debug)]
pub struct Held(#[allow(dead_code, reason = "they are held")] Vec<Flock<OwnedFd>>);

impl Held {
    /// Holds these directories of layers.
    pub(super) fn of<'a>(places: impl Iterator<Item = &'a Path>) -> Result<Self, ImageError> {
        let held = places.map(|place| {
            let held = lock(place, FlockArg::LockSharedNonblock);
            held.map_err(|errno| ImageError::store(place, errno))
        });
        held.collect::<Result<_, _>>().map(Self)
    }
}

/// A directory of what is being made, gone with this unless it was put in its place.
#[derive(Debug)]
pub(super) struct Making {
    parent: OwnedFd,
    name: CString,
    pub(super) path: PathBuf,
    _lock: Flock<OwnedFd>,
}

impl Drop for Making {
    fn drop(&mut self) {
        // What can't be removed now is with the next import.
        let _ = removal::remove(&self.parent, &self.name);
    }
}

impl Store {
    /// The store below `$XDG_DATA_HOME`; nothing is made.
    ///
    /// # Errors
    /// [`ImageError::NoHome`].
    pub fn of(data_home: Option<&Path>) -> Result<Self, ImageError> {
        data_home.map(|home| Self { path: home.join("sbx/images") }).ok_or(ImageError::NoHome)
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.path.join("layers")
    }

    fn records(&self) -> PathBuf {
        self.path.join("images")
    }

    /// A layer's directory, with its tree and its owners.
    ///
    /// # Errors
    /// [`ImageError::Store`]: the record names none.
    pub fn layer(&self, layer: &Layer) -> Result<PathBuf, ImageError> {
        // Records are looked at before they are believed.
        let why = || format!("{} is no layer's directory", crate::diag::quote(&layer.directory));
        let bad = || ImageError::Store { path: self.records(), why: why() };
        Ok(self.place(&Digest::of_hex(&layer.directory).ok_or_else(bad)?))
    }

    /// Where the layer is whose directory is called that.
    pub(super) fn place(&self, directory: &Digest) -> PathBuf {
        self.layers().join(directory.hex())
    }

    fn wrong(path: &Path) -> impl Fn(Errno) -> ImageError + '_ {
        |errno| ImageError::store(path, errno)
    }

    /// Makes the store where there is none, and takes it.
    pub(super) fn lock(&self) -> Result<Locked, ImageError> {
        for directory in [&self.path, &self.layers(), &self.records()] {
            make(directory).map_err(Self::wrong(directory))?;
        }
        lock(&self.path, FlockArg::LockExclusive).map(Locked).map_err(Self::wrong(&self.path))
    }

    /// A new directory among the layers.
    pub(super) fn making(&self, _: &Locked) -> Result<Making, ImageError> {
        let layers = self.layers();
        let wrong = Self::wrong(&layers);
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let number = number.map_or(0, |time| time.as_nanos());
        let name = format!("{IMPORTING}{}-{number}", std::process::id());
        let path = layers.join(&name);
        let parent = open(&layers).map_err(&wrong)?;
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| wrong(errno(&error)))?;
        let lock = lock(&path, FlockArg::LockExclusiveNonblock).map_err(&wrong)?;
        Ok(Making { parent, name: CString::new(name).unwrap_or_default(), path, _lock: lock })
    }

    /// Removes what killed imports have left.
    pub(super) fn sweep(&self, _: &Locked) {
        self.sweep_by(&removal::remove);
    }

    fn sweep_by(&self, remove: Remove<'_>) {
        for directory in [self.layers(), self.records()] {
            let Ok(parent) = open(&directory) else { continue };
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if !name.as_bytes().starts_with(IMPORTING.as_bytes()) {
                    continue;
                }
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                // Records are made under the lock that is held here.
                if is_file {
                    let _ = fs::remove_file(entry.path());
                } else if lock(&entry.path(), FlockArg::LockExclusiveNonblock).is_ok() {
                    let _ = remove(&parent, &c_name(&name));
                }
            }
        }
    }

    /// Makes the trees of owners that the layers of an image still lack, in a process where every id of the caller's is mapped.
    ///
    /// # Errors
    /// [`ImageError::Store`]: an owner is not among those ids, or there is no room.
    pub fn own(&self, record: &Record) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        for layer in &record.layers {
            let place = self.layer(layer)?;
            let wrong = |error: &io::Error| ImageError::store(&place, errno(error));
            if owned::is_missing(&place).map_err(|error| wrong(&error))? {
                owned::make(&place).map_err(|error| wrong(&error))?;
            }
        }
        Ok(())
    }

    /// Whether a layer of an image lacks one.
    ///
    /// # Errors
    /// [`ImageError::Store`]: what is known of its owners can't be read.
    pub fn is_unowned(&self, record: &Record) -> Result<bool, ImageError> {
        for layer in &record.layers {
            let place = self.layer(layer)?;
            if owned::is_missing(&place).map_err(|error| ImageError::store(&place, errno(&error)))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Has the disk hold all that was written to the store: what gets its name after this is whole there, whatever happens.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        open(&self.path).and_then(syncfs).map_err(Self::wrong(&self.path))
    }

    /// The same for the names in one of its directories.
    pub(super) fn sync_names(&self, directory: &Path) -> Result<(), ImageError> {
        open(directory).and_then(fsync).map_err(Self::wrong(directory))
    }

    /// Puts a layer in its place; one that is there already stays.
    pub(super) fn put(&self, _: &Locked, making: &Path, place: &Path) -> Result<(), ImageError> {
        match fs::rename(making, place).map_err(|error| errno(&error)) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENOTEMPTY) => Ok(()),
            Err(errno) => Err(ImageError::store(place, errno)),
        }
    }

    /// Writes an image's record, in place of one of that name.
    pub(super) fn write(&self, _: &Locked, record: &Record) -> Result<(), ImageError> {
        let place = self.records().join(name::file(&record.name));
        let new = self.records().join(format!("{IMPORTING}{}", std::process::id()));
        let written = (|| -> io::Result<()> {
            let _ = fs::remove_file(&new);
            let mut file = File::create_new(&new)?;
            serde_json::to_writer_pretty(&mut file, record)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &place)
        })();
        written.map_err(|error| ImageError::store(&place, errno(&error)))?;
        self.sync_names(&self.records())
    }

    /// The images that there are, by name.
    ///
    /// # Errors
    /// [`ImageError::Store`]: a record can't be read, or is none.
    pub fn list(&self) -> Result<Vec<Record>, ImageError> {
        let directory = self.records();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| ImageError::store(&directory, errno(&error)))?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| ImageError::store(&directory, errno(&error)))?;
            if !entry.file_name().as_bytes().starts_with(b".") {
                // One that is removed meanwhile is not there.
                records.extend(self.read(&entry.path())?);
            }
        }
        records.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(records)
    }

    /// The image of that name.
    ///
    /// # Errors
    /// [`ImageError::Absent`] and others.
    pub fn find(&self, typed: &str) -> Result<Record, ImageError> {
        let full = name::full(typed)?;
        if let Some(record) = self.read(&self.records().join(name::file(&full)))? {
            return Ok(record);
        }
        let all = self.list()?;
        let nearest = crate::diag::nearest(&full, all.iter().map(|record| record.name.as_str()));
        Err(ImageError::Absent { name: typed.to_owned(), nearest: nearest.map(str::to_owned) })
    }

    fn read(&self, path: &Path) -> Result<Option<Record>, ImageError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| ImageError::store(path, errno(&error)))?,
        };
        let bad = |why: String| ImageError::Store { path: path.to_owned(), why };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| {
            bad(format!("it is not an image's record: {}", crate::diag::escape(error.to_string())))
        })?;
        if record.version != VERSION {
            return Err(bad(format!("it is of version {}, and this sbx reads {VERSION}", record.version)));
        }
        Ok(Some(record))
    }

    /// Keeps the layers of an image from being removed.
    ///
    /// # Errors
    /// [`ImageError::Store`]: one is missing, or is just being removed.
    pub fn hold(&self, layers: &[Layer]) -> Result<Held, ImageError> {
        let places = layers.iter().map(|layer| self.layer(layer)).collect::<Result<Vec<_>, _>>()?;
        Held::of(places.iter().map(PathBuf::as_path))
    }

    /// Forgets an image. Its layers stay until [`Store::collect`].
    ///
    /// # Errors
    /// [`ImageError::Absent`] and others.
    pub fn remove(&self, typed: &str) -> Result<(), ImageError> {
        let record = self.find(typed)?;
        let _lock = self.lock()?;
        let path = self.records().join(name::file(&record.name));
        fs::remove_file(&path).map_err(|error| ImageError::store(&path, errno(&error)))?;
        // Its layers may go next: a record that came back would have none.
        self.sync_names(&self.records())
    }

    /// Removes layers that no image has and no sandbox uses: how many, and how many are in use.
    ///
    /// # Errors
    /// [`ImageError::Store`]: with a record that can't be read nothing is removed.
    pub fn collect(&self, remove: Remove<'_>) -> Result<(usize, usize), ImageError> {
        let _lock_of_all = self.lock()?;
        self.sweep_by(remove);
        let mut needed = Vec::new();
        for record in self.list()? {
            for layer in &record.layers {
                needed.push(self.layer(layer)?);
            }
        }
        let layers = self.layers();
        let wrong = Self::wrong(&layers);
        let parent = open(&layers).map_err(&wrong)?;
        let (mut removed, mut used) = (0, 0);
        for entry in fs::read_dir(&layers).map_err(|error| wrong(errno(&error)))? {
            let entry = entry.map_err(|error| wrong(errno(&error)))?;
            let is_layer = entry.file_name().to_str().and_then(Digest::of_hex).is_some();
            if !is_layer || needed.contains(&entry.path()) {
                continue;
            }
            let Ok(_unused) = lock(&entry.path(), FlockArg::LockExclusiveNonblock) else {
                used += 1;
                continue;
            };
            // Under another name first: half a layer must not be taken for one.
            let gone = layers.join(format!("{IMPORTING}gone-{}", std::process::id()));
            fs::rename(entry.path(), &gone).map_err(|error| wrong(errno(&error)))?;
            fsync(&parent).map_err(&wrong)?;
            let name = c_name(gone.file_name().unwrap_or_default());
            remove(&parent, &name).map_err(&wrong)?;
            removed += 1;
        }
        Ok((removed, used))
    }
}

fn c_name(name: &OsStr) -> CString {
    CString::new(name.as_bytes()).unwrap_or_default()
}

fn make(path: &Path) -> nix::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| errno(&error))
}

/// Opens a directory, which is not a link.
pub(super) fn open(directory: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(directory, flags, nix::sys::stat::Mode::empty())
}

pub(super) fn lock(directory: &Path, how: FlockArg) -> nix::Result<Flock<OwnedFd>> {
    Flock::lock(open(directory)?, how).map_err(|(_, errno)| errno)
}
