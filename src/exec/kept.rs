//! Writable layers on disk, outside: a directory with an upper and a work dir, for one sandbox at a time; kept, or gone at the
//! end where a tmpfs can't hold one.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::fs::{DirBuilder, DirEntry};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, RenameFlags, renameat2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;

use super::ExecError;
use super::sources::Source;
use super::subordinate;
use crate::diag::{errno_words, quote};
use crate::layers::{Kind, LayersError, OF_FUSE, Record, Under, WHITEOUT, is_half_applied, is_layer};
use crate::profile::{Origin, OverlayDriver};
use crate::removal;
use crate::sys::mount as sys_mount;

/// The upper dir's name, and the work dir's. What the upper dir's own mode is the root directory has.
const DIRECTORIES: [(&str, u32); 2] = [("upper", 0o755), ("work", 0o700)];

/// What the name of one begins with that is gone at the end. No layer of a user's begins with a dot.
const PASSING: &str = ".passing-";

/// A layer that nobody else has as long as this lives, here or in PID 1.
#[derive(Debug)]
pub(super) struct Kept {
    /// The layer's own directory.
    directory: PathBuf,
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    pub(super) lock: Flock<OwnedFd>,
    /// Where it is, if it is gone at the end.
    passing: Option<(OwnedFd, CString)>,
    /// What it is for, if it has the changes to a directory.
    pub(super) changes: Option<Changes>,
}

/// What a layer has the changes of.
#[derive(Debug)]
pub(super) struct Changes {
    /// The layer's name.
    pub(super) name: String,
    /// The directory, without links in its path.
    pub(super) directory: PathBuf,
    /// What the mode of the upper dir is while nothing was changed.
    mode: u32,
}

/// Where layers are, locked: nobody else makes one meanwhile, or takes away what was left.
pub(super) struct Layers(Flock<OwnedFd>);

/// A layer to be made for what is changed in a directory.
pub(super) struct NewLayer<'l> {
    pub(super) place: Layers,
    pub(super) layers: &'l Path,
    pub(super) stem: &'l str,
    /// The directory.
    pub(super) under: &'l FileStat,
    /// What is written in it.
    pub(super) record: Record,
    pub(super) driver: OverlayDriver,
}

impl Kept {
    /// Takes the layer, which is made if need be. The kernel itself would mount one twice, with a word in its log. `EMEDIUMTYPE`
    /// where another driver has written it.
    pub(super) fn take(directory: &Path, driver: OverlayDriver, origin: &Origin) -> Result<Self, ExecError> {
        take(directory, driver).map_err(|errno| of(directory, errno, origin))
    }

    /// The same for one with what is written to a root filesystem: `EEXIST` where it has something else.
    pub(super) fn take_for_root(
        directory: &Path,
        driver: OverlayDriver,
        origin: &Origin,
    ) -> Result<Self, ExecError> {
        match Record::read(directory) {
            Ok(record) if record.kind == Kind::Overlay => Err(of(directory, Errno::EEXIST, origin)),
            _ => Self::take(directory, driver, origin),
        }
    }

    /// Writes down what the layer lies over now, topmost first, for whoever asks what has changed in it.
    pub(super) fn lies_over(&self, lower: &[Source], origin: &Origin) -> Result<(), ExecError> {
        let layer = &self.directory;
        // What the caller has open only has no path that lasts.
        let lasting = lower.iter().all(|source| source.expect.is_none());
        let path = |source: &Source| Under::at(Path::new(OsStr::from_bytes(source.path.to_bytes())));
        let under = lower.iter().filter(|_| lasting).map(path).collect::<Result<Vec<_>, _>>();
        let written = under.and_then(|under| Under::write(layer, &under));
        written.map_err(|error| of(layer, errno_of(error), origin))
    }

    /// Makes a layer among the others for as long as this lives. What killed sandboxes have left of theirs goes.
    pub(super) fn passing(layers: &Path, origin: &Origin) -> Result<Self, ExecError> {
        let passing = || passing(&sweep(layers, &removal::remove)?, layers, OverlayDriver::Kernel);
        passing().map_err(|errno| of(layers, errno, origin))
    }

    /// Locks the place where layers are, which is made if need be. What killed sandboxes have left of theirs goes.
    pub(super) fn place(layers: &Path, origin: &Origin) -> Result<Layers, ExecError> {
        sweep(layers, &removal::remove).map_err(|errno| of(layers, errno, origin))
    }

    /// Makes a layer for what is changed in a directory: whole, before it has its name.
    pub(super) fn changes(new: NewLayer<'_>, origin: &Origin) -> Result<Self, ExecError> {
        let layers = new.layers;
        changes(new).map_err(|errno| of(layers, errno, origin))
    }

    /// Takes such a layer of an earlier run.
    pub(super) fn changes_again(
        place: Layers,
        (layers, name): (&Path, &str),
        (directory, under): (&Path, &FileStat),
        driver: OverlayDriver,
        origin: &Origin,
    ) -> Result<Self, ExecError> {
        let mut kept = Self::take(&layers.join(name), driver, origin)?;
        drop(place);
        // What an earlier run has changed counts as well.
        let mode = under.st_mode;
        kept.changes = Some(Changes { name: name.to_owned(), directory: directory.to_owned(), mode });
        Ok(kept)
    }

