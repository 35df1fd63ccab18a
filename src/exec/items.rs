//! The mounts of a plan in the form that the inside can use without allocating, their sources found.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use super::ExecError;
use super::mixed;
use super::prepare::{c_string, number};
use super::protect::Island;
use super::sources::{Resolver, Source};
use crate::plan::{Access, Content, MountOp, OverlayUpper};
use crate::profile::OverlayDriver;
use crate::sys::mount::MountAttr;

/// A mount of the plan, ready.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place in the plan.
    pub(super) index: u32,
    /// The destination below the root, without the leading slash; empty for the root itself.
    pub(super) path: CString,
    /// The directory of the destination.
    pub(super) parent: CString,
    /// Its name there.
    pub(super) name: CString,
    pub(super) op: Op,
}

impl Item {
    /// Its source is the host's root itself.
    pub(super) fn binds_root(&self) -> bool {
        matches!(&self.op, Op::Bind { source, .. } if source.path.as_bytes() == b"/")
    }
}

/// [`MountOp`], ready.
#[derive(Debug)]
pub(super) enum Op {
    Bind { source: Source, attr: MountAttr },
    Device { source: Source, number: u64 },
    Tmpfs { fresh: Fresh, attr: MountAttr },
    Proc,
    Devpts,
    Mqueue,
    Cgroup,
    Overlay { lower: Vec<Source>, upper: Upper, served: Option<Served> },
    Dir { mode: u32 },
    Private { mode: u32, fresh: Fresh },
    Copy { source: Source, mode: u32 },
    File { content: Content, mode: u32 },
    Data { content: Content, mode: u32, attr: MountAttr },
    Symlink { target: CString },
    Chmod { mode: u32 },
    Own { uid: u32, gid: u32 },
    Mask,
    ReadOnly,
    Island(Island),
}

impl Op {
    /// Whether it takes a directory or a file to be mounted over, if it mounts anything.
    pub(super) fn mounts_over(&self) -> Option<bool> {
        match self {
            Op::Bind { source, .. } => Some(source.is_dir),
            Op::Device { .. } | Op::Data { .. } => Some(false),
            Op::Tmpfs { .. }
            | Op::Private { .. }
            | Op::Overlay { .. }
            | Op::Proc
            | Op::Devpts
            | Op::Mqueue
            | Op::Cgroup => Some(true),
            Op::Dir { .. }
            | Op::Copy { .. }
            | Op::File { .. }
            | Op::Symlink { .. }
            | Op::Chmod { .. }
            | Op::Own { .. }
            | Op::Mask
            | Op::ReadOnly
            | Op::Island(_) => None,
        }
    }
}

/// The parameters of a new tmpfs.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) size: CString,
    pub(super) inodes: CString,
    pub(super) mode: CString,
}

impl Fresh {
    fn new(size: u64, inodes: u64, mode: u32) -> Self {
        Self {
            size: number(size),
            inodes: number(inodes),
            mode: CString::new(format!("{mode:o}")).unwrap_or_default(),
        }
    }
}

/// [`OverlayUpper`], ready.
#[derive(Debug)]
pub(super) enum Upper {
    None,
    Tmpfs { size: CString, inodes: CString },
    Directory { upper: CString, work: CString },
    Kept { upper: CString, work: CString },
}

/// Which of the servers serve an overlay, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    /// That of the overlay itself.
    pub(super) server: usize,
    /// That of the one before it, in which mount points are made, where there are any to be made.
    pub(super) init: Option<usize>,
}

/// One of them, with its place in the plan.
pub(super) fn item(index: usize, dest: &Path, op: Op) -> Result<Item, ExecError> {
    let relative = dest.strip_prefix("/").unwrap_or(dest);
    let parent =
        relative.parent().map(Path::as_os_str).filter(|parent| !parent.is_empty()).unwrap_or(OsStr::new("."));
    Ok(Item {
        index: u32::try_from(index)
            .map_err(|_| ExecError::Outside { what: "number the mounts", errno: Errno::E2BIG })?,
        path: c_string(relative.as_os_str())?,
        parent: c_string(parent)?,
        name: c_string(relative.file_name().unwrap_or_default())?,
        op,
    })
}

