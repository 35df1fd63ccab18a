//! The outside: what must be done before `clone3`, and the wait for the end.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::time::TimeVal;
use nix::unistd::{Pid, getppid, pipe2};

use super::control::Server;
use super::init::{self, Inside, Placement};
use super::janitor::Janitor;
use super::outer::CallersTerminal;
use super::place::Place;
use super::prepare::{OuterTerminal, Prepared};
use super::servers::Servers;
use super::signals::TakenSignals;
use super::supervise::Supervisor;
use super::{ExecError, Finished, Started, Times};
use crate::cause::Machine;
use crate::plan::Plan;
use crate::profile::{Level, NetworkMode, TerminalMode};
use crate::sys::process::{self, Clone3};
use crate::sys::signal;

/// The one empty session keyring that all sandboxes of a user share. It has a name because anonymous ones count against
/// the user's quota until the kernel gets round to freeing them.
const SESSION_KEYRING: &CStr = c"sbx-empty";

pub(super) fn run(
    plan: &Plan,
    mut prepared: Prepared,
    on_start: &mut dyn FnMut(Started<'_>),
) -> Result<Finished, ExecError> {
    let start = Instant::now();
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    let parent = plan.die_with_parent.then(parent).transpose()?.map(|parent| (parent, prepared.parent_grace));
    shed_what_was_inherited(plan)?;
    let terminal = callers_terminal(plan.terminal.value, &mut prepared)?;
    let signals = TakenSignals::take().map_err(outside("take signals"))?;
    let mut place = Place::take(plan, std::mem::take(&mut prepared.taken.misses))?;
    let janitor = janitor(plan, &prepared, terminal.as_ref(), &mut place)?;
    let mut servers = start_servers(&mut prepared)?;
    let (control, inner_control) = control_socket().map_err(outside("make a socket"))?;
    let (setup, report) = pipe2(OFlag::O_CLOEXEC).map_err(outside("make a pipe"))?;
    let Some((pid, pidfd)) = make_process(plan, &mut place)? else {
        drop((control, setup));
        prepared.has_cgroup = place.has_cgroup();
        init::run(Inside {
            plan,
            whole: std::mem::take(&mut prepared.whole),
            prepared: &mut prepared,
            report: Some(report),
            control: inner_control,
            janitor: janitor.as_ref().and_then(Janitor::socket),
            placement: place.placement(),
            umask: 0,
        })
    };
    drop((report, inner_control, std::mem::take(&mut prepared.ways)));
    let settled = place.settle(pid.as_raw(), &pidfd, &control, janitor.as_ref());
    settled.inspect_err(|_| end(pid, &pidfd))?;
    let mut tell = || {
        let cgroup = place.leaf().map(|leaf| leaf.path());
        on_start(Started { init: pid.as_raw(), name: place.name(), cgroup, misses: &place.misses });
    };
    let supervisor = Supervisor {
        pid,
        pidfd,
        setup: Some(setup),
        control,
        signals,
        modes_unknown: terminal.as_ref().is_some_and(|terminal| !terminal.is_foreground()),
        terminal,
        mode: plan.terminal.value,
        parent,
        time: plan.limits.timeout.as_ref().map(|time| time.value),
        on_start: &mut tell,
        servers: &mut servers,
        server: place.entry().map(|entry| Server::new(plan, entry)),
    };
    let of_failure = |failure| ExecError::of_failure(plan, &prepared, failure);
    let ended =
        supervisor.run().and_then(|(outcome, failure)| failure.map(of_failure).map_or(Ok(outcome), Err));
    let (ended, usage) = place.judge(servers.settle(ended));
    place.leave(janitor);
    let (appeared, times) = (prepared.protection.appeared(), times(start.elapsed()));
    Ok(Finished { outcome: ended?, appeared, layers: prepared.taken.changed(), usage, times })
}

/// Nothing of what started sbx is left that a child should not have.
fn shed_what_was_inherited(plan: &Plan) -> Result<(), ExecError> {
    assert_single_threaded()?;
    process::close_on_exec_from(3)
        .map_err(|errno| ExecError::Outside { what: "mark descriptors close-on-exec", errno })?;
    join_keyring(plan)
}

/// The caller's terminal, which the inside is told of.
fn callers_terminal(
    mode: TerminalMode,
    prepared: &mut Prepared,
) -> Result<Option<CallersTerminal>, ExecError> {
    let terminal = match mode {
        TerminalMode::None => None,
        _ => CallersTerminal::find()
            .map_err(|errno| ExecError::Outside { what: "open the terminal", errno })?,
    };
    prepared.terminal = terminal.as_ref().map(|terminal| outer_terminal(terminal, mode)).transpose()?;
    Ok(terminal)
}

/// The janitor, where there is anything that it has to take away should sbx be killed, or a scope to be held. It knows of the
/// sandbox's cgroup before that is made.
fn janitor(
    plan: &Plan,
    prepared: &Prepared,
    terminal: Option<&CallersTerminal>,
    place: &mut Place<'_>,
) -> Result<Option<Janitor>, ExecError> {
    let own = plan.terminal.value == TerminalMode::Pty;
    let terminal = terminal.filter(|_| own).map(CallersTerminal::bequest);
    let places = &prepared.protection.places;
    let mut tries = 2;
    loop {
        let needed = !places.is_empty() || terminal.is_some() || place.has_cgroup();
        let janitor = needed.then(|| Janitor::start(places, terminal, place.bequeathed())).transpose()?;
        if place.make_cgroup(tries)? {
            return Ok(janitor);
        }
        tries -= 1;
    }
}

/// What serves the overlays, if anything is to: not before the janitor, which has none of the ways to it.
fn start_servers(prepared: &mut Prepared) -> Result<Servers, ExecError> {
    let locks: Vec<RawFd> = prepared.taken.layers.iter().map(|layer| layer.lock.as_raw_fd()).collect();
    Servers::start(std::mem::take(&mut prepared.orders), &mut prepared.ways, &locks)
}

/// PID 1, in its cgroup if that can be; nothing in PID 1 itself.
fn make_process(plan: &Plan, place: &mut Place<'_>) -> Result<Option<(Pid, OwnedFd)>, ExecError> {
    loop {
        let request = Clone3 { namespaces: namespaces(plan, place), cgroup: place.birthplace() };
        match process::clone3(request) {
            Err(errno) if place.refuse_birth(errno)? => {}
            made => {
                return made
                    .map_err(|errno| ExecError::Clone { cause: Machine::look().of_clone(errno), errno });
            }
        }
    }
}

/// Ends a sandbox that is not to run.
fn end(pid: Pid, pidfd: &OwnedFd) {
    let _ = signal::send_by_pidfd(pidfd, libc::SIGKILL);
    while process::wait(pid) == Err(Errno::EINTR) {}
}

/// What the children of this process have used, all of whom have ended.
fn times(wall: Duration) -> Times {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
    let time = |time: TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).try_into().unwrap_or(0))
    };
    let (user, system) =
        usage.map(|usage| (time(usage.user_time()), time(usage.system_time()))).unwrap_or_default();
    Times { wall, user, system }
}

