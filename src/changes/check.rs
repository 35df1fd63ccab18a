//! Everything that could keep changes from being applied, looked at before anything is changed.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstat;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{AccessFlags, faccessat, getegid, geteuid};

use super::error::ChangesError;
use super::journal::{Leaving, Seen, Step};
use super::known::Known;
use super::node::{Directory, Kind, Node, open_below};
use super::{Change, Ids, Layer, Status, select};

/// What is to be done.
pub(super) struct Checked {
    /// The steps, in order.
    pub(super) steps: Vec<Step>,
    /// A directory of the layer's directory that can be written.
    pub(super) stage: PathBuf,
    /// What leaves the layer then.
    pub(super) leaving: Vec<Leaving>,
    /// What is applied.
    pub(super) changes: Vec<Change>,
    /// What can't be, and stays in the layer.
    pub(super) left_out: Vec<(PathBuf, &'static str)>,
}

/// What one parent directory allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Fine,
    /// It is made, too.
    New,
    Not(&'static str),
}

struct Check<'a> {
    lower: BorrowedFd<'a>,
    ids: Ids,
    created: i128,
    known: Known,
    device: u64,
    /// What is known of directories that are to be written.
    places: BTreeMap<PathBuf, Place>,
    /// Directories that the layer makes writable.
    opened: HashSet<PathBuf>,
    conflicts: Vec<(PathBuf, &'static str)>,
}

const CHANGED: &str = "changed since the layer was made";
/// Of a file that was there before, under this or another name: nobody can tell which.
const COPIED: &str = "its file may have been deleted since the layer was made: its directory was changed";
/// With the caller for an owner it would be another program.
const OTHERS_SET_ID: &str = "set-id for another owner: it can't be applied";
const ELSEWHERE: &str = "on another filesystem";

/// Adds what the selected ones can't be without: the directories that they are in, where those are new.
pub(super) fn with_parents(all: &[Change], selected: Vec<Change>) -> Vec<Change> {
    if all.len() == selected.len() {
        return selected;
    }
    let mut paths: HashSet<PathBuf> = selected.iter().map(|change| change.path.clone()).collect();
    for change in &selected {
        let new: Vec<_> = change.path.ancestors().skip(1).map(Path::to_owned).collect();
        paths.extend(new);
    }
    let given: HashSet<&Path> = selected.iter().map(|change| change.path.as_path()).collect();
    let is_new = |change: &Change| matches!(change.status, Status::Added | Status::TypeChanged);
    let wanted = |change: &&Change| {
        given.contains(change.path.as_path()) || is_new(change) && paths.contains(&change.path)
    };
    all.iter().filter(wanted).cloned().collect()
}

/// Looks at everything.
///
/// # Errors
/// [`ChangesError::Conflicts`], [`ChangesError::Full`], and what can't be looked at.
pub(super) fn check(
    layer: &Layer,
    lower: &OwnedFd,
    all: &[Change],
    changes: Vec<Change>,
    typed: &[PathBuf],
) -> Result<Checked, ChangesError> {
    let failed = |errno| ChangesError::Read { path: PathBuf::new(), errno };
    let mut check = Check {
        lower: lower.as_fd(),
        ids: layer.ids,
        created: layer.record.as_ref().map_or(0, |record| record.created),
        known: Known::read(&layer.dir),
        device: fstat(lower).map_err(failed)?.st_dev,
        places: BTreeMap::new(),
        opened: HashSet::new(),
        conflicts: Vec::new(),
    };
    let special = |change: &Change| match change.new.as_ref().map(|new| new.kind) {
        Some(Kind::Socket) => Some("a socket: it stays in the layer"),
        Some(Kind::Device) => Some("a device: it stays in the layer"),
        _ => None,
    };
    let (out, changes): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| special(change).is_some());
    let left_out = out.iter().filter_map(|change| Some((change.path.clone(), special(change)?))).collect();
    for change in &changes {
        let named = select::is_named(change, layer, typed);
        let stands = check.stands_in_the_way(change, named)?;
        check.conflicts.extend(stands.map(|why| (change.path.clone(), why)));
    }
    if !check.conflicts.is_empty() {
        return Err(ChangesError::Conflicts {
            name: layer.name.clone(),
            entries: check.conflicts,
            upper: crate::layers::tree(&layer.path).join("upper"),
        });
    }
    check.room(layer, lower, &changes)?;
    let stage = check.stage()?;
    let leaving = leaving(all, &changes);
    Ok(Checked { steps: steps(&changes), stage, leaving, changes, left_out })
}