    /// Whether `fuse-overlayfs` writes it.
    pub(super) fn is_of_fuse(&self) -> bool {
        self.upper.parent() != Some(&self.directory)
    }

    /// Whether nothing was changed: there is no entry, and the directory itself is as it was but for its times.
    pub(super) fn is_empty(&self) -> bool {
        let Some(Changes { mode, .. }) = &self.changes else { return false };
        let Ok(upper) = open_directory(&self.upper) else { return false };
        fstat(&upper).is_ok_and(|status| status.st_mode == *mode)
            && !sys_mount::has_attributes(&upper)
            && std::fs::read_dir(&self.upper)
                .is_ok_and(|entries| !entries.into_iter().any(|one| self.holds(one)))
    }

    /// Whether an entry of the upper dir is something. What came and went leaves a mark where `fuse-overlayfs` writes, which hides
    /// nothing.
    fn holds(&self, entry: std::io::Result<DirEntry>) -> bool {
        let (Ok(entry), Some(Changes { directory, .. })) = (entry, &self.changes) else { return true };
        let name = entry.file_name();
        let (hides, marked) = match name.as_bytes().strip_prefix(WHITEOUT) {
            Some(hides) => (OsStr::from_bytes(hides), true),
            None => (name.as_os_str(), entry.file_type().is_ok_and(|kind| kind.is_char_device())),
        };
        !(self.is_of_fuse() && marked && std::fs::symlink_metadata(directory.join(hides)).is_err())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // What can't be removed now is when the next is made.
        if let Some((layers, name)) = &self.passing {
            let _ = subordinate::remove(layers, name);
        } else if let Some(Changes { name, .. }) = self.changes.as_ref().filter(|_| self.is_empty()) {
            let layers = self.directory.parent().map(open_directory);
            if let (Some(Ok(layers)), Ok(name)) = (layers, CString::new(name.as_bytes())) {
                let _ = discard(&layers, &name);
            }
        }
    }
}

/// Takes a layer away that its caller has locked: it has another name first, so that a kill leaves none in part, and what it
/// leaves goes when the next layer is made.
pub(super) fn discard(layers: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let passing = CString::new(passing_name()).unwrap_or_default();
    renameat2(layers, name, layers, passing.as_c_str(), RenameFlags::RENAME_NOREPLACE)?;
    subordinate::remove(layers, &passing)
}

/// Removes a layer that no sandbox writes, with all that is in it.
///
/// # Errors
/// [`LayersError`]: nothing was removed, except where the kernel says no to a part.
pub fn remove(layers: &Path, name: &str) -> Result<(), LayersError> {
    let failed = |errno| LayersError::System { verb: "discard", name: name.to_owned(), errno };
    if !is_layer(layers, name) {
        return Err(LayersError::NotFound { name: name.to_owned() });
    }
    let place = sweep(layers, &subordinate::remove).map_err(failed)?;
    let _locked = lock_alone(&layers.join(name)).map_err(|errno| match errno {
        Errno::EWOULDBLOCK => LayersError::InUse { verb: "discard", name: name.to_owned() },
        errno => failed(errno),
    })?;
    if is_half_applied(&layers.join(name)) {
        return Err(LayersError::HalfApplied { verb: "discard", name: name.to_owned() });
    }
    let text = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
    discard(&place.0, &text).map_err(failed)
}

/// Why a layer can't be had, in words.
pub(super) fn why(path: &Path, errno: Errno) -> String {
    let why = match errno {
        Errno::EWOULDBLOCK => "another sandbox does".to_owned(),
        Errno::EEXIST => "it has the changes to a directory, not those of a root filesystem".to_owned(),
        Errno::EMEDIUMTYPE => {
            "it was written by another overlay driver, which marks otherwise what is gone".to_owned()
        }
        other => errno_words(other),
    };
    format!("cannot write the layer {}: {why}", quote(path))
}

/// What to do about it.
pub(super) fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EWOULDBLOCK => "wait for that one's end, or take another layer",
        Errno::EEXIST => "take another name",
        Errno::EMEDIUMTYPE => {
            "take another layer, or set `filesystem.overlay-driver` to what it was written by"
        }
        _ => "name a directory of your own",
    }
}

fn of(path: &Path, errno: Errno, origin: &Origin) -> ExecError {
    ExecError::Layer { path: path.to_owned(), errno, origin: origin.clone() }
}

/// Where a layer's upper and work dir are, and where they would be if another driver had written it.
fn trees(directory: &Path, driver: OverlayDriver) -> (PathBuf, PathBuf) {
    let of_fuse = directory.join(OF_FUSE);
    match driver {
        OverlayDriver::Kernel => (directory.to_owned(), of_fuse),
        OverlayDriver::FuseOverlayfs => (of_fuse, directory.join(DIRECTORIES[0].0)),
    }
}

