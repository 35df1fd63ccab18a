//! Which sandboxes a user has: a directory for each below `$XDG_RUNTIME_DIR/sbx`, with the socket that its sbx listens on and
//! what there is to know of it. A socket that nobody listens on is what tells that an sbx is gone without a word.
//!
//! No sandbox reaches it: the directory is covered where a profile shows what lies around it, and whoever connects from
//! another user namespace is not heard.
#![forbid(unsafe_code)]

mod entry;
mod error;
pub mod request;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, getuid, mkdir, unlinkat};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Group, wait};
use crate::profile::value::parse_sandbox_name;

pub use entry::Entry;
pub use error::RegistryError;

/// The socket of a sandbox.
const SOCKET: &str = "control";
/// What there is to know of it.
const INFO: &str = "info.json";
/// That, before it is whole.
const NEW_INFO: &str = ".info.json";
/// What a directory's name begins with while it is made: no sandbox can be called that.
const NEW: &str = ".new-";
/// How long a sandbox may be too busy to hear.
const BUSY: Duration = Duration::from_secs(5);
/// How old a directory without a socket may be: seconds.
const MAKING: i64 = 10;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// What there is to know of a sandbox that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// Of this form.
    pub version: u32,
    /// The profile.
    pub profile: String,
    /// The command's words, as far as they are text.
    pub command: Vec<String>,
    /// When it was started: seconds since 1970.
    pub started: u64,
    /// Its PID 1, as a process outside.
    pub init: i32,
    /// Which rung of the ladder its cgroup is from.
    pub rung: Option<String>,
    /// Its cgroup.
    pub cgroup: Option<PathBuf>,
}

/// The version of [`Info`].
pub const VERSION: u32 = 1;

/// The registry of one user.
#[derive(Debug)]
pub struct Registry {
    dir: OwnedFd,
    path: PathBuf,
}

/// A sandbox whose sbx lives.
#[derive(Debug)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// Its sbx.
    pub pid: i32,
    /// What there is to know; nothing while it is being set up.
    pub info: Option<Info>,
    /// Connected to its sbx.
    pub socket: OwnedFd,
}

impl Live {
    /// Its cgroup, if it has one.
    pub fn group(&self) -> Option<Group> {
        Group::open(self.info.as_ref()?.cgroup.as_deref()?).ok()
    }
}

impl Registry {
    /// The registry at this path; nothing where there is none.
    ///
    /// # Errors
    /// [`RegistryError::Foreign`]: somebody else could have put there what it says.
    pub fn open(path: &Path) -> Result<Option<Self>, RegistryError> {
        let failed = |errno| RegistryError::System { what: "open", path: path.to_owned(), errno };
        let dir = match open(path, DIRECTORY, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let found = fstat(&dir).map_err(failed)?;
        if found.st_uid != getuid().as_raw() || found.st_mode & 0o022 != 0 {
            return Err(RegistryError::Foreign { path: path.to_owned(), owner: found.st_uid });
        }
        Ok(Some(Self { dir, path: path.to_owned() }))
    }

    /// The same, made where there is none.
    ///
    /// # Errors
    /// As [`Registry::open`]; the directory can't be made.
    pub fn open_or_make(path: &Path) -> Result<Self, RegistryError> {
        if let Some(registry) = Self::open(path)? {
            return Ok(registry);
        }
        let failed = |errno| RegistryError::System { what: "make", path: path.to_owned(), errno };
        match mkdir(path, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        Self::open(path)?.ok_or_else(|| failed(Errno::ENOENT))
    }

    /// The names that there are, of sandboxes that may have ended just now.
    pub fn names(&self) -> Vec<String> {
        let Ok(mut dir) = Dir::openat(&self.dir, c".", DIRECTORY, Mode::empty()) else { return Vec::new() };
        let name = |entry: nix::dir::Entry| {
            let name = entry.file_name().to_str().ok()?;
            let name = parse_sandbox_name(name).ok()?;
            (entry.file_type() == Some(Type::Directory)).then_some(name)
        };
        let mut names: Vec<String> = dir.iter().flatten().filter_map(name).collect();
        names.sort();
        names
    }

    /// The sandboxes that there are. What others have left behind is taken away.
    pub fn all(&self) -> Vec<Live> {
        self.sweep();
        self.names().iter().filter_map(|name| self.find(name).ok()).collect()
    }

    /// A sandbox by its name.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]: it is no sandbox's, or not any more.
    pub fn find(&self, name: &str) -> Result<Live, RegistryError> {
        let missing = || RegistryError::NotFound { name: name.to_owned(), names: self.names() };
        if parse_sandbox_name(name).is_err() {
            return Err(missing());
        }
        let dir = openat(&self.dir, name, DIRECTORY, Mode::empty()).map_err(|_| missing())?;
        // So many are at it that the next one has to wait.
        let dialed =
            wait(BUSY, || dial(&dir).map_or_else(|errno| (errno != Errno::EAGAIN).then_some(None), Some));
        let Some(socket) = dialed.flatten() else { return Err(missing()) };
        let pid = getsockopt(&socket, PeerCredentials).map(|peer| peer.pid()).unwrap_or(0);
        Ok(Live { name: name.to_owned(), pid, info: read_info(&dir), socket })
    }

    /// Takes away what an sbx that was killed has left: its directory, and its cgroup with it.
    pub fn sweep(&self) {
        let Ok(mut dir) = Dir::openat(&self.dir, c".", DIRECTORY, Mode::empty()) else { return };
        let names: Vec<_> = dir.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            let Ok(entry) = openat(&self.dir, name.as_c_str(), DIRECTORY, Mode::empty()) else { continue };
            let is_over = match dial(&entry) {
                Ok(Some(_)) => false,
                Ok(None) => true,
                // So many wait already that it lives.
                Err(Errno::EAGAIN) => false,
                // Not there yet, or not any more.
                Err(_) => is_old(&entry),
            };
            if !is_over {
                continue;
            }
            if let Some(path) = read_info(&entry).and_then(|info| info.cgroup)
                && let (Some(above), Some(name)) =
                    (path.parent(), path.file_name().and_then(|name| name.to_str()))
                && let Ok(above) = Group::open(above)
            {
                let _ = above.remove(name);
            }
            clear(&entry);
            let _ = unlinkat(&self.dir, name.as_c_str(), UnlinkatFlags::RemoveDir);
        }
    }
}

/// Removes everything that sbx puts into a sandbox's directory.
fn clear(dir: &OwnedFd) {
    for name in [INFO, NEW_INFO, SOCKET] {
        let _ = unlinkat(dir, name, UnlinkatFlags::NoRemoveDir);
    }
}

fn is_old(dir: &OwnedFd) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    fstatat(dir, c".", AtFlags::empty()).is_ok_and(|found| found.st_mtime + MAKING < now)
}

fn read_info(dir: &OwnedFd) -> Option<Info> {
    use std::io::Read;
    let file = openat(dir, INFO, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let mut text = String::new();
    std::fs::File::from(file.ok()?).take(1 << 20).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok().filter(|info: &Info| info.version == VERSION)
}

/// The address of the socket in an open directory: its own path may be longer than an address can be.
fn address(dir: &OwnedFd) -> nix::Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()).as_str())
}

fn new_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

/// Connects to who listens there; nothing where nobody does any more.
fn dial(dir: &OwnedFd) -> nix::Result<Option<OwnedFd>> {
    let socket = new_socket()?;
    match connect(socket.as_raw_fd(), &address(dir)?) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(errno),
    }
}
