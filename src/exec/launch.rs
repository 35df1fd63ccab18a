//! The outside: what must be done before `clone3`, and the wait for the end.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};

use super::init::{self, Inside};
use super::janitor::Janitor;
use super::prepare::{self, Prepared};
use super::step::{REPORT_SIZE, Report};
use super::{ExecError, Finished, Outcome};
use crate::plan::Plan;
use crate::profile::{Level, NetworkMode};
use crate::sys::process::{self, Clone3};

/// The one empty session keyring that all sandboxes of a user share. It has a name because anonymous ones count against
/// the user's quota until the kernel gets round to freeing them.
const SESSION_KEYRING: &CStr = c"sbx-empty";

pub(super) fn run(plan: &Plan) -> Result<Finished, ExecError> {
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    let mut prepared = prepare::prepare(plan)?;
    assert_single_threaded()?;
    process::close_on_exec_from(3).map_err(outside("mark descriptors close-on-exec"))?;
    join_keyring(plan)?;
    let janitor = match &prepared.protection {
        protection if protection.places.is_empty() => None,
        protection => Some(Janitor::start(&protection.places)?),
    };
    let (lifeline, lifeline_held) = pipe2(OFlag::O_CLOEXEC).map_err(outside("make a pipe"))?;
    let (reports, report) = pipe2(OFlag::O_CLOEXEC).map_err(outside("make a pipe"))?;
    let whole = Vec::with_capacity(prepared.items.iter().filter(|item| item.binds_root()).count());
    let request = Clone3 { namespaces: namespaces(plan), cgroup: None };
    let made = process::clone3(request)
        .map_err(|errno| ExecError::Clone { cause: super::cause::of_clone(errno), errno })?;
    let Some((pid, pidfd)) = made else {
        drop(lifeline_held);
        drop(reports);
        let janitor = janitor.as_ref().and_then(Janitor::socket);
        init::run(Inside { plan, prepared: &mut prepared, whole, report, lifeline, janitor })
    };
    drop(report);
    drop(lifeline);
    let outcome = Init { pid, pidfd, reports }.supervise(plan, &prepared);
    drop(lifeline_held);
    drop(janitor);
    Ok(Finished { outcome: outcome?, appeared: prepared.protection.appeared() })
}

/// The child of a `clone3` has only the thread that called it: a lock that another one held would stay held for good.
/// `/proc/self/task` has a link for each thread besides its own two.
fn assert_single_threaded() -> Result<(), ExecError> {
    match std::fs::metadata("/proc/self/task") {
        Ok(task) if task.nlink() == 3 => Ok(()),
        Ok(_) => Err(ExecError::Threads),
        Err(error) => Err(ExecError::NoProc(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))),
    }
}

fn join_keyring(plan: &Plan) -> Result<(), ExecError> {
    let level = plan.privileges.session_keyring;
    if level == Level::Off {
        return Ok(());
    }
    match process::join_session_keyring(SESSION_KEYRING) {
        Err(errno) if level == Level::Require => {
            Err(ExecError::Outside { what: "join an empty session keyring", errno })
        }
        _ => Ok(()),
    }
}

/// `CLONE_NEW*` bits; a user and a mount namespace are part of every plan. The time namespace is made later, because its
/// offsets could not be written here.
fn namespaces(plan: &Plan) -> u64 {
    let namespaces = &plan.namespaces;
    let wanted = [
        (libc::CLONE_NEWUSER, true),
        (libc::CLONE_NEWNS, true),
        (libc::CLONE_NEWPID, namespaces.pid),
        (libc::CLONE_NEWUTS, namespaces.uts),
        (libc::CLONE_NEWIPC, namespaces.ipc),
        (libc::CLONE_NEWCGROUP, namespaces.cgroup),
        (libc::CLONE_NEWNET, namespaces.network.value != NetworkMode::Host),
    ];
    wanted
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .fold(0, |flags, (flag, _)| flags | u64::from(flag as u32))
}

/// PID 1, seen from outside.
struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    reports: OwnedFd,
}

impl Init {
    /// Waits for the end: of the payload, of its time, or of PID 1 by somebody else's hand.
    fn supervise(self, plan: &Plan, prepared: &Prepared) -> Result<Outcome, ExecError> {
        let timeout = plan.limits.timeout.as_ref();
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout.value));
        let timed_out = !self.ends_before(deadline);
        if timed_out {
            self.kill();
        }
        self.wait();
        match self.report() {
            Some(Report::Failed(failure)) => Err(ExecError::of_failure(plan, prepared, failure)),
            Some(Report::Exited(code)) => Ok(Outcome::Exited(code)),
            Some(Report::Signaled(signal)) => Ok(Outcome::Signaled(signal)),
            None if timed_out => Ok(Outcome::TimedOut),
            None => Err(ExecError::InitKilled),
        }
    }

    /// Sleeps until PID 1 ends; whether that is before the deadline. Only its end wakes sbx: what it reports lies in the pipe
    /// until then.
    fn ends_before(&self, deadline: Option<Instant>) -> bool {
        loop {
            let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                // Rounded up, so that poll does not return just before the deadline again and again.
                Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// The first thing that the inside said.
    fn report(&self) -> Option<Report> {
        let mut bytes = [0; REPORT_SIZE];
        loop {
            match nix::unistd::read(&self.reports, &mut bytes) {
                Err(Errno::EINTR) => {}
                Ok(REPORT_SIZE) => return Report::decode(&bytes),
                _ => return None,
            }
        }
    }

    fn kill(&self) {
        // Gone already is as good as killed.
        let _ = process::signal_pidfd(&self.pidfd, libc::SIGKILL);
    }

    /// Waits until PID 1, and with it everything in its namespaces, is gone.
    fn wait(&self) {
        while process::wait(Some(self.pid)) == Err(Errno::EINTR) {}
    }
}
