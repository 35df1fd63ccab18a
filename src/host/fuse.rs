//! What it takes to have overlays served by `fuse-overlayfs`: the program, and the device that it is asked through.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::command::is_executable;

/// The program's name, and its package's.
pub const FUSE_OVERLAYFS: &str = "fuse-overlayfs";

/// Where distributions install it. Nobody but root can have put it there.
const PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin"];

/// What there is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuseOverlayfs {
    /// The program, without links in its path, where there is one that nobody but root can have changed.
    pub program: Option<PathBuf>,
    /// Why `/dev/fuse` can't be opened, if it can't.
    pub device: Option<i32>,
}

impl FuseOverlayfs {
    /// Looks for both.
    pub fn look() -> Self {
        let found = PLACES.iter().map(|place| Path::new(place).join(FUSE_OVERLAYFS));
        let program = found.filter(|path| is_executable(path)).find_map(|path| {
            let real = fs::canonicalize(path).ok()?;
            let there = fs::metadata(&real).ok()?;
            (there.uid() == 0 && there.mode() & 0o022 == 0).then_some(real)
        });
        let opened: Result<_, Errno> =
            nix::fcntl::open("/dev/fuse", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        Self { program, device: opened.err().map(|errno| errno as i32) }
    }
}
