//! What an image says of how it is run, and where its layers are.
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::error::ImageError;
use super::owned::OWNED;
use super::spec::RunConfig;
use super::store::{self, Held, Record, Store};
use super::tree::{OPAQUE, open_directory};
use crate::sys;

/// Bytes that a user database may have.
const DATABASE: u64 = 1 << 20;

/// What an image says of how it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunDefaults {
    /// What every command follows.
    pub entrypoint: Vec<String>,
    /// The command, when none is given.
    pub command: Vec<String>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
    /// Where it starts; empty where it says nothing.
    pub directory: String,
    /// `USER[:GROUP]`, names or numbers; empty for root.
    pub user: String,
}

impl RunDefaults {
    /// Those of an image's configuration; what can't be read of it says nothing.
    pub fn of(record: &Record) -> Self {
        let config = record.config.get("config").cloned().unwrap_or_default();
        let config: RunConfig = serde_json::from_value(config).unwrap_or_default();
        Self {
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            environment: config.env.unwrap_or_default(),
            directory: config.working_dir.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
        }
    }
}

/// An image as a root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, with the tag.
    pub name: String,
    /// The directories to stack, topmost first.
    pub layers: Vec<PathBuf>,
    /// What it says of how it is run.
    pub defaults: RunDefaults,
    /// Its user and group by number, looked up in its own databases.
    pub user: (u32, u32),
}

impl Image {
    /// Looks at an image; with the owners of its files where all ids of the caller's are mapped.
    ///
    /// # Errors
    /// [`ImageError`]: there is none, or its user is none that it has.
    pub fn look(store: &Store, name: &str, with_owners: bool) -> Result<Self, ImageError> {
        let record = store.find(name)?;
        let mut layers = Vec::new();
        if with_owners && store.is_unowned(&record)? {
            return Err(ImageError::Unowned(record.name));
        }
        for layer in record.layers.iter().rev() {
            let place = store.layer(layer)?;
            let (owned, tree) = (place.join(OWNED), place.join("tree"));
            if with_owners && owned.exists() && !layers.contains(&owned) {
                layers.push(owned);
            }
            // One that is there twice adds nothing below itself, and the kernel takes none twice.
            if !layers.contains(&tree) {
                layers.push(tree);
            }
        }
        let defaults = RunDefaults::of(&record);
        let user = numbers(&defaults.user, &layers)?;
        Ok(Self { name: record.name, layers, defaults, user })
    }

    /// Keeps its layers from being removed.
    ///
    /// # Errors
    /// [`ImageError::Store`]: one is missing, or is just being removed.
    pub fn hold(&self) -> Result<Held, ImageError> {
        Held::of(self.layers.iter().map(|tree| tree.parent().unwrap_or(tree)))
    }
}

/// The user and the group by number. A user of the database has the group that it says there.
fn numbers(user: &str, layers: &[PathBuf]) -> Result<(u32, u32), ImageError> {
    let wrong = |why: &str| ImageError::User { user: user.to_owned(), why: why.to_owned() };
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    if matches!(name, "" | "root" | "0") && matches!(group, "" | "root" | "0") {
        return Ok((0, 0));
    }
    let find = |file: &str, name: &str| -> Result<Option<(u32, u32)>, ImageError> {
        let bytes = read(layers, file)
            .map_err(|errno| wrong(&format!("its /etc/{file}: {}", crate::diag::errno_words(errno))))?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (own, _, id) = (fields.next()?, fields.next()?, fields.next()?);
            (own == name || id == name).then(|| (id.to_owned(), fields.next().unwrap_or("0").to_owned()))
        });
        Ok(line.and_then(|(id, group)| Some((id.parse().ok()?, group.parse().unwrap_or(0)))))
    };
    let entry = if name.is_empty() { Some((0, 0)) } else { find("passwd", name)? };
    let (uid, own_group) = match (entry, name.parse()) {
        (Some(entry), _) => entry,
        (None, Ok(number)) => (number, 0),
        (None, Err(_)) => return Err(wrong("its /etc/passwd has no such user")),
    };
    let gid = match group {
        "" => own_group,
        group => match (group.parse(), find("group", group)?) {
            (Ok(number), _) | (_, Some((number, _))) => number,
            _ => return Err(wrong("its /etc/group has no such group")),
        },
    };
    Ok((uid, gid))
}

/// What a file of `/etc` holds in the topmost layer that has it; nothing where none has. No link is followed.
fn read(layers: &[PathBuf], name: &str) -> nix::Result<Vec<u8>> {
    for layer in layers {
        let etc = match open_directory(&store::open(layer)?, b"etc") {
            Ok(etc) => etc,
            Err(Errno::ENOENT) => continue,
            // A whiteout, or a link.
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        };
        match fstatat(&etc, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) if SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = std::fs::File::from(openat(&etc, name, flags, Mode::empty())?);
                let mut bytes = Vec::new();
                let read = file.take(DATABASE).read_to_end(&mut bytes);
                return read.map(|_| bytes).map_err(|error| super::error::errno(&error));
            }
            Err(Errno::ENOENT) if sys::xattr::get(&etc, OPAQUE).is_err() => {}
            Ok(_) | Err(Errno::ENOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(Vec::new())
}
