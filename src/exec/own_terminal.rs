//! The payload's terminal, inside. Nothing here allocates.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, fchown, setpgid, tcsetpgrp};

use super::prepare::OuterTerminal;
use crate::plan::RunsAs;
use crate::sys::{message, process, terminal};

/// What the payload and PID 1 have for a terminal.
pub(super) struct OwnTerminal {
    /// The side that programs use.
    pub(super) side: OwnedFd,
    /// The other side, which goes to sbx.
    master: Option<OwnedFd>,
    /// Whether the payload starts in its foreground.
    pub(super) foreground: bool,
}

/// A pseudoterminal from the sandbox's own devpts, like the one outside: PID 1 leads its session, so that a stopped payload
/// has somebody who can continue it, and its other end goes to sbx. What was the terminal outside of the standard descriptors
/// becomes this one. Where the caller's terminal is kept, that is what is used.
pub(super) fn make(
    outer: &OuterTerminal,
    devpts: Option<OwnedFd>,
    owner: Option<&RunsAs>,
) -> nix::Result<OwnTerminal> {
    let foreground = outer.foreground;
    if outer.inherit {
        let fd = outer.numbers.first().copied().ok_or(Errno::ENOTTY)?;
        let side = process::inherited(fd)?.try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
        return Ok(OwnTerminal { side, master: None, foreground });
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = openat(devpts.ok_or(Errno::ENOENT)?, c"ptmx", flags, Mode::empty())?;
    let side = terminal::peer(&master)?;
    if let Some(user) = owner {
        fchown(&side, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
    }
    outer.modes.set(&side)?;
    outer.size.set(&side)?;
    terminal::control(&side)?;
    for number in &outer.numbers {
        terminal::stand_in(&side, *number)?;
    }
    Ok(OwnTerminal { side, master: Some(master), foreground })
}

/// What PID 1 does for the payload's process group, as the payload itself does, whoever comes first: before sbx passes on
/// the first key or signal there must be one, and it must be in the foreground.
pub(super) fn settle(payload: Pid, terminal: Option<&mut OwnTerminal>, control: &OwnedFd) {
    // It may be further already, or gone.
    let _ = setpgid(payload, payload);
    let Some(terminal) = terminal else { return };
    if terminal.foreground {
        let _ = tcsetpgrp(&terminal.side, payload);
    }
    if let Some(master) = terminal.master.take() {
        let _ = message::send_descriptor(control, master);
    }
}
