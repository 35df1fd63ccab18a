//! The outside: what must be done before `clone3`, and the wait for the end.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

use super::init::{self, Inside};
use super::prepare::{self, Prepared};
use super::step::{REPORT_SIZE, Report};
use super::{ExecError, Outcome};
use crate::plan::{BindSource, MountOp, Plan};
use crate::profile::{Level, NetworkMode};
use crate::sys::process::{self, Clone3, Forked};

/// The one empty session keyring that all sandboxes of a user share. It has a name because anonymous ones count against
/// the user's quota until the kernel gets round to freeing them.
const SESSION_KEYRING: &CStr = c"sbx-empty";

pub(super) fn run(plan: &Plan) -> Result<Outcome, ExecError> {
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    let mut prepared = prepare::prepare(plan)?;
    assert_single_threaded()?;
    process::close_on_exec_from(3).map_err(outside("mark descriptors close-on-exec"))?;
    join_keyring(plan)?;
    let (lifeline, lifeline_held) = pipe2(OFlag::O_CLOEXEC).map_err(outside("make a pipe"))?;
    let (reports, report) = pipe2(OFlag::O_CLOEXEC).map_err(outside("make a pipe"))?;
    let whole = Vec::with_capacity(plan.mounts.iter().filter(|mount| binds_root(&mount.op)).count());
    let request = Clone3 { namespaces: namespaces(plan), cgroup: None };
    match process::clone3(request)
        .map_err(|errno| ExecError::Clone { cause: super::cause::of_clone(errno), errno })?
    {
        Forked::Child => {
            drop(lifeline_held);
            drop(reports);
            init::run(Inside { plan, prepared: &mut prepared, whole, report, lifeline })
        }
        Forked::Parent(pid, pidfd) => {
            drop(report);
            drop(lifeline);
            let init = Init { pid, pidfd, reports };
            let outcome = init.supervise(plan, &prepared);
            drop(lifeline_held);
            outcome
        }
    }
}

/// Whether a bind's source can be the root itself; links are resolved later, so any path may lead there.
fn binds_root(op: &MountOp) -> bool {
    matches!(op, MountOp::Bind { source: BindSource::Path(_) | BindSource::Fd(_), .. })
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
    pidfd: Option<OwnedFd>,
    reports: OwnedFd,
}

impl Init {
    /// Waits for the end: of the payload, of its time, or of PID 1 by somebody else's hand.
    fn supervise(self, plan: &Plan, prepared: &Prepared) -> Result<Outcome, ExecError> {
        let deadline =
            plan.limits.timeout.as_ref().and_then(|timeout| Instant::now().checked_add(timeout.value));
        let mut timed_out = false;
        let mut last = None;
        loop {
            match self.next_report(if timed_out { None } else { deadline }) {
                Next::Report(report) => last = last.or(Some(report)),
                Next::End => break,
                Next::DeadlinePassed => {
                    timed_out = true;
                    self.kill();
                }
            }
        }
        let status = self.wait();
        match last {
            Some(Report::Failed(failure)) => {
                Err(ExecError::of_failure(plan, prepared.candidates.len(), failure))
            }
            Some(Report::Exited(code)) => Ok(Outcome::Exited(code)),
            Some(Report::Signaled(signal)) => Ok(Outcome::Signaled(signal)),
            None if timed_out => Ok(Outcome::TimedOut),
            None => Err(ExecError::InitKilled(status)),
        }
    }

    fn next_report(&self, deadline: Option<Instant>) -> Next {
        loop {
            let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                // Rounded up, so that poll does not return just before the deadline again and again.
                Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Next::DeadlinePassed;
            }
            let mut readable = [PollFd::new(self.reports.as_fd(), PollFlags::POLLIN)];
            match poll(&mut readable, timeout) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return Next::End,
            }
            let mut bytes = [0; REPORT_SIZE];
            return match nix::unistd::read(&self.reports, &mut bytes) {
                Err(Errno::EINTR) => continue,
                Ok(REPORT_SIZE) => Report::decode(&bytes).map_or(Next::End, Next::Report),
                _ => Next::End,
            };
        }
    }

    fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            // Gone already is as good as killed.
            let _ = process::signal_pidfd(pidfd, libc::SIGKILL);
        }
    }

    /// Waits until PID 1, and with it everything in its namespaces, is gone.
    fn wait(&self) -> Option<WaitStatus> {
        loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                result => return result.ok(),
            }
        }
    }
}

enum Next {
    Report(Report),
    End,
    DeadlinePassed,
}
