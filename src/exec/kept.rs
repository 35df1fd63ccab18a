//! Writable layers that are kept, outside: a directory with an upper and a work dir, for one sandbox at a time.
#![forbid(unsafe_code)]

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::ExecError;
use crate::profile::Origin;

/// The upper dir's name, and the work dir's. What the upper dir's own mode is the root directory has.
const DIRECTORIES: [(&str, u32); 2] = [("upper", 0o755), ("work", 0o700)];

/// A layer that nobody else has as long as this lives, here or in PID 1.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    pub(super) lock: Flock<OwnedFd>,
}

impl Kept {
    /// Takes the layer, which is made if need be. The kernel itself would mount one twice, with a word in its log.
    pub(super) fn take(directory: &Path, origin: &Origin) -> Result<Self, ExecError> {
        let failed = |errno| ExecError::Layer { path: directory.to_owned(), errno, origin: origin.clone() };
        let make = |path: &Path, mode| {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))
        };
        make(directory, 0o700)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(directory, flags, nix::sys::stat::Mode::empty()).map_err(failed)?;
        let lock =
            Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| failed(errno))?;
        let [upper, work] = DIRECTORIES.map(|(name, mode)| (directory.join(name), mode));
        for (path, mode) in [&upper, &work] {
            make(path, *mode)?;
            // The last sandbox may have been able to put a link in their place.
            if !std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
                return Err(failed(Errno::ELOOP));
            }
        }
        Ok(Self { upper: upper.0, work: work.0, lock })
    }
}