fn take(directory: &Path, driver: OverlayDriver) -> nix::Result<Kept> {
    make(directory, 0o700)?;
    let lock = lock_alone(directory)?;
    let (tree, anothers) = trees(directory, driver);
    if std::fs::symlink_metadata(anothers).is_ok() {
        return Err(Errno::EMEDIUMTYPE);
    }
    let [upper, work] = DIRECTORIES.map(|(name, mode)| (tree.join(name), mode));
    let tree = (tree, 0o700);
    for (path, mode) in [&tree, &upper, &work] {
        make(path, *mode)?;
        // The last sandbox may have been able to put a link in their place.
        if !std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
            return Err(Errno::ELOOP);
        }
    }
    let directory = directory.to_owned();
    Ok(Kept { directory, upper: upper.0, work: work.0, lock, passing: None, changes: None })
}

/// What takes a directory away with all that is in it.
type Remove<'r> = &'r dyn Fn(&OwnedFd, &CString) -> nix::Result<()>;

fn sweep(layers: &Path, remove: Remove<'_>) -> nix::Result<Layers> {
    make(layers, 0o700)?;
    // Nobody makes one while another sweeps.
    let all = lock(layers, FlockArg::LockExclusive)?;
    for entry in std::fs::read_dir(layers).into_iter().flatten().flatten() {
        let is_left = |name: &OsStr| name.as_bytes().starts_with(PASSING.as_bytes());
        if is_left(&entry.file_name()) && lock(&entry.path(), FlockArg::LockExclusiveNonblock).is_ok() {
            let _ = remove(&all, &CString::new(entry.file_name().as_bytes()).unwrap_or_default());
        }
    }
    Ok(Layers(all))
}

/// A name that no other layer has.
fn passing_name() -> String {
    let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{PASSING}{}-{}", std::process::id(), number.map_or(0, |time| time.subsec_nanos()))
}

fn passing(place: &Layers, layers: &Path, driver: OverlayDriver) -> nix::Result<Kept> {
    let name = passing_name();
    let text = CString::new(name.as_str()).unwrap_or_default();
    let place = place.0.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut kept = take(&layers.join(&name), driver).inspect_err(|_| {
        let _ = removal::remove(&place, &text);
    })?;
    kept.passing = Some((place, text));
    Ok(kept)
}

fn changes(new: NewLayer<'_>) -> nix::Result<Kept> {
    let NewLayer { place, layers, stem, under, mut record, driver } = new;
    let mut kept = passing(&place, layers, driver)?;
    let upper = open_directory(&kept.upper)?;
    sys_mount::hold_attributes(&upper)?;
    // The root of an overlay is what its upper dir is.
    fchmod(&upper, Mode::from_bits_truncate(under.st_mode & 0o7777))?;
    let time = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
    let (read, written) =
        (time(under.st_atime, under.st_atime_nsec), time(under.st_mtime, under.st_mtime_nsec));
    futimens(&upper, &read, &written)?;
    let status = fstat(&upper)?;
    // Where times of files are finer than that clock (Linux 6.13), they still come one after the other.
    record.created =
        record.created.max(i128::from(status.st_ctime) * 1_000_000_000 + i128::from(status.st_ctime_nsec));
    let mode = status.st_mode;
    let directory = record.directory.clone();
    let made = kept.directory.clone();
    record.write(&made).map_err(errno_of)?;
    let last = std::fs::read_dir(layers).into_iter().flatten().flatten();
    let last = last.filter_map(|entry| number_of(&entry.file_name(), stem)).max().unwrap_or(0);
    for number in last.saturating_add(1)..=u64::MAX {
        let name = format!("{stem}-{number}");
        match renameat2(&*place.0, &made, &*place.0, name.as_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {
                kept.passing = None;
                kept.directory = layers.join(&name);
                let (tree, _) = trees(&kept.directory, driver);
                [kept.upper, kept.work] = DIRECTORIES.map(|(part, _)| tree.join(part));
                kept.changes = Some(Changes { name, directory, mode });
                return Ok(kept);
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EEXIST)
}

/// The number of a layer with this stem.
fn number_of(name: &OsStr, stem: &str) -> Option<u64> {
    name.to_str()?.strip_prefix(stem)?.strip_prefix('-')?.parse().ok()
}

fn make(path: &Path, mode: u32) -> nix::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(errno_of)
}

fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

fn lock(directory: &Path, how: FlockArg) -> nix::Result<Flock<OwnedFd>> {
    Flock::lock(open_directory(directory)?, how).map_err(|(_, errno)| errno)
}

/// Locks a layer, which nobody may have; who lists layers has each for a moment.
fn lock_alone(directory: &Path) -> nix::Result<Flock<OwnedFd>> {
    for _ in 0..5 {
        match lock(directory, FlockArg::LockExclusiveNonblock) {
            Err(Errno::EWOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    Err(Errno::EWOULDBLOCK)
}
