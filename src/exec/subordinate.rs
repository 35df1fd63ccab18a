//! Subordinate ids, outside: `newuidmap` and `newgidmap` map them, which an ordinary user's sbx may not. For the sandbox, and
//! for sbx's own work on files that have such owners.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getgid, getuid, pipe2};

use super::ExecError;
use super::init::NeverReturn;
use super::overlay;
use super::sources::Source;
use crate::cgroup::wait;
use crate::diag::{errno_words, escape};
use crate::host::SubordinateIds;
use crate::plan::{IdRange, Identity, Subordinate};
use crate::sys::caps;
use crate::sys::process::{self, Change, Forked};
use crate::{layers, removal};

/// Where distributions install them. Nobody but root can have put them there.
const PLACES: [&str; 5] = ["/usr/bin", "/bin", "/run/wrappers/bin", "/usr/sbin", "/sbin"];

/// How long they may take: user databases can be far away.
const TIME: Duration = Duration::from_secs(10);

const REFUSED: &str = "see that /etc/subuid and /etc/subgid give you ids, and that newuidmap and newgidmap are root's and set-uid";
const NAMESPACES: &str = "`sbx doctor` says what keeps user namespaces from being made";
const PACKAGE: &str = "install the package uidmap (newuidmap and newgidmap, of shadow-utils)";

/// The two maps of a plan, as `/proc/PID/uid_map` has them: lines of inside, outside, count.
pub(super) fn maps(identity: &Identity) -> [String; 2] {
    let map = |inside: u32, outside: u32, further: fn(&Subordinate) -> &Vec<IdRange>| {
        let own = IdRange { inside, outside, count: 1 };
        let further = identity.subordinate.iter().flat_map(further);
        let line = |range: &IdRange| format!("{} {} {}", range.inside, range.outside, range.count);
        [own].iter().chain(further).map(line).collect::<Vec<_>>().join("\n")
    };
    [
        map(identity.uid, identity.outside_uid, |ids| &ids.uids),
        map(identity.gid, identity.outside_gid, |ids| &ids.gids),
    ]
}

/// Has the ids of a process's user namespace mapped, where the process can't do it alone.
///
/// # Errors
/// [`ExecError::Unmet`] with what the program said.
pub(super) fn map(pid: Pid, identity: &Identity) -> Result<(), ExecError> {
    let [uids, gids] = maps(identity);
    let mappers = [Mapper::start("newuidmap", pid, &uids)?, Mapper::start("newgidmap", pid, &gids)?];
    mappers.into_iter().try_for_each(Mapper::finish)
}

/// One of the two programs, at work; gone when this is.
struct Mapper {
    name: &'static str,
    child: Child,
}

impl Mapper {
    /// Nothing of the caller's environment comes along, and a key that ends sbx is not its business.
    fn start(name: &'static str, pid: Pid, map: &str) -> Result<Self, ExecError> {
        let program = find(name)?;
        let mut command = Command::new(&program);
        command.arg(pid.to_string()).args(map.split_whitespace());
        command.env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| unmet(errno_of(&error), None))?;
        Ok(Self { name, child })
    }

    fn finish(mut self) -> Result<(), ExecError> {
        let ended = wait(TIME, || self.child.try_wait().transpose());
        let Some(ended) = ended else {
            return Err(unmet(format!("{} did not answer within {} s", self.name, TIME.as_secs()), None));
        };
        let status = ended.map_err(|error| unmet(errno_of(&error), None))?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        if let Some(pipe) = self.child.stderr.take() {
            let _ = pipe.take(4096).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let why = match said.lines().last().map(str::trim) {
            Some(last) if !last.is_empty() => escape(last),
            _ => format!("{} failed ({status})", self.name),
        };
        Err(unmet(why, Some(REFUSED)))
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program's path, if it is one that may be trusted with this, and that can do it.
fn find(name: &str) -> Result<PathBuf, ExecError> {
    let at = PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    let path = at.ok_or_else(|| unmet(format!("{name} is not installed"), Some(PACKAGE)))?;
    let found = fs::metadata(&path).map_err(|error| unmet(errno_of(&error), None))?;
    if found.uid() == 0 && found.mode() & 0o022 == 0 {
        return Ok(path);
    }
    let why = format!("{} can be changed by others than root", path.display());
    Err(unmet(why, Some("give it back to root, writable for nobody else")))
}

fn unmet(why: String, hint: Option<&str>) -> ExecError {
    ExecError::Unmet { what: "map subordinate ids".to_owned(), why, hint: hint.map(str::to_owned) }
}

fn errno_of(error: &std::io::Error) -> String {
    errno_words(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// The caller as root of all ids that are the caller's, if there are such.
pub(crate) fn callers() -> Option<Identity> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    Identity::with_subordinate(uid, gid, &SubordinateIds::look(uid).ok()?)
}

/// The same, if something in a kept layer belongs to one of them that is not the caller's own: it is looked for.
pub(crate) fn owners_of(layer: &Path) -> Option<Identity> {
    let identity = callers()?;
    let ids = identity.subordinate.as_ref()?;
    let among = |ranges: &[IdRange], id: u32| {
        ranges.iter().any(|range| id.checked_sub(range.outside).is_some_and(|index| index < range.count))
    };
    let theirs = |uid, gid| among(&ids.uids, uid) || among(&ids.gids, gid);
    layers::has_entry_of(layer, &theirs).then_some(identity)
}

/// What is needed of root's powers over files of subordinate owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// All of them.
    Whole,
    /// They are read.
    Read,
    /// They are read, and directories laid over each other ([`merge`]), in a mount namespace that ends with it.
    ReadAndMerge,
    /// They are read, and changed where the right to that is taken for a moment ([`caps::CHANGE`]): elsewhere modes keep the
    /// caller from what they keep everybody from.
    ReadAndChange,
}

impl Power {
    fn take(self) -> nix::Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Read => caps::set(caps::READ, caps::READ),
            Self::ReadAndMerge => {
                unshare(CloneFlags::CLONE_NEWNS)?;
                caps::set(caps::READ | caps::MOUNT, caps::READ | caps::MOUNT)
            }
            Self::ReadAndChange => caps::set(caps::READ | caps::CHANGE, caps::READ),
        }
    }
}

