//! Compares a layer's upper dir with the directory that it lies over: one visit for each entry of the upper dir, and for what
//! its whiteouts and opaque directories hide.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::error::ChangesError;
use super::node::{Attributes, Directory, Kind, Node, join};
use super::{Change, Status, compare};
use crate::layers::{OPAQUE, WHITEOUT};

/// A tree below a deleted directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Below {
    /// Entries in it.
    pub(super) entries: u64,
    /// When the one that was changed last was: nanoseconds since 1970.
    pub(super) newest: i128,
    /// A directory in it, or it, is another user's.
    pub(super) foreign: bool,
}

/// Where to look.
pub(super) struct Trees<'a> {
    /// The upper dir.
    pub(super) upper: BorrowedFd<'a>,
    /// The directory, if there is one.
    pub(super) lower: Option<BorrowedFd<'a>>,
    /// Whiteouts may be files with names of their own, as fuse-overlayfs makes them where it may not make devices.
    pub(super) by_name: bool,
}

/// A directory of the upper dir that is still to be looked at.
struct Waiting {
    path: PathBuf,
    /// Whether the lower side has a directory there, too.
    both: bool,
    /// Whether what the lower side has in it is hidden, by it or by one above.
    hidden: bool,
}

struct Walk<'a> {
    trees: Trees<'a>,
    waiting: Vec<Waiting>,
    changes: Vec<Change>,
    /// Directories of the upper dir that can't be read.
    unreadable: Vec<PathBuf>,
    contents: compare::Contents,
}

/// Every change, in the bytewise order of paths.
pub(super) fn walk(trees: Trees<'_>) -> Result<Vec<Change>, ChangesError> {
    let both = trees.lower.is_some();
    let first = Waiting { path: PathBuf::new(), both, hidden: false };
    let mut walk = Walk {
        trees,
        waiting: vec![first],
        changes: Vec::new(),
        unreadable: Vec::new(),
        contents: compare::Contents::new(),
    };
    walk.top()?;
    while let Some(next) = walk.waiting.pop() {
        walk.directory(&next)?;
    }
    walk.changes.sort_unstable_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    for path in walk.unreadable {
        let key = path.as_os_str().as_bytes();
        match walk.changes.binary_search_by(|change| change.path.as_os_str().as_bytes().cmp(key)) {
            Ok(found) => walk.changes[found].unreadable = true,
            Err(place) => {
                let unknown = Change::new(path, Status::Modified, None, None);
                walk.changes.insert(place, Change { unreadable: true, ..unknown });
            }
        }
    }
    Ok(walk.changes)
}

/// The error for a path of one of the trees.
fn at(path: &Path) -> impl Fn(Errno) -> ChangesError {
    move |errno| ChangesError::Read { path: path.to_owned(), errno }
}

/// What one directory has on both sides.
struct Pair<'a> {
    path: &'a Path,
    upper: Directory,
    lower: Option<Directory>,
    hidden: bool,
    /// Whiteouts in it may be files with an attribute.
    marked: bool,
}