impl Check<'_> {
    /// Why a change can't be applied, if it can't.
    fn stands_in_the_way(
        &mut self,
        change: &Change,
        named: bool,
    ) -> Result<Option<&'static str>, ChangesError> {
        let is_dir = |node: &Option<Node>| node.as_ref().is_some_and(Node::is_dir);
        let parent = change.path.parent().unwrap_or(Path::new(""));
        let settled = change.status == Status::Modified && is_dir(&change.new);
        let place = if settled { Place::Fine } else { self.place(parent)? };
        if let Place::Not(why) = place {
            return Ok(Some(why));
        }
        let (me, is_root) = (geteuid().as_raw(), self.ids.carries_owners());
        let foreign = |node: &Node| !is_root && node.owner != me;
        let set_id = |node: &Option<Node>| {
            node.as_ref().filter(|node| node.kind == Kind::File).map_or(0, |node| node.mode & 0o6000)
        };
        let others = |new: &Node| {
            !is_root && (new.owner != me || new.mode & 0o2000 != 0 && new.group != getegid().as_raw())
        };
        let gone = change.from_below && place == Place::Fine && self.has_changed(parent)?;
        let new = change.new.as_ref();
        if is_dir(&change.new) && !matches!(change.status, Status::Modified) {
            self.places.insert(change.path.clone(), Place::New);
        } else if settled && new.is_some_and(|new| new.mode & 0o300 == 0o300) {
            self.opened.insert(change.path.clone());
        }
        Ok(match &change.old {
            _ if change.unreadable => Some("a part of it can't be read"),
            _ if set_id(&change.new) != 0 && new.is_some_and(others) => Some(OTHERS_SET_ID),
            _ if set_id(&change.new) & !set_id(&change.old) != 0 && !named => {
                Some("set-id: it is applied only where its own path is given")
            }
            None if gone => Some(COPIED),
            Some(old) if self.known.is_foreign(&change.path, old.changed, self.created) => Some(CHANGED),
            Some(_) if change.below.newest > self.created => {
                Some("something in it changed since the layer was made")
            }
            Some(old) if settled && foreign(old) => Some("it belongs to somebody else"),
            Some(old) if old.is_dir() && !settled && (foreign(old) || !is_root && change.below.foreign) => {
                Some("it, or something in it, belongs to somebody else")
            }
            _ => None,
        })
    }

    /// Whether names in a directory were added or taken since the layer was made.
    fn has_changed(&self, path: &Path) -> Result<bool, ChangesError> {
        let at = |errno| ChangesError::Read { path: path.to_owned(), errno };
        let opened = Directory::open(self.lower, path).map_err(at)?;
        let changed = opened.itself().map_err(at)?.changed;
        Ok(self.known.is_foreign(path, changed, self.created))
    }

    /// Whether a directory can be written.
    fn place(&mut self, path: &Path) -> Result<Place, ChangesError> {
        if let Some(place) = self.places.get(path) {
            return Ok(*place);
        }
        let place = match open_below(self.lower, path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::EXDEV) => Place::Not(ELSEWHERE),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => Place::Not("its directory is gone"),
            Err(errno) => return Err(ChangesError::Read { path: path.to_owned(), errno }),
            Ok(opened) => {
                let device = fstat(&opened).map(|status| status.st_dev);
                let flags = AccessFlags::W_OK | AccessFlags::X_OK;
                match faccessat(&opened, ".", flags, AtFlags::AT_EACCESS) {
                    _ if device != Ok(self.device) => Place::Not(ELSEWHERE),
                    Ok(()) => Place::Fine,
                    Err(Errno::EACCES) if self.opened.contains(path) => Place::Fine,
                    Err(Errno::EROFS) => Place::Not("its directory is on a filesystem that is read-only"),
                    Err(_) => Place::Not("its directory can't be written"),
                }
            }
        };
        self.places.insert(path.to_owned(), place);
        Ok(place)
    }

    /// Whether the disk holds it.
    fn room(&self, layer: &Layer, lower: &OwnedFd, changes: &[Change]) -> Result<(), ChangesError> {
        let (mut needed, mut inodes) = (0_u64, HashSet::new());
        for new in changes.iter().filter_map(|change| change.new.as_ref()) {
            if inodes.insert(new.inode) && new.kind == Kind::File {
                needed = needed.saturating_add(new.blocks);
            }
        }
        let failed = |errno| ChangesError::Read { path: PathBuf::new(), errno };
        let room = fstatvfs(lower).map_err(failed)?;
        let free = room.blocks_available().saturating_mul(room.fragment_size());
        // Some filesystems count no inodes.
        let full = room.files() > 0 && room.files_available() < inodes.len() as u64;
        if needed <= free && !full {
            return Ok(());
        }
        let path = layer.record.as_ref().map(|record| record.directory.clone()).unwrap_or_default();
        Err(ChangesError::Full { path, needed, free: if full { 0 } else { free } })
    }

    /// Where everything can be made ready: in the directory itself if possible.
    fn stage(&mut self) -> Result<PathBuf, ChangesError> {
        if self.place(Path::new(""))? == Place::Fine {
            return Ok(PathBuf::new());
        }
        let writable = self.places.iter().find(|(_, place)| **place == Place::Fine);
        // Where there is none only modes change, and nothing is made ready.
        Ok(writable.map(|(path, _)| path.clone()).unwrap_or_default())
    }
}

