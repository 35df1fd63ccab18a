//! PID 1 once the payload runs: reaps what ends, tells sbx what becomes of the payload, passes on what sbx says, and ends
//! with it. Nothing here allocates.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgrp, tcsetpgrp};

use super::init::Inside;
use super::joined::Joined;
use super::own_terminal::OwnTerminal;
use super::step::{COMMAND_SIZE, Command, Report};
use crate::sys::process::{self, Change};
use crate::sys::{message, signal};

/// What PID 1 watches over.
pub(super) struct Watched {
    pub(super) payload: Pid,
    pub(super) terminal: Option<OwnTerminal>,
    pub(super) signals: SignalFd,
    /// The sandbox's procfs.
    pub(super) view: OwnedFd,
    /// Everything that the payload leaves behind is waited for.
    pub(super) waits: bool,
}

/// Has ends of children told by a descriptor. `SIGTTOU` would stop PID 1 where it hands the terminal over.
pub(super) fn block_signals() -> nix::Result<SignalFd> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let mut blocked = children;
    blocked.add(Signal::SIGTTOU);
    blocked.thread_set_mask()?;
    SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Watches until the payload ends, or sbx. When PID 1 ends the kernel kills all that is left in the namespace
/// (pid_namespaces(7)).
pub(super) fn watch(watched: Watched, mut inside: Inside<'_>) -> ! {
    let mut ended = false;
    let mut joined = Joined::new();
    loop {
        let mut awaited = [
            PollFd::new(inside.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(watched.signals.as_fd(), PollFlags::POLLIN),
        ];
        // Where it fails, there may be memory at the next try.
        if poll(&mut awaited, PollTimeout::NONE).is_err() {
            continue;
        }
        let [commands, children] = awaited.map(|one| one.any().unwrap_or(true));
        if children {
            while let Ok(Some(_)) = watched.signals.read_signal() {}
            reap(&watched, &inside.control, &mut joined, &mut ended);
        }
        if commands {
            obey(&watched, &mut inside, &mut joined, ended);
        }
    }
}

/// Looks at every child that something has become of.
fn reap(watched: &Watched, control: &OwnedFd, joined: &mut Joined, ended: &mut bool) {
    loop {
        match process::changed() {
            Ok(Some((pid, change))) if pid == watched.payload => {
                let report = match change {
                    Change::Exited(code) => Report::Exited(code),
                    Change::Signaled(signal) => Report::Signaled(signal),
                    Change::Stopped(signal) => Report::Stopped(signal),
                };
                report.send(control);
                *ended |= !matches!(change, Change::Stopped(_));
                if *ended && !watched.waits {
                    process::exit_now(0);
                }
            }
            Ok(Some((_, Change::Stopped(_)))) => {}
            Ok(Some((pid, change))) => {
                let Some(number) = joined.ended(pid) else { continue };
                match change {
                    Change::Signaled(signal) => Report::JoinedSignaled(number, signal).send(control),
                    Change::Exited(code) | Change::Stopped(code) => {
                        Report::JoinedExited(number, code).send(control);
                    }
                }
            }
            Err(Errno::EINTR) => {}
            Ok(None) => return,
            // Nobody is left.
            Err(_) => process::exit_now(if *ended { 0 } else { 125 }),
        }
    }
}

/// Carries out one command; ends when sbx is gone.
fn obey(watched: &Watched, inside: &mut Inside<'_>, joined: &mut Joined, ended: bool) {
    let mut bytes = [0; COMMAND_SIZE];
    let (command, descriptors) = match message::receive(&inside.control, &mut bytes) {
        Ok((COMMAND_SIZE, descriptors)) => (Command::decode(&bytes), descriptors),
        Err(Errno::EINTR | Errno::EAGAIN) => return,
        _ => process::exit_now(125),
    };
    let payload = watched.payload.as_raw();
    // What is gone meanwhile needs no signal and no terminal.
    let _ = match (command, &watched.terminal) {
        // What the command has left behind is meant.
        (Some(Command::Signal(signal) | Command::SignalGroup(signal)), _) if ended => {
            signal::send(-1, signal)
        }
        (Some(Command::Signal(signal)), _) => signal::send(payload, signal),
        (Some(Command::SignalGroup(signal)), _) => signal::send(-payload, signal),
        (Some(Command::Foreground), Some(terminal)) => {
            let done = tcsetpgrp(&terminal.side, watched.payload);
            Report::Foreground.send(&inside.control);
            done
        }
        (Some(Command::Background), Some(terminal)) => tcsetpgrp(&terminal.side, getpgrp()),
        (Some(Command::Join(number, terminals)), _) => {
            joined.start(inside, &watched.view, number, terminals, descriptors);
            Ok(())
        }
        (Some(Command::SignalJoined(number, signal)), _) => {
            joined.signal(number, signal);
            Ok(())
        }
        _ => Ok(()),
    };
}