/// An operation, its sources found; nothing for an optional one that is missing.
pub(super) fn op(resolver: &mut Resolver<'_>, index: usize, op: &MountOp) -> Result<Option<Op>, ExecError> {
    let ready = match op {
        MountOp::Bind { source, access, devices, .. } => {
            let Some(source) = resolver.resolve(index, source, *access)? else { return Ok(None) };
            let nodev = if *devices { MountAttr::default() } else { MountAttr::NODEV };
            Op::Bind { source, attr: read_only(*access).and(MountAttr::NOSUID).and(nodev) }
        }
        MountOp::Device { source, major, minor } => {
            Op::Device { source: unseen(source)?, number: libc::makedev(*major, *minor) }
        }
        MountOp::Tmpfs { size, inodes, mode, access } => Op::Tmpfs {
            fresh: Fresh::new(*size, *inodes, *mode),
            attr: read_only(*access).and(MountAttr::NOSUID).and(MountAttr::NODEV),
        },
        MountOp::Proc => Op::Proc,
        MountOp::Devpts => Op::Devpts,
        MountOp::Mqueue => Op::Mqueue,
        MountOp::Cgroup => Op::Cgroup,
        MountOp::Overlay { lower, upper } => {
            let sources = lower.iter().map(|source| resolver.resolve_lower(index, source));
            let Some(lower) = sources.collect::<Result<Option<Vec<_>>, _>>()? else { return Ok(None) };
            let directories = resolver.resolve_upper(index, &lower, upper)?;
            let upper = match (upper, directories) {
                (OverlayUpper::Tmpfs { size, inodes, .. }, None) => {
                    Upper::Tmpfs { size: number(*size), inodes: number(*inodes) }
                }
                (OverlayUpper::Directory { .. } | OverlayUpper::Tmpfs { .. }, Some((upper, work))) => {
                    Upper::Directory { upper, work }
                }
                (OverlayUpper::Kept { .. } | OverlayUpper::Changes { .. }, Some((upper, work))) => {
                    Upper::Kept { upper, work }
                }
                _ => Upper::None,
            };
            if let (Upper::Kept { upper, .. }, OverlayDriver::FuseOverlayfs) = (&upper, resolver.driver()) {
                let upper = Path::new(OsStr::from_bytes(upper.to_bytes()));
                mixed::check(upper, &lower, &resolver.plan().identity)?;
            }
            Op::Overlay { lower, upper, served: None }
        }
        MountOp::Dir { mode } => Op::Dir { mode: *mode },
        MountOp::Private { mode } => {
            let root = resolver.root();
            Op::Private { mode: *mode, fresh: Fresh::new(root.size, root.inodes, *mode) }
        }
        MountOp::Copy { source, mode } => Op::Copy { source: unseen(source)?, mode: *mode },
        MountOp::File { content, mode } => Op::File { content: content.clone(), mode: *mode },
        MountOp::Data { content, mode, access } => Op::Data {
            content: content.clone(),
            mode: *mode,
            attr: read_only(*access).and(MountAttr::NOSUID).and(MountAttr::NODEV),
        },
        MountOp::Symlink { target } => Op::Symlink { target: c_string(target.as_os_str())? },
        MountOp::Chmod { mode } => Op::Chmod { mode: *mode },
        MountOp::Own { uid, gid } => Op::Own { uid: *uid, gid: *gid },
        MountOp::Mask => Op::Mask,
        MountOp::ReadOnly => Op::ReadOnly,
    };
    Ok(Some(ready))
}

fn read_only(access: Access) -> MountAttr {
    match access {
        Access::ReadOnly => MountAttr::RDONLY,
        Access::Writable => MountAttr::default(),
    }
}

fn unseen(path: &Path) -> Result<Source, ExecError> {
    Source::unseen(path).map_err(|_| ExecError::Nul(path.into()))
}
