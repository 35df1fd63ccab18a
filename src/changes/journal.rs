//! What an `sbx apply` is about to do, written down before it does it, so that the next one can finish it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use serde::{Deserialize, Serialize};

use super::bytes;
use super::node::Node;
use crate::layers::JOURNAL;

/// The version of the file. Another one is not read.
const VERSION: u32 = 1;

/// Its name while it is written.
const NEW: &str = "journal.new";

/// What the directory had at a path when it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    inode: u64,
    changed: i128,
}

impl Seen {
    pub(super) fn of(node: &Node) -> Self {
        Self { inode: node.inode, changed: node.changed }
    }

    /// Whether it is the same file, perhaps changed.
    pub(super) fn same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }

    /// Whether it still is what was checked. A directory's time changes with what is in it, which is looked at by itself.
    pub(super) fn is(&self, node: &Node) -> bool {
        self.inode == node.inode && (self.changed == node.changed || node.is_dir())
    }
}

/// One thing to do. Each can be done again when it is done already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// What lies ready under this number takes the place.
    Put {
        /// Below the directory.
        #[serde(with = "bytes")]
        path: PathBuf,
        /// Its name in the stage.
        number: u64,
        /// What is there now.
        old: Option<Seen>,
    },
    /// A directory is made.
    Make {
        /// Below the directory.
        #[serde(with = "bytes")]
        path: PathBuf,
    },
    /// What is there is moved to the stage, which is removed at the end.
    Remove {
        /// Below the directory.
        #[serde(with = "bytes")]
        path: PathBuf,
        /// Its name in the stage.
        number: u64,
        /// What is there now.
        old: Seen,
        /// No later than this anything in it was changed.
        newest: i128,
    },
    /// A directory gets the mode and attributes that it has in the layer.
    Settle {
        /// Below the directory.
        #[serde(with = "bytes")]
        path: PathBuf,
        /// And its time.
        time: bool,
    },
}

impl Step {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. }
            | Self::Make { path }
            | Self::Remove { path, .. }
            | Self::Settle { path, .. } => path,
        }
    }
}

/// A directory that is changed, and had been by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Foreign {
    #[serde(with = "bytes")]
    pub(super) path: PathBuf,
}

/// A path that leaves the layer when it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaving {
    #[serde(with = "bytes")]
    pub(super) path: PathBuf,
    /// With everything in it.
    pub(super) tree: bool,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    version: u32,
    /// A directory in the layer's directory in which everything is made ready.
    #[serde(with = "bytes")]
    pub(super) stage: PathBuf,
    /// What tells whether the directory that it is made in has the same names then.
    pub(super) names: u64,
    /// Directories of which nothing is to be taken for sbx's own doing.
    pub(super) foreign: Vec<Foreign>,
    /// What to do when all is ready; nothing as long as it isn't, when nothing has changed.
    pub(super) steps: Option<Vec<Step>>,
    /// All of them are done.
    pub(super) done: bool,
    /// What then leaves the layer.
    pub(super) leaving: Vec<Leaving>,
    /// Whether the layer has nothing left then.
    pub(super) whole: bool,
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Journal {
    pub(super) fn new(stage: PathBuf, names: u64, foreign: Vec<Foreign>) -> Self {
        let leaving = Vec::new();
        Self { version: VERSION, stage, names, foreign, steps: None, done: false, leaving, whole: false }
    }

    /// Writes it into the layer, all at once, and onto the disk.
    pub(super) fn write(&self, layer: &OwnedFd) -> nix::Result<()> {
        let written = self.try_write(layer);
        if written.is_err() {
            let _ = unlinkat(layer, NEW, UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn try_write(&self, layer: &OwnedFd) -> nix::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(layer, NEW, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let text = serde_json::to_vec(self).map_err(|_| Errno::EINVAL)?;
        file.write_all(&text).map_err(|error| errno(&error))?;
        // As long as nothing is changed it is for a kill alone, after which the kernel still has it.
        if self.steps.is_none() {
            return renameat(layer, NEW, layer, JOURNAL);
        }
        file.sync_all().map_err(|error| errno(&error))?;
        renameat(layer, NEW, layer, JOURNAL)?;
        fsync(layer)
    }

    /// The one that an earlier `sbx apply` has left.
    pub(super) fn read(layer: &OwnedFd) -> io::Result<Option<Self>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = match openat(layer, JOURNAL, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        File::from(file).read_to_end(&mut text)?;
        let journal: Self = serde_json::from_slice(&text)?;
        if journal.version != VERSION {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a version that is not known"));
        }
        Ok(Some(journal))
    }

    /// Everything is done.
    pub(super) fn remove(layer: &OwnedFd) -> nix::Result<()> {
        unlinkat(layer, JOURNAL, UnlinkatFlags::NoRemoveDir)?;
        fsync(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn it_is_read_as_it_was_written() {
        let place = std::env::temp_dir().join(format!("sbx-journal-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        let layer = OwnedFd::from(File::open(&place).unwrap());
        assert_eq!(Journal::read(&layer).unwrap(), None);
        let odd = PathBuf::from(std::ffi::OsString::from_vec(b"d/\xff\n".to_vec()));
        let old = Seen { inode: u64::MAX, changed: i128::from(u64::MAX) };
        let mut journal = Journal::new(".sbx".into(), u64::MAX, vec![Foreign { path: "x".into() }]);
        journal.leaving.push(Leaving { path: odd.clone(), tree: true });
        journal.steps = Some(vec![
            Step::Put { path: odd.clone(), number: 1, old: Some(old) },
            Step::Make { path: "é".into() },
            Step::Remove { path: odd, number: 2, old, newest: -1 },
            Step::Settle { path: PathBuf::new(), time: true },
        ]);
        journal.write(&layer).unwrap();
        assert_eq!(Journal::read(&layer).unwrap(), Some(journal));
        for wrong in [
            "",
            "{}",
            r#"{"version":1,"stage":"../x","names":0,"foreign":[],"steps":null,"done":false,"leaving":[],"whole":false}"#,
        ] {
            std::fs::write(place.join(JOURNAL), wrong).unwrap();
            assert!(Journal::read(&layer).is_err(), "{wrong}");
        }
        Journal::remove(&layer).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
    }
}