impl Walk<'_> {
    /// The directory itself: a program may change its mode.
    fn top(&mut self) -> Result<(), ChangesError> {
        let Some(lower) = self.trees.lower else { return Ok(()) };
        let here = Path::new("");
        let upper = Directory::open(self.trees.upper, here).map_err(at(here))?;
        let lower = Directory::open(lower, here).map_err(at(here))?;
        let nodes = (upper.itself().map_err(at(here))?, lower.itself().map_err(at(here))?);
        let attributes = upper.attributes(OsStr::new(""), Kind::Directory).map_err(at(here))?;
        let pair = Pair { path: here, upper, lower: Some(lower), hidden: false, marked: false };
        self.both(&pair, OsStr::new(""), nodes, &attributes)
    }

    fn directory(&mut self, next: &Waiting) -> Result<(), ChangesError> {
        let path = next.path.as_path();
        let upper = match Directory::open(self.trees.upper, path) {
            // Who made it knows why; what is in it stays unknown, and is said to be.
            // A path that is too long for the kernel is so for every program.
            Err(Errno::EACCES | Errno::ENAMETOOLONG) => {
                self.unreadable.push(path.to_owned());
                return Ok(());
            }
            // A sandbox that still has the layer took it away.
            Err(Errno::ENOENT) => return Ok(()),
            upper => upper.map_err(at(path))?,
        };
        let lower = match self.trees.lower.filter(|_| next.both) {
            Some(lower) => Some(Directory::open(lower, path).map_err(at(path))?),
            None => None,
        };
        let own = upper.attributes(OsStr::new(""), Kind::Directory).map_err(at(path))?;
        let names = upper.names().map_err(at(path))?;
        let by_name = self.trees.by_name;
        let opaque = own.opaque == Some(b'y')
            || by_name && (own.fuse_opaque || names.iter().any(|name| OPAQUE.contains(&name.as_bytes())));
        let hidden = next.hidden || opaque;
        let pair = Pair { path, upper, lower, hidden, marked: own.opaque == Some(b'x') };
        let (mut there, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            if by_name && OPAQUE.contains(&name.as_bytes()) {
                continue;
            }
            match name.as_bytes().strip_prefix(WHITEOUT).filter(|_| by_name) {
                Some(hides) => {
                    gone.insert(OsString::from_vec(hides.to_vec()));
                }
                None if self.entry(&pair, &name)? => {
                    there.insert(name);
                }
                None => {
                    gone.insert(name);
                }
            }
        }
        if let (true, Some(lower)) = (hidden, &pair.lower) {
            gone.extend(lower.names().map_err(at(path))?);
        }
        gone.iter().filter(|name| !there.contains(*name)).try_for_each(|name| self.deleted(&pair, name))
    }

    /// One entry of the upper dir; whether it is there, and no whiteout.
    fn entry(&mut self, pair: &Pair<'_>, name: &OsStr) -> Result<bool, ChangesError> {
        let path = join(pair.path, name);
        let Some(new) = pair.upper.node(name).map_err(at(&path))? else { return Ok(true) };
        if new.kind == Kind::Device && new.device == 0 {
            return Ok(false);
        }
        let attributes = match pair.upper.attributes(name, new.kind) {
            // Without reading it no attribute of the user's can be read.
            Err(Errno::EACCES | Errno::ENOENT) => Attributes::default(),
            attributes => attributes.map_err(at(&path))?,
        };
        if attributes.elsewhere {
            return Err(ChangesError::Elsewhere { path });
        }
        if pair.marked && attributes.whiteout && new.kind == Kind::File && new.size == 0 {
            return Ok(false);
        }
        let old = match &pair.lower {
            Some(lower) => lower.node(name).map_err(at(&path))?,
            None => None,
        };
        match old {
            Some(old) if old.kind == new.kind => self.both(pair, name, (new, old), &attributes)?,
            old => self.one(pair, path, new, old, &attributes)?,
        }
        Ok(true)
    }

    /// Something that is only on the upper side, or something else on the lower one.
    fn one(
        &mut self,
        pair: &Pair<'_>,
        path: PathBuf,
        new: Node,
        old: Option<Node>,
        attributes: &Attributes,
    ) -> Result<(), ChangesError> {
        let status = if old.is_some() { Status::TypeChanged } else { Status::Added };
        if new.is_dir() {
            self.waiting.push(Waiting { path: path.clone(), both: false, hidden: pair.hidden });
        }
        let mut change = Change::new(path, status, old, Some(new));
        self.count(&mut change)?;
        change.from_below = attributes.from_below && status == Status::Added;
        change.capabilities = attributes.capabilities;
        change.hidden = pair.hidden;
        self.changes.push(change);
        Ok(())
    }

    /// The same kind on both sides.
    fn both(
        &mut self,
        pair: &Pair<'_>,
        name: &OsStr,
        (new, old): (Node, Node),
        attributes: &Attributes,
    ) -> Result<(), ChangesError> {
        let path = join(pair.path, name);
        let Some(lower) = &pair.lower else { return Ok(()) };
        if new.is_dir() && !name.is_empty() {
            self.waiting.push(Waiting { path: path.clone(), both: true, hidden: pair.hidden });
        }
        let mut change = Change::new(path, Status::Modified, Some(old), Some(new));
        change.capabilities = attributes.capabilities;
        change.hidden = pair.hidden;
        let (Some(new), Some(old)) = (&change.new, &change.old) else { return Ok(()) };
        change.mode = new.mode != old.mode && new.kind != Kind::Link;
        change.target = new.target != old.target;
        match lower.attributes(name, old.kind) {
            Err(Errno::EACCES) => change.unreadable = true,
            theirs => change.attributes = theirs.map_err(at(&change.path))?.own != attributes.own,
        }
        change.content = match new.kind {
            Kind::File if new.size != old.size => true,
            Kind::File => match self.contents.differ((&pair.upper, lower), name, new.size) {
                Err(Errno::EACCES) => {
                    change.unreadable = true;
                    true
                }
                Err(Errno::ENOENT) => true,
                differ => differ.map_err(at(&change.path))?,
            },
            Kind::Device => new.device != old.device,
            _ => false,
        };
        if change.mode || change.target || change.attributes || change.content || change.unreadable {
            self.changes.push(change);
        }
        Ok(())
    }

    /// Something that the upper side hides.
    fn deleted(&mut self, pair: &Pair<'_>, name: &OsStr) -> Result<(), ChangesError> {
        let path = join(pair.path, name);
        let Some(lower) = &pair.lower else { return Ok(()) };
        let Some(old) = lower.node(name).map_err(at(&path))? else { return Ok(()) };
        let mut change = Change::new(path, Status::Deleted, Some(old), None);
        self.count(&mut change)?;
        change.hidden = pair.hidden;
        self.changes.push(change);
        Ok(())
    }

    /// What goes with a directory.
    fn count(&self, change: &mut Change) -> Result<(), ChangesError> {
        if let (Some(lower), true) = (self.trees.lower, change.old.as_ref().is_some_and(Node::is_dir)) {
            let (below, unreadable) = below(lower, &change.path)?;
            change.below = below;
            change.unreadable |= unreadable;
        }
        Ok(())
    }
}

/// What lies below a directory, and whether a part of it can't be seen.
pub(super) fn below(root: BorrowedFd<'_>, path: &Path) -> Result<(Below, bool), ChangesError> {
    let (mut found, mut unreadable) = (Below::default(), false);
    let me = nix::unistd::geteuid().as_raw();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let directory = match Directory::open(root.as_fd(), &path) {
            // What is mounted there is not a part of it, and keeps it from being deleted.
            Err(Errno::EACCES | Errno::EXDEV | Errno::ENAMETOOLONG) => {
                unreadable = true;
                continue;
            }
            directory => directory.map_err(at(&path))?,
        };
        for name in directory.names().map_err(at(&path))? {
            let below = join(&path, &name);
            let Some(node) = directory.node(&name).map_err(at(&below))? else { continue };
            found.entries += 1;
            found.newest = found.newest.max(node.changed);
            if node.is_dir() {
                found.foreign |= node.owner != me;
                waiting.push(below);
            }
        }
    }
    Ok((found, unreadable))
}
