//! Times in a layer's directory that are sbx's own doing: what `sbx apply` has written is no conflict with what is left.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::bytes;

/// The version of the file. Another one is not read.
const VERSION: u32 = 1;
const NAME: &str = "applied";
const NEW: &str = "applied.new";

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(with = "bytes")]
    path: PathBuf,
    changed: i128,
}

#[derive(Serialize, Deserialize)]
struct Page {
    version: u32,
    entries: Vec<Entry>,
}

/// When `sbx apply` was the last to change what is at a path: nanoseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Known(pub(super) BTreeMap<PathBuf, i128>);

impl Known {
    /// Reads a layer's. One that can't be read is none: there are more conflicts then, not fewer.
    pub(super) fn read(layer: &OwnedFd) -> Self {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut text = Vec::new();
        let read = openat(layer, NAME, flags, Mode::empty()).map(File::from);
        let read = read.map(|mut file| file.read_to_end(&mut text));
        let page: Option<Page> = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
        let entries = page.filter(|page| page.version == VERSION).map(|page| page.entries);
        Self(entries.into_iter().flatten().map(|entry| (entry.path, entry.changed)).collect())
    }

    /// Writes it into the layer, all at once.
    pub(super) fn write(self, layer: &OwnedFd) -> nix::Result<()> {
        let entries = self.0.into_iter().map(|(path, changed)| Entry { path, changed }).collect();
        let text = serde_json::to_vec(&Page { version: VERSION, entries }).map_err(|_| Errno::EINVAL)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(layer, NEW, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        file.write_all(&text).map_err(errno)?;
        renameat(layer, NEW, layer, NAME)
    }

    /// Whether what is there was changed after `created`, and by somebody else.
    pub(super) fn is_foreign(&self, path: &Path, changed: i128, created: i128) -> bool {
        changed > created && self.0.get(path) != Some(&changed)
    }
}
