//! The janitor: a process that makes the placeholders before the sandbox exists and takes them away when it is gone, even if
//! sbx was killed meanwhile; then it restores the terminal as well.
//!
//! Every sandbox that needs a placeholder holds a shared lock on it; the last one takes it away. What a janitor that was
//! killed itself leaves is recognized, held and taken away by the next.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::{fstat, fstatat, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use super::ExecError;
use super::leaf::Site;
use super::outer::Bequest;
use super::protect::{Place, is_placeholder, placeholder_mode};
use super::walk;
use crate::cgroup;
use crate::plan::Placeholder;
use crate::sys::message;
use crate::sys::process::{self, Forked};

/// How often a placeholder is looked at again that another sandbox is just taking away.
const TRIES: usize = 200;
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a scope may take that was asked for just before sbx was killed.
const SCOPING: Duration = Duration::from_secs(2);

/// What a janitor has to do about the sandbox's cgroup.
#[derive(Clone, Copy)]
pub(super) enum Bequeathed<'s> {
    None,
    /// Take it away.
    Site(&'s Site),
    /// Be in a scope until the run is over. One that everybody leaves at the moment in which they are moved there stays for
    /// good: nobody was ever in it, so that systemd does not hear that it is empty.
    Scope,
}

/// The janitor, seen from sbx. Dropped, it is waited for.
pub(super) struct Janitor {
    pid: Pid,
    /// Closed, here and in PID 1, it says that the run is over.
    socket: Option<OwnedFd>,
}

impl Janitor {
    /// Starts it, and returns when every place is held.
    pub(super) fn start(
        places: &[Place],
        terminal: Option<Bequest<'_>>,
        cgroup: Bequeathed<'_>,
    ) -> Result<Self, ExecError> {
        let outside = |what| move |errno| ExecError::Outside { what, errno };
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, its_own) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(outside("make a socket"))?;
        match process::fork().map_err(outside("start the janitor of placeholders"))? {
            Forked::Child => {
                drop(socket);
                work(places, terminal, cgroup, &its_own);
                process::exit_now(0)
            }
            Forked::Parent(pid) => {
                drop(its_own);
                let janitor = Self { pid, socket: Some(socket) };
                janitor.wait_until_ready(places)?;
                Ok(janitor)
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Has it do what is left to be done, and end.
    pub(super) fn let_go(&mut self) {
        self.socket = None;
    }

    /// The end of the socket that PID 1 sends its pidfd through.
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    fn wait_until_ready(&self, places: &[Place]) -> Result<(), ExecError> {
        let mut answer = [0; 8];
        let received = match &self.socket {
            Some(socket) => nix::unistd::read(socket, &mut answer),
            None => Err(Errno::EBADF),
        };
        let [i0, i1, i2, i3, e0, e1, e2, e3] = answer;
        let (index, errno) = (u32::from_ne_bytes([i0, i1, i2, i3]), i32::from_ne_bytes([e0, e1, e2, e3]));
        match (received, errno, places.get(index as usize)) {
            (Ok(8), 0, _) => Ok(()),
            (Ok(8), errno, Some(place)) => {
                Err(ExecError::Placeholder { path: place.path.clone(), errno: Errno::from_raw(errno) })
            }
            _ => Err(ExecError::Outside { what: "start the janitor of placeholders", errno: Errno::EPIPE }),
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.socket = None;
        while process::wait(self.pid) == Err(Errno::EINTR) {}
    }
}

/// The janitor's own life. It is in nobody's way: no signal but SIGKILL reaches it, it holds none of the caller's
/// descriptors, and it works nowhere.
fn work(places: &[Place], terminal: Option<Bequest<'_>>, cgroup: Bequeathed<'_>, socket: &OwnedFd) {
    let _ = nix::unistd::setsid();
    let _ = SigSet::all().thread_set_mask();
    let mut kept = vec![socket.as_raw_fd()];
    kept.extend(terminal.map(|terminal| terminal.file.as_raw_fd()));
    if let Bequeathed::Site(site) = cgroup {
        kept.push(site.above());
    }
    let before = matches!(cgroup, Bequeathed::Scope).then(cgroup::of_self);
    kept.sort_unstable();
    let _ = process::close_all_but(&kept);
    for fd in 0..3 {
        let _ = nix::unistd::close(fd);
    }
    let _ = nix::unistd::chdir("/");
    let _ = nix::sys::prctl::set_name(c"sbx-janitor");
    let _ = process::umask(0);
    let mut held = Vec::new();
    let mut failure = (0_u32, 0_i32);
    for (index, place) in (0_u32..).zip(places) {
        match hold(place) {
            Ok(placeholder) => held.extend(placeholder),
            Err(errno) => {
                failure = (index, errno as i32);
                break;
            }
        }
    }
    let answer = [failure.0.to_ne_bytes(), failure.1.to_ne_bytes()].concat();
    if nix::unistd::write(socket, &answer).is_ok() && failure.1 == 0 {
        wait_for_the_end(socket, terminal);
        match cgroup {
            Bequeathed::None => {}
            Bequeathed::Site(site) => site.remove(),
            Bequeathed::Scope => {
                let _ = cgroup::wait(SCOPING, || (Some(cgroup::of_self()) != before).then_some(()));
            }
        }
    }
    held.into_iter().for_each(release);
}

/// Waits until sbx and PID 1 have let go of the socket, restores the terminal, and waits until PID 1, and with it everything in
/// the sandbox, is gone.
fn wait_for_the_end(socket: &OwnedFd, terminal: Option<Bequest<'_>>) {
    let mut init = None;
    loop {
        match message::receive_descriptor(socket) {
            Ok(Some(pidfd)) => init = Some(pidfd),
            Err(Errno::EINTR) => {}
            Ok(None) | Err(_) => break,
        }
    }
    if let Some(terminal) = terminal {
        terminal.restore();
    }
    if let Some(init) = init {
        let mut ended = [PollFd::new(init.as_fd(), PollFlags::POLLIN)];
        while poll(&mut ended, PollTimeout::NONE) == Err(Errno::EINTR) {}
    }
}

/// A placeholder that this janitor has a lock on.
struct Held {
    parent: OwnedFd,
    name: CString,
    placeholder: Placeholder,
    lock: Flock<File>,
}

/// Makes a placeholder, or finds the one that another sandbox has made, and locks it. Nothing where the sandbox could not
/// make anything either.
fn hold(place: &Place) -> nix::Result<Option<Held>> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    let parent = walk::open_directory(&text(place.path.parent().unwrap_or(Path::new("/")))?)?;
    let name = text(Path::new(place.path.file_name().unwrap_or_default()))?;
    for _ in 0..TRIES {
        match make(&parent, &name, place.placeholder) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) if is_out_of_reach(errno, &parent) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let file = match walk::open_readable(&parent, &name) {
            Err(Errno::ENOENT) => continue,
            other => File::from(other?),
        };
        let metadata = file.metadata().map_err(errno_of)?;
        if !is_placeholder(&metadata, place.placeholder) {
            // Something real has come into being meanwhile.
            return Err(Errno::EEXIST);
        }
        // Only its last holder, who takes it away, has it to itself.
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(lock) if is_still(&parent, &name, &metadata) => {
                return Ok(Some(Held { parent, name, placeholder: place.placeholder, lock }));
            }
            Ok(_) | Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => std::thread::sleep(PAUSE),
            Err((_, errno)) => return Err(errno),
        }
    }
    Err(Errno::EAGAIN)
}

