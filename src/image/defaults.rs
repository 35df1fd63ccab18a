//! What an image says of how it is run, and where its layers are.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
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
    /// Its user, looked up in its own databases.
    pub user: ImageUser,
}

/// Who an image's programs run as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// The name; empty where its database has none for the number.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
    /// Further groups that the database has the user in, where the image names no group.
    pub groups: Vec<u32>,
}

impl ImageUser {
    /// Root, in root's group.
    pub fn is_root(&self) -> bool {
        (self.uid, self.gid) == (0, 0)
    }
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
        let user = look_up(&defaults.user, &layers)?;
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

/// The user and the groups by number. A user of the database has the groups that it says there.
fn look_up(user: &str, layers: &[PathBuf]) -> Result<ImageUser, ImageError> {
    let wrong = |why: &str| ImageError::User { user: user.to_owned(), why: why.to_owned() };
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    if matches!(name, "" | "root" | "0") && matches!(group, "" | "root" | "0") {
        return Ok(ImageUser { name: "root".to_owned(), ..ImageUser::default() });
    }
    let database = |file: &str| -> Result<String, ImageError> {
        let bytes = read(layers, file)
            .map_err(|errno| wrong(&format!("its /etc/{file}: {}", crate::diag::errno_words(errno))))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (users, groups) = (database("passwd")?, database("group")?);
    let known = find(&users, if name.is_empty() { "0" } else { name });
    let (name, uid, own_group) = match (known, name.parse()) {
        (Some(found), _) => (found.name.to_owned(), found.id, found.next.parse().unwrap_or(0)),
        (None, Ok(number)) => (String::new(), number, 0),
        (None, Err(_)) if name.is_empty() => ("root".to_owned(), 0, 0),
        (None, Err(_)) => return Err(wrong("its /etc/passwd has no such user")),
    };
    if group.is_empty() {
        let groups = groups_of(&groups, &name);
        return Ok(ImageUser { name, uid, gid: own_group, groups });
    }
    match (group.parse(), find(&groups, group)) {
        (Ok(gid), _) => Ok(ImageUser { name, uid, gid, groups: Vec::new() }),
        (_, Some(found)) => Ok(ImageUser { name, uid, gid: found.id, groups: Vec::new() }),
        _ => Err(wrong("its /etc/group has no such group")),
    }
}

/// A line of passwd(5) or group(5).
struct Entry<'t> {
    name: &'t str,
    id: u32,
    /// A user's group, or a group's members.
    next: &'t str,
}

fn entries(database: &str) -> impl Iterator<Item = Entry<'_>> {
    database.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        Some(Entry { name, id, next: fields.next().unwrap_or_default() })
    })
}

/// The first of a name, or of a number.
fn find<'t>(database: &'t str, wanted: &str) -> Option<Entry<'t>> {
    let number = wanted.parse();
    entries(database).find(|entry| entry.name == wanted || number == Ok(entry.id))
}

/// The groups that have the user as a member, each once, ascending.
fn groups_of(database: &str, user: &str) -> Vec<u32> {
    let has = |entry: &Entry<'_>| !user.is_empty() && entry.next.split(',').any(|member| member == user);
    let groups: BTreeSet<u32> = entries(database).filter(has).map(|entry| entry.id).collect();
    groups.into_iter().collect()
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