/// The caller alone, with no other ids; root with all that there are.
pub(crate) fn alone() -> Identity {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    Identity { outside_uid: uid, outside_gid: gid, uid, gid, subordinate: None, runs_as: None }
}

/// The directories as one, topmost first: what an overlay of them shows, mounted over `place`, which can't be seen by path in
/// this process any more. The right to mount anything else is gone then.
///
/// # Errors
/// What mount(2) says.
pub(crate) fn merge(under: &[PathBuf], place: &Path) -> nix::Result<OwnedFd> {
    let layers = under.iter().map(|path| Source::new(path, true, None)).collect::<Result<Vec<_>, _>>();
    let layers = layers.map_err(|_| Errno::EINVAL)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || nix::fcntl::open(place, flags, Mode::empty());
    overlay::mount(None, &layers, None, &open()?)?;
    let merged = open()?;
    caps::set(caps::READ, caps::READ)?;
    Ok(merged)
}

/// Has the ids of [`alone`] mapped, which takes no program.
fn map_alone(pid: Pid) -> std::io::Result<()> {
    let path = |file: &str| format!("/proc/{pid}/{file}");
    let root = getuid().is_root();
    if !root {
        fs::write(path("setgroups"), "deny")?;
    }
    for (file, id) in [("uid_map", getuid().as_raw()), ("gid_map", getgid().as_raw())] {
        let as_here = |line: &str| {
            let mut words = line.split_whitespace();
            words.next().zip(words.nth(1)).map(|(first, count)| format!("{first} {first} {count}\n"))
        };
        let all = fs::read_to_string(format!("/proc/self/{file}"))?.lines().filter_map(as_here).collect();
        fs::write(path(file), if root { all } else { format!("{id} {id} 1") })?;
    }
    Ok(())
}

/// Does something in a process of its own whose user namespace has the plan's ids, uid 0 being the caller: files of subordinate
/// owners can be worked on. Its exit status is what `act` returns. It ends with this process, however that ends.
///
/// # Errors
/// [`ExecError::Unmet`] where the ids can't be mapped, and `act` was not begun; [`ExecError::Outside`] where no process can be
/// made, or where it was killed.
pub(crate) fn within(identity: &Identity, power: Power, act: impl FnOnce() -> u8) -> Result<u8, ExecError> {
    let outside = |errno| ExecError::Outside { what: "work on files of subordinate owners", errno };
    let (made, ready) = pipe2(OFlag::O_CLOEXEC).map_err(outside)?;
    let (mapped, go) = pipe2(OFlag::O_CLOEXEC).map_err(outside)?;
    match process::fork().map_err(outside)? {
        Forked::Child => {
            let _guard = NeverReturn;
            drop((made, go));
            let status = inside(&ready, &mapped, power).map_or(125, |()| act());
            let _ = std::io::stdout().flush();
            process::exit_now(status.into())
        }
        Forked::Parent(child) => {
            drop((ready, mapped));
            let no_namespace = |_| unmet("no user namespace can be made".to_owned(), Some(NAMESPACES));
            let done = one_byte(&made).map_err(no_namespace).and_then(|()| match &identity.subordinate {
                Some(_) => map(child, identity),
                None => map_alone(child).map_err(|error| unmet(errno_of(&error), Some(NAMESPACES))),
            });
            let told = done.and_then(|()| nix::unistd::write(&go, &[0]).map_err(outside));
            drop(go);
            let ended = loop {
                match process::wait(child) {
                    Err(Errno::EINTR) => {}
                    ended => break ended.map_err(outside)?,
                }
            };
            told?;
            match ended {
                Change::Exited(code) => Ok((code & 0xff) as u8),
                Change::Signaled(_) | Change::Stopped(_) => Err(outside(Errno::EINTR)),
            }
        }
    }
}

/// Removes a directory in another one with all that is in it, files of subordinate owners as well.
///
/// # Errors
/// What the filesystem says.
pub(crate) fn remove(parent: &OwnedFd, name: &CString) -> nix::Result<()> {
    let Err(errno) = removal::remove(parent, name) else { return Ok(()) };
    let Some(identity) = callers() else { return Err(errno) };
    match within(&identity, Power::Whole, || u8::from(removal::remove(parent, name).is_err())) {
        Ok(0) => Ok(()),
        _ => Err(errno),
    }
}

/// The child's side up to where it is uid 0 with all ids mapped. The caller's groups stay: what they let it read and keep it from
/// is the same as outside. It asks to be killed with the parent before it waits for it, so that no moment is left between.
fn inside(ready: &OwnedFd, mapped: &OwnedFd, power: Power) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    power.take()?;
    // What takes on other credentials forgets it.
    prctl::set_pdeathsig(Some(Signal::SIGKILL))?;
    nix::unistd::write(ready, &[0])?;
    one_byte(mapped)
}

fn one_byte(from: impl AsFd) -> nix::Result<()> {
    loop {
        match nix::unistd::read(&from, &mut [0]) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Errno::EPIPE),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
