//! Carries changes over: everything is checked, then made ready beside, then written down, and only then changed, name by name.
//! A kill at any moment leaves nothing changed, or a journal that the next `sbx apply` follows to its end.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, fchmod, fstat, futimens, mkdirat};
use nix::unistd::{UnlinkatFlags, syncfs, unlinkat};

use super::check::{self, Checked};
use super::error::ChangesError;
use super::journal::{Journal, Leaving, Seen, Step};
use super::known::Known;
use super::node::{Directory, Kind, open_below};
use super::stage::{self, Stage, dress, numbered, times};
use super::{Change, Layer, select, walk};
use crate::exec::removal;

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// What the directory has now.
    pub changes: Vec<Change>,
    /// What an earlier `sbx apply` had begun is finished.
    pub finished: bool,
    /// What can't be applied, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
    /// The layer had nothing else, and is gone.
    pub gone: bool,
    /// What came between.
    pub left: Option<ChangesError>,
}

type Left = Vec<(PathBuf, &'static str)>;

/// Carries the changes at or below `typed`, or all of them, over to the layer's directory.
///
/// # Errors
/// [`ChangesError`]: nothing is changed, but for [`ChangesError::Write`] that says so.
pub fn apply(layer: &Layer, typed: &[PathBuf], dry_run: bool) -> Result<Applied, ChangesError> {
    let of_none = || ChangesError::OfNoDirectory(layer.name.clone());
    let lower = layer.lower.as_ref().ok_or_else(of_none)?;
    let locked = layer.lock().map_err(|errno| ChangesError::Layer { path: layer.path.clone(), errno })?;
    let _lock = locked.ok_or_else(|| ChangesError::InUse(layer.name.clone()))?;
    let apply = Apply { layer, lower };
    let mut applied = Applied::default();
    if let Some(journal) = apply.journal()? {
        if dry_run {
            return Err(ChangesError::HalfApplied(layer.name.clone()));
        }
        (applied.left, applied.gone) = apply.finish(journal)?;
        applied.finished = true;
        if applied.gone || applied.left.is_some() {
            return Ok(applied);
        }
    }
    let all = layer.changes()?;
    let selected = match select::select(all.clone(), layer, typed) {
        // They are what was just finished.
        Err(ChangesError::NoChange(_)) if applied.finished => return Ok(applied),
        selected => check::with_parents(&all, selected?),
    };
    let checked = check::check(layer, lower, &all, selected, typed)?;
    if !dry_run {
        (applied.left, applied.gone) = apply.carry_over(&checked, all.len())?;
    }
    applied.changes = checked.changes;
    applied.left_out = checked.left_out;
    Ok(applied)
}

struct Apply<'a> {
    layer: &'a Layer,
    lower: &'a OwnedFd,
}

