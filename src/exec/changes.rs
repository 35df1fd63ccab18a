//! Copy-on-write over real directories, outside: what must hold of such a directory, so that nothing reaches it, and the
//! layer that a run writes instead.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::stat;

use super::ExecError;
use super::host_mounts;
use super::kept::{Kept, NewLayer};
use super::sources::{FileId, Resolver, Source, id, ids_above};
use crate::diag::quote;
use crate::layers::{Kind, Record, is_half_applied};
use crate::plan::{ChangesLayer, MountOp, Plan};
use crate::profile::Origin;

/// That the changes to a directory can't be kept apart.
#[derive(Clone, Debug, PartialEq)]
pub struct NotApart {
    /// The directory.
    pub path: PathBuf,
    /// Why not.
    pub why: Obstacle,
    /// Who asked for what is in the way.
    pub other: Option<String>,
    /// Who asked for it.
    pub origin: Origin,
}

/// Why the changes to a directory can't be kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// This is mounted in it: an overlay would show what lies below.
    Mounted(PathBuf),
    /// Layers are kept here, which lies in it.
    HoldsLayers(PathBuf),
    /// It lies where layers are kept, which is here.
    AmongLayers(PathBuf),
    /// Another mount of the plan lets the directory itself be written.
    Writable(usize),
    /// Another overlay is over the same directory.
    Twice(usize),
    /// The filesystem where layers are kept holds no extended attributes.
    NoAttributes(PathBuf),
    /// There is no such layer.
    NoLayer(String),
    /// The layer's changes have been applied in part.
    HalfApplied(String),
    /// The layer is that of another directory, or of none.
    OtherLayer(String),
}

/// A directory that an overlay is laid over.
pub(super) struct Under {
    mount: usize,
    path: PathBuf,
    id: FileId,
}

impl Under {
    /// Its path, without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Resolver<'_> {
    /// Takes the layer for what is changed in a directory: its upper and its work dir.
    pub(super) fn take_changes(
        &mut self,
        mount: usize,
        directory: &Source,
        layers: &Path,
        layer: &ChangesLayer,
    ) -> Result<(CString, CString), ExecError> {
        let path = PathBuf::from(OsStr::from_bytes(directory.path.to_bytes()));
        let not_apart = |why| not_apart(self.plan(), mount, &path, why);
        let status = stat(path.as_path()).map_err(|errno| self.missing(mount, &path, errno))?;
        let below = |point: &PathBuf| *point != path && point.starts_with(&path);
        if let Some(point) = host_mounts::all().into_iter().map(|mount| mount.point).find(below) {
            return Err(not_apart(Obstacle::Mounted(point)));
        }
        let origin = &self.plan().mounts[mount].origin;
        let place = Kept::place(layers, origin)?;
        if ids_above(layers).any(|above| above == id(&status)) {
            return Err(not_apart(Obstacle::HoldsLayers(layers.to_owned())));
        }
        if stat(layers).is_ok_and(|layers| ids_above(&path).any(|above| above == id(&layers))) {
            return Err(not_apart(Obstacle::AmongLayers(layers.to_owned())));
        }
        let driver = self.driver();
        let kept = match layer {
            ChangesLayer::New(stem) => {
                let record = record(self.plan(), &path, &status);
                Kept::changes(NewLayer { place, layers, stem, under: &status, record, driver }, origin)
            }
            ChangesLayer::Again(name) => {
                let there = Record::read(&layers.join(name));
                let Ok(there) = there else { return Err(not_apart(Obstacle::NoLayer(name.clone()))) };
                if there.kind != Kind::Overlay || (there.device, there.inode) != id(&status) {
                    return Err(not_apart(Obstacle::OtherLayer(name.clone())));
                }
                if is_half_applied(&layers.join(name)) {
                    return Err(not_apart(Obstacle::HalfApplied(name.clone())));
                }
                Kept::changes_again(place, (layers, name), (&path, &status), driver, origin)
            }
        };
        let kept = kept.map_err(|error| match error {
            ExecError::Layer { errno: Errno::EOPNOTSUPP, .. } => {
                not_apart(Obstacle::NoAttributes(layers.to_owned()))
            }
            other => other,
        })?;
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
        let nul = |_| self.missing(mount, &path, Errno::EINVAL);
        let places = (text(&kept.upper).map_err(nul)?, text(&kept.work).map_err(nul)?);
        self.hold(kept);
        self.lay_over(Under { mount, path, id: id(&status) });
        Ok(places)
    }

