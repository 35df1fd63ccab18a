//! The vocabulary of the mount engine: an ordered list of these says all that bubblewrap's options can say.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

use super::bytes;
use crate::profile::Origin;

/// One step of building the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mount {
    /// Where, inside; absolute.
    #[serde(serialize_with = "bytes::path")]
    pub dest: PathBuf,
    /// What.
    #[serde(flatten)]
    pub op: MountOp,
    /// Who asked for it.
    #[serde(rename = "set-by", serialize_with = "bytes::display")]
    pub origin: Origin,
}

/// Whether the payload can write there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It can't, nor in any mount below.
    ReadOnly,
    /// It can, where the file's mode and the host's mount let it.
    Writable,
}

/// Something of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindSource {
    /// By path.
    Path(#[serde(serialize_with = "bytes::path")] PathBuf),
    /// What an inherited descriptor refers to.
    Fd(i32),
}

/// The bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// These.
    Bytes(#[serde(serialize_with = "text")] Vec<u8>),
    /// These, which are nobody's business.
    Secret(#[serde(serialize_with = "not_shown")] Vec<u8>),
    /// Read from an inherited descriptor to its end.
    Fd(i32),
}

fn text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn not_shown<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{} bytes, not shown", bytes.len()))
}

/// Where the writes to an overlay go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlayUpper {
    /// Nowhere: it is read-only.
    None,
    /// A tmpfs of its own, gone at the end.
    Tmpfs {
        /// Bytes.
        size: u64,
        /// Files.
        inodes: u64,
        /// Where a directory is made for it, and removed at the end, on a kernel whose tmpfs can't hold what an overlay notes
        /// (Linux before 6.6): without bounds, which is told. Without one, directories of lower layers can't be removed there.
        #[serde(serialize_with = "bytes::optional_path")]
        otherwise: Option<PathBuf>,
    },
    /// An upper dir of the host's, and a work dir on the same filesystem.
    Directory {
        /// The upper dir.
        #[serde(serialize_with = "bytes::path")]
        upper: PathBuf,
        /// The work dir, empty.
        #[serde(serialize_with = "bytes::path")]
        work: PathBuf,
    },
    /// A layer that sbx keeps, for one sandbox at a time: `upper` and `work` in a directory that is made where there is none.
    Kept {
        /// The directory.
        #[serde(serialize_with = "bytes::path")]
        directory: PathBuf,
        /// It is among sbx's own, where no sandbox can write otherwise.
        own: bool,
    },
    /// A layer of sbx's own with what is changed in the lower dir, of which there is one, and which stays as it is. One that
    /// is empty at the end is gone.
    Changes {
        /// Where layers are.
        #[serde(serialize_with = "bytes::path")]
        layers: PathBuf,
        /// Which of them.
        layer: ChangesLayer,
        /// A missing lower dir is no error: nothing is there then.
        optional: bool,
    },
}

/// A layer for what is changed in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesLayer {
    /// A new one, of this name and a number.
    New(String),
    /// That of an earlier run in the same directory.
    Again(String),
}

/// What is done at a destination. Every mount is nosuid; nodev unless it says devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum MountOp {
    /// A file or directory of the host's with every mount below it.
    Bind {
        /// Which.
        source: BindSource,
        /// Read-only or writable, all of it.
        access: Access,
        /// Device nodes work.
        devices: bool,
        /// A missing source is no error.
        optional: bool,
        /// A missing source directory is made, with this mode: sbx's own state.
        create: Option<u32>,
    },
    /// A device node of the host's, refused unless it is the one it should be.
    Device {
        /// Its path outside.
        #[serde(serialize_with = "bytes::path")]
        source: PathBuf,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A new tmpfs.
    Tmpfs {
        /// Bytes; a destination of at most this.
        size: u64,
        /// Files.
        inodes: u64,
        /// Mode of its root.
        mode: u32,
        /// Read-only or writable.
        access: Access,
    },
    /// A new procfs of the PID namespace.
    Proc,
    /// A new devpts instance.
    Devpts,
    /// A new mqueue of the IPC namespace.
    Mqueue,
    /// The cgroups that the payload may make, below its own.
    Cgroup,
    /// An overlay (userxattr).
    Overlay {
        /// Lower dirs, topmost first.
        lower: Vec<BindSource>,
        /// Where writes go.
        upper: OverlayUpper,
    },
    /// A directory, made where there is none.
    Dir {
        /// Its mode.
        mode: u32,
    },
    /// A new directory of the root filesystem that can be written although the root can't: it shares the root's size.
    Private {
        /// Its mode.
        mode: u32,
    },
    /// A new file in the root filesystem with what a small file of the host's holds now. Cheaper than a bind.
    Copy {
        /// The file's path, without links.
        #[serde(serialize_with = "bytes::path")]
        source: PathBuf,
        /// The copy's mode.
        mode: u32,
    },
    /// A new file in the root filesystem.
    File {
        /// What is in it.
        content: Content,
        /// Its mode.
        mode: u32,
    },
    /// A file of its own, mounted over the destination.
    Data {
        /// What is in it.
        content: Content,
        /// Its mode.
        mode: u32,
        /// Read-only or writable.
        access: Access,
    },
    /// A symbolic link; fine where the same one exists.
    Symlink {
        /// What it says.
        #[serde(serialize_with = "bytes::path")]
        target: PathBuf,
    },
    /// Sets the mode of what is there.
    Chmod {
        /// The mode.
        mode: u32,
    },
    /// Gives what is there to another user inside, if it is of a filesystem that was made for this sandbox.
    Own {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Covers what is there with something empty that can't be opened; nothing where nothing is.
    Mask,
    /// Makes what is there a mount of its own and read-only, with every mount below it; nothing where nothing is.
    ReadOnly,
}

impl MountOp {
    /// The word for it in messages and `explain`.
    pub fn word(&self) -> &'static str {
        match self {
            MountOp::Bind { access: Access::ReadOnly, .. } => "ro",
            MountOp::Bind { access: Access::Writable, .. } => "rw",
            MountOp::Device { .. } => "device",
            MountOp::Tmpfs { .. } => "tmpfs",
            MountOp::Proc => "proc",
            MountOp::Devpts => "devpts",
            MountOp::Mqueue => "mqueue",
            MountOp::Cgroup => "cgroup",
            MountOp::Overlay { .. } => "overlay",
            MountOp::Dir { .. } => "dir",
            MountOp::Private { .. } => "private",
            MountOp::Copy { .. } => "copy",
            MountOp::File { .. } => "file",
            MountOp::Data { .. } => "data",
            MountOp::Symlink { .. } => "symlink",
            MountOp::Chmod { .. } => "chmod",
            MountOp::Own { .. } => "own",
            MountOp::Mask => "hide",
            MountOp::ReadOnly => "read-only",
        }
    }
}