/// What there is to do: what is new, parents first; then what goes; then the modes of directories, from below.
fn steps(changes: &[Change]) -> Vec<Step> {
    let (mut steps, mut last, mut number) = (Vec::new(), Vec::new(), 0);
    let remove = |change: &Change, old: &Node, number| Step::Remove {
        path: change.path.clone(),
        number,
        old: Seen::of(old),
        newest: change.below.newest,
    };
    for change in changes {
        let path = change.path.clone();
        let Some(new) = &change.new else { continue };
        let was = change.old.as_ref();
        let differs = was.filter(|old| old.is_dir() != new.is_dir());
        if let Some(old) = differs {
            number += 1;
            steps.push(remove(change, old, number));
        }
        if !new.is_dir() {
            number += 1;
            let old = was.filter(|_| differs.is_none()).map(Seen::of);
            steps.push(Step::Put { path, number, old });
        } else if change.status == Status::Modified {
            // It may have to be written first.
            steps.extend(
                (new.mode & 0o300 == 0o300).then(|| Step::Settle { path: path.clone(), time: false }),
            );
            last.push(Step::Settle { path, time: false });
        } else {
            steps.push(Step::Make { path: path.clone() });
            last.push(Step::Settle { path, time: true });
        }
    }
    for change in changes.iter().filter(|change| change.status == Status::Deleted) {
        if let Some(old) = &change.old {
            number += 1;
            steps.push(remove(change, old, number));
        }
    }
    steps.extend(last.into_iter().rev());
    steps
}

/// What leaves the layer: single entries, and new directories that are applied wholly. What lies in an opaque directory stays,
/// as the directory would hide it; it is no change any more.
fn leaving(all: &[Change], applied: &[Change]) -> Vec<Leaving> {
    let paths: HashSet<&Path> = applied.iter().map(|change| change.path.as_path()).collect();
    // The nearest new directory above each change that is not applied.
    let mut kept: HashSet<&Path> = HashSet::new();
    for change in all.iter().filter(|change| !paths.contains(change.path.as_path())) {
        kept.extend(change.path.ancestors());
    }
    let mut leaving = Vec::new();
    for change in applied.iter().filter(|change| !change.hidden) {
        let path = change.path.clone();
        match &change.new {
            Some(new) if new.is_dir() => {
                let is_new = change.status != Status::Modified;
                if is_new && !kept.contains(path.as_path()) {
                    leaving.push(Leaving { path, tree: true });
                }
            }
            _ => leaving.push(Leaving { path, tree: false }),
        }
    }
    leaving
}