    /// Nothing else may let the sandbox write a directory whose changes are kept apart, or a part of it by accident. That a bind
    /// of a directory above shows it once more is seen to by an island.
    pub(super) fn check_apart(
        plan: &Plan,
        under: &[Under],
        writable: &[(usize, FileId)],
    ) -> Result<(), ExecError> {
        for (index, one) in under.iter().enumerate() {
            if let Some(other) = under[..index].iter().find(|other| other.id == one.id) {
                return Err(not_apart(plan, one.mount, &one.path, Obstacle::Twice(other.mount)));
            }
            let above: Vec<FileId> = ids_above(&one.path).collect();
            let written = |(mount, id): &&(usize, FileId)| {
                // What is sbx's own, or a layer of somebody's, has no islands.
                let guarded = matches!(plan.mounts[*mount].op, MountOp::Bind { create: None, .. });
                *id == one.id || (!guarded && above.contains(id))
            };
            if let Some((mount, _)) = writable.iter().find(written) {
                return Err(not_apart(plan, one.mount, &one.path, Obstacle::Writable(*mount)));
            }
        }
        Ok(())
    }
}

/// What is written down of a new layer. The time is the one that filesystems stamp with, which lags behind the exact one.
fn record(plan: &Plan, directory: &Path, status: &nix::sys::stat::FileStat) -> Record {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE);
    let created = now.map_or(0, |now| i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec()));
    Record {
        kind: Kind::Overlay,
        directory: directory.to_owned(),
        device: status.st_dev,
        inode: status.st_ino,
        created,
        profile: plan.profile.clone(),
        command: plan.command.clone(),
    }
}

fn not_apart(plan: &Plan, mount: usize, path: &Path, why: Obstacle) -> ExecError {
    let origin = plan.mounts[mount].origin.clone();
    let other = match why {
        Obstacle::Writable(other) | Obstacle::Twice(other) => Some(plan.mounts[other].origin.to_string()),
        _ => None,
    };
    ExecError::NotApart(NotApart { path: path.to_owned(), why, other, origin })
}

impl fmt::Display for NotApart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot keep what is changed in {} apart: ", quote(&self.path))?;
        let other = self.other.as_deref().unwrap_or_default();
        match &self.why {
            Obstacle::Mounted(point) => {
                write!(f, "{} is another filesystem in it, which an overlay can't show", quote(point))
            }
            Obstacle::HoldsLayers(layers) => write!(f, "layers are kept in it, in {}", quote(layers)),
            Obstacle::AmongLayers(layers) => write!(f, "it lies in {}, where layers are kept", quote(layers)),
            Obstacle::Writable(_) => write!(f, "it is also to be written itself, by {other}"),
            Obstacle::Twice(_) => write!(f, "it is the same directory as that of {other}"),
            Obstacle::NoAttributes(layers) => {
                write!(f, "the filesystem of {} has no user extended attributes", quote(layers))
            }
            Obstacle::NoLayer(name) => write!(f, "there is no layer {}", quote(name)),
            Obstacle::HalfApplied(name) => {
                write!(f, "what is in the layer {} has been applied in part", quote(name))
            }
            Obstacle::OtherLayer(name) => write!(f, "the layer {} is not one of its", quote(name)),
        }
    }
}

impl NotApart {
    /// What to do.
    pub fn hint(&self) -> String {
        match self.why {
            Obstacle::Mounted(_) => "name the directories in it that have no mount below them, one by one",
            Obstacle::HoldsLayers(_) => {
                "name the directories below it that the program needs, or set XDG_STATE_HOME to one elsewhere"
            }
            Obstacle::AmongLayers(_) => "name the directory that the layer is of, or copy it elsewhere",
            Obstacle::Writable(_) => "leave one of the two out",
            Obstacle::Twice(_) => "name it once",
            Obstacle::NoAttributes(_) => {
                "set XDG_STATE_HOME to a directory on a filesystem such as ext4, XFS or Btrfs"
            }
            Obstacle::HalfApplied(_) => "finish that first with `sbx apply`",
            Obstacle::NoLayer(_) | Obstacle::OtherLayer(_) => "`sbx layers` lists the ones that there are",
        }
        .to_owned()
    }
}