fn make(parent: &OwnedFd, name: &CStr, placeholder: Placeholder) -> nix::Result<()> {
    let mode = walk::mode(placeholder_mode(placeholder));
    match placeholder {
        Placeholder::Directory => mkdirat(parent, name, mode),
        Placeholder::File | Placeholder::Dot => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let file = openat(parent, name, flags, mode)?;
            super::files::write_all(&file, placeholder.content())
        }
    }
}

/// Nobody with this uid and without capabilities can make anything there, nor change that.
fn is_out_of_reach(errno: Errno, parent: &OwnedFd) -> bool {
    match errno {
        Errno::EROFS => true,
        Errno::EACCES => fstat(parent).is_ok_and(|status| status.st_uid != nix::unistd::getuid().as_raw()),
        _ => false,
    }
}

fn is_still(parent: &OwnedFd, name: &CStr, held: &Metadata) -> bool {
    let there = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    there.is_ok_and(|there| (there.st_dev, there.st_ino) == (held.dev(), held.ino()))
}

/// Takes a placeholder away if nobody else holds it, and it is still what it was.
fn release(held: Held) {
    let Held { parent, name, placeholder, lock } = held;
    let Ok(metadata) = lock.metadata() else { return };
    if lock.relock(FlockArg::LockExclusiveNonblock).is_err() || !is_still(&parent, &name, &metadata) {
        return;
    }
    // What somebody has put there meanwhile stays: a directory with something in it can't be removed.
    let _ = match placeholder {
        Placeholder::Directory => unlinkat(&parent, name.as_c_str(), UnlinkatFlags::RemoveDir),
        _ if lock.metadata().is_ok_and(|now| is_placeholder(&now, placeholder)) => {
            unlinkat(&parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)
        }
        _ => Ok(()),
    };
}

fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
