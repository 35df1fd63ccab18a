//! Writable layers on disk, outside: a directory with an upper and a work dir, for one sandbox at a time; kept, or gone at the
//! end where a tmpfs can't hold one.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::ExecError;
use crate::profile::Origin;
use crate::removal;

/// The upper dir's name, and the work dir's. What the upper dir's own mode is the root directory has.
const DIRECTORIES: [(&str, u32); 2] = [("upper", 0o755), ("work", 0o700)];

/// What the name of one begins with that is gone at the end. No layer of a user's begins with a dot.
const PASSING: &str = ".passing-";

/// A layer that nobody else has as long as this lives, here or in PID 1.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    pub(super) lock: Flock<OwnedFd>,
    /// Where it is, if it is gone at the end.
    passing: Option<(OwnedFd, CString)>,
}

impl Kept {
    /// Takes the layer, which is made if need be. The kernel itself would mount one twice, with a word in its log.
    pub(super) fn take(directory: &Path, origin: &Origin) -> Result<Self, ExecError> {
        take(directory).map_err(|errno| of(directory, errno, origin))
    }

    /// Makes a layer among the others for as long as this lives. What killed sandboxes have left of theirs goes.
    pub(super) fn passing(layers: &Path, origin: &Origin) -> Result<Self, ExecError> {
        passing(layers).map_err(|errno| of(layers, errno, origin))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((layers, name)) = &self.passing {
            // What can't be removed now is when the next is made.
            let _ = removal::remove(layers, name);
        }
    }
}

fn of(path: &Path, errno: Errno, origin: &Origin) -> ExecError {
    ExecError::Layer { path: path.to_owned(), errno, origin: origin.clone() }
}

fn take(directory: &Path) -> nix::Result<Kept> {
    make(directory, 0o700)?;
    let lock = lock(directory, FlockArg::LockExclusiveNonblock)?;
    let [upper, work] = DIRECTORIES.map(|(name, mode)| (directory.join(name), mode));
    for (path, mode) in [&upper, &work] {
        make(path, *mode)?;
        // The last sandbox may have been able to put a link in their place.
        if !std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
            return Err(Errno::ELOOP);
        }
    }
    Ok(Kept { upper: upper.0, work: work.0, lock, passing: None })
}

fn passing(layers: &Path) -> nix::Result<Kept> {
    make(layers, 0o700)?;
    // Nobody makes one while another sweeps.
    let all = lock(layers, FlockArg::LockExclusive)?;
    for entry in std::fs::read_dir(layers).into_iter().flatten().flatten() {
        let is_left = |name: &OsStr| name.as_bytes().starts_with(PASSING.as_bytes());
        if is_left(&entry.file_name()) && lock(&entry.path(), FlockArg::LockExclusiveNonblock).is_ok() {
            let _ = removal::remove(&all, &CString::new(entry.file_name().as_bytes()).unwrap_or_default());
        }
    }
    let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let name = format!("{PASSING}{}-{}", std::process::id(), number.map_or(0, |time| time.subsec_nanos()));
    let mut kept = take(&layers.join(&name))?;
    let place = all.try_clone().map_err(|_| Errno::EMFILE)?;
    kept.passing = Some((place, CString::new(name).unwrap_or_default()));
    Ok(kept)
}

fn make(path: &Path, mode: u32) -> nix::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

fn lock(directory: &Path, how: FlockArg) -> nix::Result<Flock<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(directory, flags, nix::sys::stat::Mode::empty())?;
    Flock::lock(opened, how).map_err(|(_, errno)| errno)
}
