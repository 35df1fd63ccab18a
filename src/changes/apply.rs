//! Carries changes over: everything is checked, then made ready beside, then written down, and only then changed, name by name.
//! A kill at any moment leaves nothing changed, or a journal that the next `sbx apply` follows to its end.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, fchmod, fstat, futimens, mkdirat};
use nix::unistd::{fsync, syncfs};

use super::check::{self, Checked};
use super::error::ChangesError;
use super::journal::{Journal, Seen, Step};
use super::node::{Directory, Kind, open_below};
use super::settled::touched;
use super::stage::{self, Stage, dress, numbered, times};
use super::{Change, Layer, select, walk};

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

/// Steps up to which each is brought to the disk by itself: a whole filesystem may have much of others to write.
const FEW: usize = 32;

type Left = Vec<(PathBuf, &'static str)>;

/// Carries the changes at or below `typed`, or all of them, over to the layer's directory.
///
/// # Errors
/// [`ChangesError`]: nothing is changed, but for [`ChangesError::Write`] that says so.
pub fn apply(layer: &Layer, typed: &[PathBuf], dry_run: bool) -> Result<Applied, ChangesError> {
    let of_none = || ChangesError::OfNoDirectory(layer.name.clone());
    let lower = layer.lower.as_ref().filter(|_| layer.is_of_directory()).ok_or_else(of_none)?;
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

pub(super) struct Apply<'a> {
    pub(super) layer: &'a Layer,
    pub(super) lower: &'a OwnedFd,
}

impl Apply<'_> {
    fn write(path: &Path, begun: bool) -> impl Fn(Errno) -> ChangesError {
        move |errno| ChangesError::Write { path: path.to_owned(), errno, begun }
    }

    /// What an earlier `sbx apply` was about to do. One that had only made things ready has changed nothing, and is forgotten.
    fn journal(&self) -> Result<Option<Journal>, ChangesError> {
        let path = || self.layer.path.join(crate::layers::JOURNAL);
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
        // That it came and went is nobody else's doing, if nothing else did.
        let parent = journal.stage.parent().unwrap_or(Path::new(""));
        if stage::names(self.lower, parent).is_ok_and(|names| names == journal.names) {
            let _ = self.remember(journal, [parent]);
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
        let place = stage::place(&checked.stage);
        let failed = Self::write(&place, false);
        let names = stage::names(self.lower, &checked.stage).map_err(&failed)?;
        let foreign = self.foreign(&checked.steps, &place).map_err(&failed)?;
        let mut journal = Journal::new(place.clone(), names, foreign);
        let written = journal.write(&self.layer.dir).map_err(&failed);
        if let Err(error) = written.and_then(|()| self.make_ready(&journal, &checked.steps)) {
            // Nothing has changed yet, and nothing of it stays.
            let _ = self.forget(&journal);
            return Err(error);
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
        let mut stage =
            Stage::make(self.lower, &journal.stage, steps.len() <= FEW, self.layer.ids.carries_owners())
                .map_err(&failed)?;
        for step in steps {
            if let Step::Put { path, number, .. } = step {
                stage.ready(&self.layer.upper, path, *number).map_err(Self::write(path, false))?;
            }
        }
        stage.sync().map_err(failed)
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
            self.sync(stage, &journal).map_err(&failed)?;
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
            let steps = journal.steps.as_deref().unwrap_or_default();
            self.remember(&journal, touched(steps, &place)).map_err(&failed)?;
            Journal::remove(&self.layer.dir).map_err(failed)?;
        }
        let name = self.layer.name.clone();
        Ok(((!left.is_empty()).then_some(ChangesError::Left { name, entries: left }), gone))
    }

    /// Has what the steps have changed on the disk.
    fn sync(&self, stage: &Stage, journal: &Journal) -> nix::Result<()> {
        let steps = journal.steps.as_deref().unwrap_or_default();
        if steps.len() > FEW {
            return syncfs(&stage.dir.0);
        }
        for path in touched(steps, &journal.stage) {
            if let Ok(directory) = Directory::open(self.lower, path) {
                fsync(&directory.0)?;
            }
        }
        Ok(())
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
        let owners = self.layer.ids.carries_owners();
        dress(&there.0, &there.path_of(OsStr::new("")), (&status, &wanted), owners)?;
        if time {
            let (accessed, modified) = times(&status);
            futimens(&there.0, &accessed, &modified)?;
        }
        Ok(None)
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
