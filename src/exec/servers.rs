//! The processes that serve overlays instead of the kernel, outside: `fuse-overlayfs`, one for each, in a sandbox of its own.
//!
//! ```text
//! sbx ─┬─ sbx-overlay ── its PID 1 ── fuse-overlayfs      the layers, by plain names, and nothing else
//!      │       ▲ /dev/fuse, opened and mounted inside (`served`)
//!      └─ PID 1 ── command                                the overlay
//! ```
//!
//! A copy of sbx is started for each before the sandbox is made, and waits for the descriptor that PID 1 sends; then it runs
//! the program by the engine that runs every command, so that all walls are around it too. It ends when the filesystem is gone,
//! which is when the last process of the sandbox is: what that has written is with the server then, even if sbx was killed. The
//! layers stay locked until it has ended.
//!
//! When it ends before that, whatever is asked of the filesystem fails, and sbx ends the sandbox.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};

use super::init::NeverReturn;
use super::orders::Order;
use super::prepare::number;
use super::{ExecError, Outcome, launch, prepare};
use crate::diag::{Diagnose, escape, quote};
use crate::plan::Identity;
use crate::sys::process::{self, Change, Forked};
use crate::sys::{message, signal};

/// How long a server may take to end when nobody can use its filesystem any more, or whoever started it was killed.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes of what a server has said that are read.
const SAID: u64 = 4096;

/// The ways to the servers, and whose requests the kernel passes on to them.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// One for each server, by its number.
    pub(super) sockets: Vec<OwnedFd>,
    /// The uid inside of who mounts.
    pub(super) uid: CString,
    /// The gid inside.
    pub(super) gid: CString,
}

impl Ways {
    /// None yet, for who has these ids.
    pub(super) fn of(identity: &Identity) -> Self {
        Self { sockets: Vec::new(), uid: number(identity.uid.into()), gid: number(identity.gid.into()) }
    }
}

/// That an overlay is not served, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Where it is inside.
    pub dest: PathBuf,
    /// The last that was heard of the server.
    pub said: Option<String>,
    /// The command ran.
    pub ran: bool,
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dest = quote(&self.dest);
        match (self.ran, &self.said) {
            (false, Some(said)) => write!(f, "cannot have the overlay on {dest} served: {said}"),
            (false, None) => write!(f, "cannot have the overlay on {dest} served: fuse-overlayfs has ended"),
            (true, said) => {
                write!(f, "cannot go on: fuse-overlayfs, which served the overlay on {dest}, has ended")?;
                said.iter().try_for_each(|said| write!(f, " ({said})"))?;
                f.write_str(", and everything in the sandbox with it")
            }
        }
    }
}

/// One of them.
#[derive(Debug)]
struct Server {
    pid: Pid,
    pidfd: OwnedFd,
    /// What it says.
    said: OwnedFd,
    dest: PathBuf,
    init: bool,
    ended: Option<Change>,
}

impl Server {
    fn has_failed(&self) -> bool {
        self.ended.is_some_and(|ended| ended != Change::Exited(0))
    }

    /// Waits for its end, for so long.
    fn wait(&mut self, time: Duration) {
        let by = Instant::now() + time;
        while self.ended.is_none() {
            let left = by.saturating_duration_since(Instant::now());
            let mut end = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut end, PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return,
                Err(Errno::EINTR) => {}
                _ => self.reap(),
            }
        }
    }

    fn reap(&mut self) {
        self.ended = loop {
            match process::wait(self.pid) {
                Err(Errno::EINTR) => {}
                ended => break Some(ended.unwrap_or(Change::Exited(0))),
            }
        };
    }

    /// The last line that it has said.
    fn last_words(&self) -> Option<String> {
        let said = self.said.try_clone().ok()?;
        let mut bytes = Vec::new();
        let _ = std::fs::File::from(said).take(SAID).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(escape)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = signal::send_by_pidfd(&self.pidfd, libc::SIGKILL);
            self.reap();
        }
    }
}

/// All servers of a sandbox. Dropped, they are ended.
#[derive(Debug, Default)]
pub(super) struct Servers {
    all: Vec<Server>,
    /// One has ended, and the sandbox was ended for that.
    blamed: bool,
}

