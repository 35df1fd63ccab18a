//! The outside: what must be done before `clone3`, and the wait for the end.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{getppid, pipe2};

use super::init::{self, Inside};
use super::janitor::Janitor;
use super::outer::CallersTerminal;
use super::prepare::{OuterTerminal, Prepared};
use super::signals::TakenSignals;
use super::supervise::Supervisor;
use super::{ExecError, Finished, Started};
use crate::cause::Machine;
use crate::plan::Plan;
use crate::profile::{Level, NetworkMode, TerminalMode};
use crate::sys::process::{self, Clone3};

/// The one empty session keyring that all sandboxes of a user share. It has a name because anonymous ones count against
/// the user's quota until the kernel gets round to freeing them.
const SESSION_KEYRING: &CStr = c"sbx-empty";

pub(super) fn run(
    plan: &Plan,
    mut prepared: Prepared,
    on_start: &mut dyn FnMut(Started),
) -> Result<Finished, ExecError> {
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    let parent = plan.die_with_parent.then(parent).transpose()?;
    assert_single_threaded()?;
    process::close_on_exec_from(3).map_err(outside("mark descriptors close-on-exec"))?;
    join_keyring(plan)?;
    let mode = plan.terminal.value;
    let terminal = match mode {
        TerminalMode::None => None,
        _ => CallersTerminal::find().map_err(outside("open the terminal"))?,
    };
    prepared.terminal = terminal.as_ref().map(|terminal| outer_terminal(terminal, mode)).transpose()?;
    let modes_unknown = terminal.as_ref().is_some_and(|terminal| !terminal.is_foreground());
    let signals = TakenSignals::take().map_err(outside("take signals"))?;
    let bequest = terminal.as_ref().filter(|_| mode == TerminalMode::Pty).map(CallersTerminal::bequest);
    let janitor = match &prepared.protection {
        protection if protection.places.is_empty() && bequest.is_none() => None,
        protection => Some(Janitor::start(&protection.places, bequest)?),
    };
    let (control, inner_control) = control_socket().map_err(outside("make a socket"))?;
    let (setup, report) = pipe2(OFlag::O_CLOEXEC).map_err(outside("make a pipe"))?;
    let whole = Vec::with_capacity(prepared.items.iter().filter(|item| item.binds_root()).count());
    let request = Clone3 { namespaces: namespaces(plan), cgroup: None };
    let made = process::clone3(request)
        .map_err(|errno| ExecError::Clone { cause: Machine::look().of_clone(errno), errno })?;
    let Some((pid, pidfd)) = made else {
        drop(control);
        drop(setup);
        let janitor = janitor.as_ref().and_then(Janitor::socket);
        let control = inner_control;
        init::run(Inside { plan, prepared: &mut prepared, whole, report, control, janitor })
    };
    drop(report);
    drop(inner_control);
    let time = plan.limits.timeout.as_ref().map(|time| time.value);
    let setup = Some(setup);
    let supervisor = Supervisor {
        pid,
        pidfd,
        setup,
        control,
        signals,
        terminal,
        mode,
        modes_unknown,
        parent,
        time,
        on_start,
    };
    let ended = supervisor.run();
    drop(janitor);
    match ended? {
        (_, Some(failure)) => Err(ExecError::of_failure(plan, &prepared, failure)),
        (outcome, None) => Ok(Finished { outcome, appeared: prepared.protection.appeared() }),
    }
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
    // The deadline's thread may be there for a moment more.
    for _ in 0..500 {
        match std::fs::metadata("/proc/self/task") {
            Ok(task) if task.nlink() == 3 => return Ok(()),
            Ok(_) => std::thread::sleep(Duration::from_micros(200)),
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
