//! Writable layers on disk, outside: a directory with an upper and a work dir, for one sandbox at a time; kept, or gone at the
//! end where a tmpfs can't hold one.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::DirBuilder;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::ExecError;
use super::removal;
use super::subordinate;
use crate::plan::Identity;
use crate::profile::Origin;

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
    /// Where it is, if it is gone at the end, and whose files it may hold.
    passing: Option<(OwnedFd, CString, Identity)>,
}

impl Kept {
    /// Takes the layer, which is made if need be. The kernel itself would mount one twice, with a word in its log.
    pub(super) fn take(directory: &Path, origin: &Origin) -> Result<Self, ExecError> {
        take(directory).map_err(|errno| of(directory, errno, origin))
    }

    /// Makes a layer among the others for as long as this lives. Then what killed sandboxes have left of theirs goes, too.
    pub(super) fn passing(layers: &Path, identity: &Identity, origin: &Origin) -> Result<Self, ExecError> {
        passing(layers, identity).map_err(|errno| of(layers, errno, origin))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((layers, name, identity)) = &self.passing {
            // What can't be removed now is when the next one ends.
            remove(layers, name, identity);
            sweep(layers, identity);
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

fn passing(layers: &Path, identity: &Identity) -> nix::Result<Kept> {
    make(layers, 0o700)?;
    // Nobody makes one while another sweeps.
    let all = lock(layers, FlockArg::LockExclusive)?;
    let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let name = format!("{PASSING}{}-{}", std::process::id(), number.map_or(0, |time| time.subsec_nanos()));
    let mut kept = take(&layers.join(&name))?;
    let place = all.try_clone().map_err(|_| Errno::EMFILE)?;
    kept.passing = Some((place, CString::new(name).unwrap_or_default(), identity.clone()));
    Ok(kept)
}

/// Takes one away, with the files of subordinate owners in it.
fn remove(layers: &OwnedFd, name: &CString, identity: &Identity) {
    if removal::remove(layers, name).is_err() && identity.subordinate.is_some() {
        let _ = subordinate::within(identity, || u8::from(removal::remove(layers, name).is_err()));
    }
}

/// Takes those away that nobody has.
fn sweep(layers: &OwnedFd, identity: &Identity) {
    let path = format!("/proc/self/fd/{}", layers.as_raw_fd());
    let all = layers.try_clone().ok().and_then(|all| Flock::lock(all, FlockArg::LockExclusive).ok());
    if all.is_none() {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let is_left = |name: &OsStr| name.as_bytes().starts_with(PASSING.as_bytes());
        if is_left(&entry.file_name()) && lock(&entry.path(), FlockArg::LockExclusiveNonblock).is_ok() {
            remove(layers, &CString::new(entry.file_name().as_bytes()).unwrap_or_default(), identity);
        }
    }
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
