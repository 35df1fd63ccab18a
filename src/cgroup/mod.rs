//! Control groups of version 2 (cgroups(7), the kernel's admin-guide/cgroup-v2): directories of a kernel's filesystem, held by
//! descriptors. No policy: what is written where is the plan's to say.
#![forbid(unsafe_code)]

mod usage;

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

pub use usage::{Events, Usage};

/// How long a cgroup may take to be empty once everything in it is killed.
const EMPTYING: Duration = Duration::from_secs(1);

/// How long a cgroup may take to be frozen.
const FREEZING: Duration = Duration::from_secs(5);

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// One cgroup.
#[derive(Debug)]
pub struct Group {
    dir: OwnedFd,
    path: PathBuf,
}

impl Group {
    /// The cgroup at an absolute path.
    ///
    /// # Errors
    /// `ENOTSUP` for a directory of another filesystem, version 1 of cgroups among them; what open(2) says.
    pub fn open(path: &Path) -> nix::Result<Self> {
        let dir = open(path, DIRECTORY, Mode::empty())?;
        match fstatfs(&dir)?.filesystem_type() {
            CGROUP2_SUPER_MAGIC => Ok(Self { dir, path: path.to_owned() }),
            _ => Err(Errno::ENOTSUP),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cgroup of this name in it.
    ///
    /// # Errors
    /// `ENOENT` where there is none, `ENODEV` where this one is gone.
    pub fn child(&self, name: &str) -> nix::Result<Self> {
        let dir = openat(&self.dir, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
        Ok(Self { dir, path: self.path.join(name) })
    }

    /// Makes a cgroup in it, which must be new.
    ///
    /// # Errors
    /// `EEXIST`, `EACCES`, `EAGAIN` where the number of cgroups is limited, `ENOENT` or `ENODEV` where this one is gone.
    pub fn make(&self, name: &str) -> nix::Result<Self> {
        mkdirat(&self.dir, name, Mode::from_bits_truncate(0o755))?;
        self.child(name)
    }

    /// Makes a cgroup in it, or finds it there.
    ///
    /// # Errors
    /// As [`Group::make`].
    pub fn make_or_find(&self, name: &str) -> nix::Result<Self> {
        match mkdirat(&self.dir, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => self.child(name),
            Err(errno) => Err(errno),
        }
    }

    /// What a file of it says.
    ///
    /// # Errors
    /// `ENOENT` for a file of a controller that it has not got, `ENODEV` when it is gone.
    pub fn read(&self, file: &str) -> nix::Result<String> {
        let file = openat(&self.dir, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut text = Vec::with_capacity(256);
        let mut part = [0; 4096];
        loop {
            match nix::unistd::read(&file, &mut part) {
                Ok(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
                Ok(length) => text.extend(&part[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The number that a file of it holds; nothing for `max`.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// Writes a file of it, in one call, as the kernel wants it.
    ///
    /// # Errors
    /// What the kernel says of the value: `EINVAL`, `ERANGE`, `EBUSY`, `ENODEV`; `ENOENT` for a file of a controller that
    /// it has not got.
    pub fn write(&self, file: &str, text: &str) -> nix::Result<()> {
        let file = openat(&self.dir, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        loop {
            match nix::unistd::write(&file, text.as_bytes()) {
                Err(Errno::EINTR) => {}
                Ok(length) if length == text.len() => return Ok(()),
                Ok(_) => return Err(Errno::EIO),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The words of a file, such as `cgroup.controllers`.
    pub fn words(&self, file: &str) -> Vec<String> {
        let text = self.read(file).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Hands these controllers to the cgroups in it, all or none.
    ///
    /// # Errors
    /// `EBUSY` while processes are in it, `ENOENT` for one that it has not got.
    pub fn enable<'a>(&self, controllers: impl IntoIterator<Item = &'a str>) -> nix::Result<()> {
        let words: Vec<String> = controllers.into_iter().map(|name| format!("+{name}")).collect();
        if words.is_empty() { Ok(()) } else { self.write("cgroup.subtree_control", &words.join(" ")) }
    }

    /// Moves a process into it. Costs some ten milliseconds: the kernel waits for every processor.
    ///
    /// # Errors
    /// `EACCES` where the cgroup above both is somebody else's, `ESRCH` when the process is gone, `EBUSY` where controllers
    /// are handed on.
    pub fn adopt(&self, pid: i32) -> nix::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The processes in it, as this PID namespace numbers them.
    pub fn processes(&self) -> Vec<i32> {
        self.words("cgroup.procs").iter().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// A field of `cgroup.events`: `populated` or `frozen`.
    pub fn has(&self, field: &str) -> bool {
        let events = self.read("cgroup.events").unwrap_or_default();
        events.lines().any(|line| line.split_once(' ') == Some((field, "1")))
    }

    /// Kills everything in it and below (Linux 5.14); also what is frozen.
    ///
    /// # Errors
    /// What [`Group::write`] says.
    pub fn kill(&self) -> nix::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Stops everything in it and below, or lets it go on, and waits until it is so.
    ///
    /// # Errors
    /// `ETIMEDOUT`, where a process waits for something that can't be interrupted; what [`Group::write`] says.
    pub fn freeze(&self, stop: bool) -> nix::Result<()> {
        self.write("cgroup.freeze", if stop { "1" } else { "0" })?;
        wait(FREEZING, || (self.has("frozen") == stop).then_some(())).ok_or(Errno::ETIMEDOUT)
    }

    /// Kills what is left in the cgroup of this name and removes it with all below. One that is not there is no error.
    ///
    /// # Errors
    /// `EBUSY` where processes won't go.
    pub fn remove(&self, name: &str) -> nix::Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(errno),
        }
        let child = match self.child(name) {
            Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
            child => child?,
        };
        let _ = child.kill();
        let gone = wait(EMPTYING, || {
            remove_below(&child, 0);
            let removed = unlinkat(&self.dir, name, UnlinkatFlags::RemoveDir);
            matches!(removed, Ok(()) | Err(Errno::ENOENT | Errno::ENODEV)).then_some(())
        });
        gone.ok_or(Errno::EBUSY)
    }

    /// The names of the cgroups in it.
    pub fn children(&self) -> Vec<CString> {
        let Ok(mut dir) = Dir::openat(&self.dir, c".", DIRECTORY, Mode::empty()) else { return Vec::new() };
        let is_group = |entry: &nix::dir::Entry| {
            entry.file_type() == Some(nix::dir::Type::Directory)
                && !matches!(entry.file_name().to_bytes(), b"." | b"..")
        };
        dir.iter().flatten().filter(is_group).map(|entry| entry.file_name().to_owned()).collect()
    }

    /// Whether this process may make cgroups in it and move its own there.
    pub fn is_ours(&self) -> bool {
        use nix::fcntl::AtFlags;
        use nix::unistd::{AccessFlags, faccessat};
        let may = |name: &str| faccessat(&self.dir, name, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok();
        ["cgroup.procs", "cgroup.subtree_control", "."].into_iter().all(may)
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl AsRawFd for Group {
    fn as_raw_fd(&self) -> i32 {
        self.dir.as_raw_fd()
    }
}

/// The deepest that the kernel lets a sandbox nest, whatever it was allowed.
const DEEPEST: usize = 64;

fn remove_below(group: &Group, depth: usize) {
    for name in group.children() {
        if let (Ok(name), true) = (name.to_str(), depth < DEEPEST)
            && let Ok(child) = group.child(name)
        {
            remove_below(&child, depth + 1);
        }
        let _ = unlinkat(&group.dir, name.as_c_str(), UnlinkatFlags::RemoveDir);
    }
}

/// Looks again and again until there is an answer, with longer and longer pauses.
pub fn wait<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= time {
            return None;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The cgroup that a process is in, as `/proc/PID/cgroup` says it: a path below the root of the reader's cgroup namespace.
pub fn of_process(pid: i32) -> Option<PathBuf> {
    parse_own(&std::fs::read(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The same of this process.
pub fn of_self() -> Option<PathBuf> {
    parse_own(&std::fs::read("/proc/self/cgroup").ok()?)
}

fn parse_own(text: &[u8]) -> Option<PathBuf> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    // The kernel says so of a cgroup that was removed.
    let line = line.strip_suffix(b" (deleted)").unwrap_or(line);
    Some(PathBuf::from(OsStr::from_bytes(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_of_version_2() {
        let hybrid = b"4:memory:/a\n1:name=systemd:/b\n0::/user.slice/x y\n";
        assert_eq!(parse_own(hybrid), Some(PathBuf::from("user.slice/x y")));
        assert_eq!(parse_own(b"0::/\n"), Some(PathBuf::new()));
        assert_eq!(parse_own(b"4:memory:/a\n"), None);
    }
}
