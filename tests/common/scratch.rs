//! Temporary directories, and where the sources are.

use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Open to everybody, and on a disk like a home directory.
const BASE: &str = "/var/tmp";

/// A fresh directory, mode 755, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory.
    pub fn new() -> Result<Self, Failed> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = Path::new(BASE).join(format!("sbx-test-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                    return Ok(Self(path));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("cannot make {}: {error}", path.display()).into()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            open_up(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Makes every directory below one's own, so that it can be emptied.
fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Gives a path to a user, where that takes anything.
pub(super) fn give(path: &Path, uid: u32, gid: u32) -> Result<(), Failed> {
    if nix::unistd::geteuid().is_root() {
        lchown(path, Some(uid), Some(gid))
            .map_err(|error| format!("cannot give {} away: {error}", path.display()))?;
    }
    Ok(())
}

/// The directory with `Cargo.toml`. The variable of the same name wins, for a test program that runs
/// where it was not built.
pub fn source_dir() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The unpacked source of GNU hello that `.ci/hello-source` fetches, if it was.
pub fn hello_source() -> Option<PathBuf> {
    let entries = fs::read_dir(source_dir().join("target/hello-source")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.join("configure").exists())
}