impl Apply<'_> {
    fn write(path: &Path, begun: bool) -> impl Fn(Errno) -> ChangesError {
        move |errno| ChangesError::Write { path: path.to_owned(), errno, begun }
    }

    /// What an earlier `sbx apply` was about to do. One that had only made things ready has changed nothing, and is forgotten.
    fn journal(&self) -> Result<Option<Journal>, ChangesError> {
        let path = || self.layer.path.join(super::layer::JOURNAL);
        let journal = Journal::read(&self.layer.dir);
        let journal =
            journal.map_err(|error| ChangesError::Record { path: path(), why: error.to_string() })?;
        match journal {
            Some(journal) if journal.steps.is_none() => {
                self.forget(&journal)?;
                Ok(None)
            }
            journal => Ok(journal),
        }
    }

    /// Removes the stage and the journal.
    fn forget(&self, journal: &Journal) -> Result<(), ChangesError> {
        let failed = Self::write(&journal.stage, false);
        if let Some(stage) = Stage::open(self.lower, &journal.stage).map_err(&failed)? {
            stage.remove().map_err(&failed)?;
        }
        Journal::remove(&self.layer.dir).map_err(failed)
    }

    fn carry_over(
        &self,
        checked: &Checked,
        all: usize,
    ) -> Result<(Option<ChangesError>, bool), ChangesError> {
        if checked.steps.is_empty() {
            return Ok((None, false));
        }
        let mut journal = Journal::new(stage::place(&checked.stage));
        let stage = journal.stage.clone();
        let failed = Self::write(&stage, false);
        journal.write(&self.layer.dir).map_err(&failed)?;
        let ready = self.make_ready(&journal, &checked.steps);
        if ready.is_err() {
            // Nothing has changed yet, and nothing of it stays.
            let _ = self.forget(&journal);
            ready?;
        }
        journal.steps = Some(checked.steps.clone());
        journal.leaving = checked.leaving.clone();
        journal.whole = checked.changes.len() == all;
        if let Err(errno) = journal.write(&self.layer.dir) {
            let _ = self.forget(&journal);
            return Err(failed(errno));
        }
        self.finish(journal)
    }

    fn make_ready(&self, journal: &Journal, steps: &[Step]) -> Result<(), ChangesError> {
        let failed = Self::write(&journal.stage, false);
        let mut stage = Stage::make(self.lower, &journal.stage).map_err(&failed)?;
        for step in steps {
            if let Step::Put { path, number, .. } = step {
                stage.ready(&self.layer.upper, path, *number).map_err(Self::write(path, false))?;
            }
        }
        syncfs(&stage.dir.0).map_err(failed)
    }

    /// Does what the journal says, from wherever it was left.
    fn finish(&self, mut journal: Journal) -> Result<(Option<ChangesError>, bool), ChangesError> {
        let place = journal.stage.clone();
        let failed = Self::write(&place, true);
        let stage = Stage::open(self.lower, &place).map_err(&failed)?;
        let mut left = Left::new();
        if !journal.done {
            // Without it nothing can be told of what was done: it is looked at anew.
            let Some(stage) = &stage else {
                return Journal::remove(&self.layer.dir).map_err(failed).map(|()| (None, false));
            };
            for step in journal.steps.iter().flatten() {
                let why = self.step(stage, step).map_err(Self::write(step.path(), true))?;
                left.extend(why.map(|why| (step.path().to_owned(), why)));
            }
            syncfs(&stage.dir.0).map_err(&failed)?;
            // What could not be done stays in the layer.
            journal.leaving.retain(|leaving| !left.iter().any(|(path, _)| path.starts_with(&leaving.path)));
            journal.whole &= left.is_empty();
            journal.done = true;
            journal.write(&self.layer.dir).map_err(&failed)?;
        }
        if let Some(stage) = stage {
            stage.remove().map_err(&failed)?;
        }
        let gone = journal.whole && self.remove_layer().is_ok();
        if !gone {
            for leaving in &journal.leaving {
                self.leave(leaving).map_err(Self::write(&leaving.path, true))?;
            }
            self.remember(&journal).map_err(&failed)?;
            Journal::remove(&self.layer.dir).map_err(failed)?;
        }
        let name = self.layer.name.clone();
        Ok(((!left.is_empty()).then_some(ChangesError::Left { name, entries: left }), gone))
    }

    /// Writes down which times in the directory are from here.
    fn remember(&self, journal: &Journal) -> nix::Result<()> {
        let mut known = Known::read(&self.layer.dir);
        let steps = journal.steps.iter().flatten().map(Step::path).chain([journal.stage.as_path()]);
        let paths: BTreeSet<&Path> = steps.flat_map(|path| [Some(path), path.parent()]).flatten().collect();
        for path in paths {
            let changed = match path.file_name() {
                None => Directory::open(self.lower, path)?.itself()?.changed,
                Some(name) => match Directory::open(self.lower, path.parent().unwrap_or(Path::new(""))) {
                    Err(_) => continue,
                    Ok(parent) => match parent.node(name)? {
                        None => continue,
                        Some(node) => node.changed,
                    },
                },
            };
            known.0.insert(path.to_owned(), changed);
        }
        known.write(&self.layer.dir)
    }

    /// Does one thing, or says why somebody else's change keeps it from being done.
    fn step(&self, stage: &Stage, step: &Step) -> nix::Result<Option<&'static str>> {
        const GONE: Option<&str> = Some("its directory is another one now");
        let path = step.path();
        if let Step::Settle { time, .. } = step {
            return self.settle(path, *time);
        }
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = match open_below(self.lower, above, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => return Ok(GONE),
            parent => Directory(parent?),
        };
        match step {
            Step::Put { number, old, .. } => put(stage, *number, &parent, name, *old),
            Step::Remove { number, old, newest, .. } => {
                self.remove(stage, *number, (&parent, name), path, (*old, *newest))
            }
            Step::Make { .. } => match mkdirat(&parent.0, name, Mode::S_IRWXU) {
                Err(Errno::EEXIST) => {
                    let is_dir = parent.node(name)?.is_some_and(|node| node.is_dir());
                    Ok((!is_dir).then_some("something else is there now"))
                }
                made => made.map(|()| None),
            },
            Step::Settle { .. } => Ok(None),
        }
    }

    /// Moves what is there away, as it is.
    fn remove(
        &self,
        stage: &Stage,
        number: u64,
        (parent, name): (&Directory, &OsStr),
        path: &Path,
        (old, newest): (Seen, i128),
    ) -> nix::Result<Option<&'static str>> {
        const CHANGED: Option<&str> = Some("it was changed just now");
        let aside = numbered(number);
        if stage.dir.node(OsStr::new(&aside))?.is_some() {
            return Ok(None);
        }
        let Some(there) = parent.node(name)? else { return Ok(None) };
        if !old.is(&there) {
            return Ok(CHANGED);
        }
        if there.is_dir() {
            match walk::below(std::os::fd::AsFd::as_fd(self.lower), path) {
                Ok((below, false)) if below.newest <= newest => {}
                _ => return Ok(CHANGED),
            }
        }
        let away = || {
            let flags = RenameFlags::RENAME_NOREPLACE;
            renameat2(&parent.0, name, &stage.dir.0, aside.as_str(), flags)
        };
        match away() {
            // A directory that its owner can't write can't be moved either.
            Err(Errno::EACCES) if there.is_dir() => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let itself = openat(&parent.0, name, flags, Mode::empty())?;
                fchmod(&itself, Mode::from_bits_truncate(there.mode | 0o700))?;
                away()?;
            }
            moved => moved?,
        }
        let moved = stage.dir.node(OsStr::new(&aside))?;
        if moved.is_some_and(|moved| Seen::of(&moved).same_file(&old)) {
            return Ok(None);
        }
        // Something else had come to its place.
        renameat2(&stage.dir.0, aside.as_str(), &parent.0, name, RenameFlags::RENAME_NOREPLACE)?;
        Ok(CHANGED)
    }

    /// Gives a directory what it has in the layer.
    fn settle(&self, path: &Path, time: bool) -> nix::Result<Option<&'static str>> {
        let there = match Directory::open(self.lower, path) {
            // Done before, and closed by it.
            Err(Errno::EACCES) => return Ok(None),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {
                return Ok(Some("another one is there now"));
            }
            there => there?,
        };
        let from = Directory::open(&self.layer.upper, path)?;
        let status = fstat(&from.0)?;
        let wanted = from.attributes(OsStr::new(""), Kind::Directory)?;
        dress(&there.0, &there.path_of(OsStr::new("")), &status, &wanted)?;
        if time {
            let (accessed, modified) = times(&status);
            futimens(&there.0, &accessed, &modified)?;
        }
        Ok(None)
    }

    /// Takes what is applied out of the layer.
    fn leave(&self, leaving: &Leaving) -> nix::Result<()> {
        let Some(name) = leaving.path.file_name() else { return Ok(()) };
        let above = leaving.path.parent().unwrap_or(Path::new(""));
        let parent = match open_below(&self.layer.upper, above, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => return Ok(()),
            parent => parent?,
        };
        let unless_gone = |result| match result {
            Err(Errno::ENOENT) => Ok(()),
            result => result,
        };
        if leaving.tree {
            let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
            return unless_gone(removal::remove(&parent, &name));
        }
        unless_gone(unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir))?;
        if !self.layer.is_by_name() {
            return Ok(());
        }
        let mut whiteout = walk::WHITEOUT.to_vec();
        whiteout.extend_from_slice(name.as_bytes());
        unless_gone(unlinkat(&parent, OsStr::from_bytes(&whiteout), UnlinkatFlags::NoRemoveDir))
    }

    /// Removes the layer, first from sight: it is never seen as a part of itself.
    fn remove_layer(&self) -> nix::Result<()> {
        let above = self.layer.path.parent().ok_or(Errno::EINVAL)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let above = nix::fcntl::open(above, flags, Mode::empty())?;
        let passing = format!(".passing-applied-{}", &stage::new_name()[1..]);
        renameat(&above, self.layer.name.as_os_str(), &above, passing.as_str())?;
        // What can't be removed now is when the next layer is made.
        let _ = removal::remove(&above, &CString::new(passing).unwrap_or_default());
        Ok(())
    }
}

/// What lies ready takes the place of what was checked, at once.
fn put(
    stage: &Stage,
    number: u64,
    parent: &Directory,
    name: &OsStr,
    old: Option<Seen>,
) -> nix::Result<Option<&'static str>> {
    let ready = numbered(number);
    let there = parent.node(name)?;
    if stage.dir.node(OsStr::new(&ready))?.is_none() {
        let is_done = there.is_some_and(|node| !old.is_some_and(|old| old.is(&node)));
        return Ok((!is_done).then_some("what lay ready for it is gone"));
    }
    match (&there, old) {
        (None, None) => {
            let flags = RenameFlags::RENAME_NOREPLACE;
            match renameat2(&stage.dir.0, ready.as_str(), &parent.0, name, flags) {
                Err(Errno::EEXIST) => Ok(Some("something is there now")),
                // A filesystem that can't do that at once.
                Err(Errno::EINVAL) => renameat(&stage.dir.0, ready.as_str(), &parent.0, name).map(|()| None),
                put => put.map(|()| None),
            }
        }
        (Some(node), Some(old)) if old.is(node) => {
            renameat(&stage.dir.0, ready.as_str(), &parent.0, name).map(|()| None)
        }
        _ => Ok(Some("it was changed just now")),
    }
}