impl Servers {
    /// Starts them, each with a way for PID 1 to it. They hold the locks of layers as well.
    pub(super) fn start(orders: Vec<Order>, ways: &mut Ways, locks: &[RawFd]) -> Result<Self, ExecError> {
        let outside = |errno| ExecError::Outside { what: "start the server of an overlay", errno };
        let mut servers = Self::default();
        for order in orders {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (way, its_own) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).map_err(outside)?;
            let (said, says) = pipe2(OFlag::O_CLOEXEC).map_err(outside)?;
            // What nobody reads while it runs must not stop it.
            for end in [&said, &says] {
                fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(outside)?;
            }
            match process::fork().map_err(outside)? {
                Forked::Child => {
                    let _guard = NeverReturn;
                    process::exit_now(serve(order, locks, its_own, says).into())
                }
                Forked::Parent(pid) => {
                    let pidfd = process::pidfd_of(pid).map_err(outside)?;
                    let Order { dest, init, .. } = order;
                    servers.all.push(Server { pid, pidfd, said, dest, init, ended: None });
                    ways.sockets.push(way);
                }
            }
        }
        Ok(servers)
    }

    /// What tells of the end of those that have not ended.
    pub(super) fn awaited(&self) -> impl Iterator<Item = PollFd<'_>> {
        let living = self.all.iter().filter(|server| server.ended.is_none());
        living.map(|server| PollFd::new(server.pidfd.as_fd(), PollFlags::POLLIN))
    }

    /// Looks who has ended. Whether one has that was still needed.
    pub(super) fn look(&mut self) -> bool {
        self.all.iter_mut().filter(|server| server.ended.is_none()).for_each(|server| {
            server.wait(Duration::ZERO);
        });
        self.all.iter().any(|server| server.has_failed() || !server.init && server.ended.is_some())
    }

    /// Whether one has ended otherwise than for want of its filesystem.
    pub(super) fn has_failed(&self) -> bool {
        self.all.iter().any(Server::has_failed)
    }

    /// The sandbox is ended for the end of one.
    pub(super) fn blame(&mut self) {
        self.blamed = true;
    }

    /// Ends those that have not, at once: what waits for their answers gets none.
    pub(super) fn kill(&self) {
        for server in self.all.iter().filter(|server| server.ended.is_none()) {
            let _ = signal::send_by_pidfd(&server.pidfd, libc::SIGKILL);
        }
    }

    /// Waits for their ends, which come with that of the sandbox, and says whose fault that was.
    pub(super) fn settle(mut self, ended: Result<Outcome, ExecError>) -> Result<Outcome, ExecError> {
        for server in &mut self.all {
            server.wait(GRACE);
        }
        let error = match ended {
            Err(error) if self.blamed || self.has_failed() => error,
            ended => return ended,
        };
        let failed = self.all.iter().find(|server| server.has_failed());
        let failed = failed.or(self.all.iter().find(|server| !server.init && self.blamed));
        match failed {
            None => Err(error),
            Some(server) => {
                let ran = matches!(error, ExecError::InitKilled { ran: true });
                Err(ExecError::Unserved(Unserved {
                    dest: server.dest.clone(),
                    said: server.last_words(),
                    ran,
                }))
            }
        }
    }
}

/// A server's own life, up to its exit status. What it has to say goes where its program's words go.
fn serve(order: Order, locks: &[RawFd], way: OwnedFd, says: OwnedFd) -> u8 {
    match take_order(order, locks, way, says) {
        Ok(code) => code,
        Err(error) => {
            let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
            let _ = nix::unistd::write(std::io::stderr(), format!("{error}{hint}\n").as_bytes());
            125
        }
    }
}

/// It is in nobody's way: no key's signal reaches it, and it has nothing of the caller's but the layers.
fn take_order(mut order: Order, locks: &[RawFd], way: OwnedFd, says: OwnedFd) -> Result<u8, ExecError> {
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    setsid().map_err(outside("leave the terminal"))?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(outside("open /dev/null"))?;
    let placed = dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&says));
    placed.map_err(outside("redirect the standard descriptors"))?;
    let mut kept: Vec<RawFd> = order.directories.iter().map(AsRawFd::as_raw_fd).collect();
    kept.extend(locks.iter().copied().chain([way.as_raw_fd()]));
    kept.sort_unstable();
    // Closed with everything else that is not kept, and by nobody a second time.
    let _ = (null.into_raw_fd(), says.into_raw_fd());
    process::close_all_but(&kept).map_err(outside("close descriptors"))?;
    chdir("/").map_err(outside("leave the directory"))?;
    let _ = nix::sys::prctl::set_name(c"sbx-overlay");
    let device = loop {
        match message::receive_descriptor(&way) {
            Err(Errno::EINTR) => {}
            // The sandbox was not made, or has no need of this one.
            Ok(None) => return Ok(0),
            device => break device.map_err(outside("receive a descriptor"))?,
        }
    };
    drop(way);
    let Some(device) = device else { return Ok(0) };
    order.plan.keep_fds = vec![device.as_raw_fd()];
    order.plan.command.push(format!("/dev/fd/{}", device.as_raw_fd()).into());
    let mut prepared = prepare::prepare(&order.plan)?;
    drop(order.directories);
    prepared.keep_open(locks);
    prepared.parent_grace = GRACE;
    let finished = launch::run(&order.plan, prepared, &mut |_| {})?;
    Ok(finished.outcome.exit_code())
}
