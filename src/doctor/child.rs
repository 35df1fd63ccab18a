//! Throw-away children. What one tries, it tells before and after through a pipe: where it hangs or is killed, the last
//! thing that it began was the one.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

use super::facts::{Step, Tried};
use crate::sys::process::{self, Clone3, Forked};
use crate::sys::signal;

/// How long one child may take.
const TIME: Duration = Duration::from_secs(4);

/// How long a killed child may take to go.
const GOING: Duration = Duration::from_secs(1);

/// What has been found out so far.
pub(super) type Found = BTreeMap<Step, Tried>;

/// Bytes of a report: which step, counted in those the child was told of, what about it, and a number.
const REPORT: usize = 6;
const BEGINS: u8 = 0;
const ENDS: u8 = 1;
const ANSWERS: u8 = 2;

/// The child's end.
pub(super) struct Reporter<'a> {
    steps: &'a [Step],
    pipe: OwnedFd,
}

impl Reporter<'_> {
    /// Tries a step, which must be one of those announced; whether it works.
    pub(super) fn attempt(&self, step: Step, act: impl FnOnce() -> nix::Result<()>) -> bool {
        self.get(step, || act().map(Some)).is_some()
    }

    /// The same, for a step that makes what later ones need.
    pub(super) fn make<T>(&self, step: Step, act: impl FnOnce() -> nix::Result<T>) -> Option<T> {
        self.get(step, || act().map(Some))
    }

    /// The same, for a step whose answer is a number.
    pub(super) fn ask(&self, step: Step, act: impl FnOnce() -> nix::Result<u32>) {
        self.say(step, BEGINS, 0);
        match act() {
            Ok(number) => self.say(step, ANSWERS, number as i32),
            Err(errno) => self.say(step, ENDS, errno as i32),
        }
    }

    fn get<T>(&self, step: Step, act: impl FnOnce() -> nix::Result<Option<T>>) -> Option<T> {
        self.say(step, BEGINS, 0);
        let result = act();
        self.say(step, ENDS, result.as_ref().err().map_or(0, |errno| *errno as i32));
        result.ok().flatten()
    }

    fn say(&self, step: Step, what: u8, number: i32) {
        let index = self.steps.iter().position(|known| *known == step).unwrap_or_default();
        let mut report = [index as u8, what, 0, 0, 0, 0];
        report[2..].copy_from_slice(&number.to_ne_bytes());
        // Whoever reads may be gone; then nobody is left to tell.
        let _ = nix::unistd::write(&self.pipe, &report);
    }
}

/// Runs `body` in a child that is killed when it takes too long. `steps` are those that it may try.
///
/// # Errors
/// The child can't be made.
pub(super) fn run(
    namespaces: Option<u64>,
    steps: &[Step],
    found: &mut Found,
    body: impl FnOnce(&Reporter<'_>),
) -> nix::Result<()> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let child = match namespaces {
        None => match process::fork()? {
            Forked::Child => None,
            Forked::Parent(pid) => Some((pid, None)),
        },
        Some(namespaces) => {
            process::clone3(Clone3 { namespaces, cgroup: None })?.map(|(pid, pidfd)| (pid, Some(pidfd)))
        }
    };
    let Some((pid, _pidfd)) = child else {
        // Dies with the doctor, who may be killed.
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        drop(read);
        body(&Reporter { steps, pipe: write });
        process::exit_now(0);
    };
    drop(write);
    let (reports, in_time) = collect(&read);
    end(pid);
    for report in reports.chunks_exact(REPORT) {
        let Some(step) = steps.get(usize::from(report[0])) else { continue };
        let number = i32::from_ne_bytes([report[2], report[3], report[4], report[5]]);
        let tried = match (report[1], number) {
            (BEGINS, _) if in_time => Tried::Killed,
            (BEGINS, _) => Tried::Hung,
            (ANSWERS, number) => Tried::Answered(number as u32),
            (_, 0) => Tried::Works,
            (_, errno) => Tried::Failed(Errno::from_raw(errno)),
        };
        found.insert(*step, tried);
    }
    Ok(())
}

/// Everything up to the end of the pipe, and whether it came in time.
pub(super) fn collect(pipe: impl AsFd) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let until = Instant::now() + TIME;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut part = [0; 4096];
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return (all, false),
            Err(Errno::EINTR) if !left.is_zero() => continue,
            Err(_) => return (all, false),
            Ok(_) => {}
        }
        match nix::unistd::read(pipe.as_fd(), &mut part) {
            Ok(0) => return (all, true),
            // Nobody needs to say more than this.
            Ok(length) if all.len() < 1 << 16 => all.extend_from_slice(&part[..length]),
            Err(Errno::EINTR) => {}
            _ => return (all, false),
        }
    }
}

/// Kills a child, which not even that may reach while it waits for a device, and takes what is left of it away.
fn end(pid: Pid) {
    let until = Instant::now() + GOING;
    let _ = signal::send(pid.as_raw(), libc::SIGKILL);
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) if Instant::now() < until => {
                std::thread::sleep(Duration::from_micros(200));
            }
            _ => return,
        }
    }
}