fn control_socket() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// The process that started sbx, to be watched: a signal at the parent's death would come at the end of a thread.
fn parent() -> Result<OwnedFd, ExecError> {
    let outside = |errno| ExecError::Outside { what: "watch the process that started sbx", errno };
    let parent = getppid();
    if parent.as_raw() == 0 {
        return Err(ExecError::ForeignParent);
    }
    let pidfd = process::pidfd_of(parent).map_err(outside)?;
    // Gone before it could be watched: its number is somebody else's, or soon will be.
    if getppid() == parent { Ok(pidfd) } else { Err(outside(Errno::ESRCH)) }
}

fn outer_terminal(terminal: &CallersTerminal, mode: TerminalMode) -> Result<OuterTerminal, ExecError> {
    let outside = |errno| ExecError::Outside { what: "look at the terminal", errno };
    let inherit = mode == TerminalMode::Inherit;
    Ok(OuterTerminal {
        numbers: terminal.numbers.clone(),
        modes: terminal.modes(),
        size: terminal.size().map_err(outside)?,
        foreground: terminal.is_foreground() && (inherit || terminal.is_all_the_payloads()),
        inherit,
    })
}

/// The child of a `clone3` has only the thread that called it: a lock that another one held would stay held for good.
/// `/proc/self/task` has a link for each thread besides its own two.
fn assert_single_threaded() -> Result<(), ExecError> {
    // The deadline's thread may be there for a moment more: most often for less than the shortest nap takes.
    for look in 0..2000 {
        match std::fs::metadata("/proc/self/task") {
            Ok(task) if task.nlink() == 3 => return Ok(()),
            Ok(_) if look < 100 => std::thread::yield_now(),
            Ok(_) => std::thread::sleep(Duration::from_micros(50)),
            Err(error) => {
                return Err(ExecError::NoProc(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)));
            }
        }
    }
    Err(ExecError::Threads)
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
///
/// Where the process is moved to its cgroup, the cgroup namespace is made after that.
fn namespaces(plan: &Plan, place: &Place<'_>) -> u64 {
    let namespaces = &plan.namespaces;
    let later = matches!(place.placement(), Placement::Moved);
    let wanted = [
        (libc::CLONE_NEWUSER, true),
        (libc::CLONE_NEWNS, true),
        (libc::CLONE_NEWPID, namespaces.pid),
        (libc::CLONE_NEWUTS, namespaces.uts),
        (libc::CLONE_NEWIPC, namespaces.ipc),
        (libc::CLONE_NEWCGROUP, namespaces.cgroup && !later),
        (libc::CLONE_NEWNET, namespaces.network.value != NetworkMode::Host),
    ];
    wanted
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .fold(0, |flags, (flag, _)| flags | u64::from(flag as u32))
}
