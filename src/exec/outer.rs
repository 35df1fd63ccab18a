//! The caller's terminal, outside: where the payload's output goes and its keys come from while it has a pseudoterminal of
//! its own.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

use crate::sys::process;
use crate::sys::terminal::{Modes, Size};

/// The caller's terminal.
#[derive(Debug)]
pub(super) struct CallersTerminal {
    /// Opened anew: whether it blocks is nobody else's matter.
    file: OwnedFd,
    /// The modes that it has when nobody of ours changes them.
    modes: Modes,
    /// It is a mere carrier of bytes at the moment, by these modes.
    raw: Option<Modes>,
    /// Which of the standard descriptors it is.
    pub(super) numbers: Vec<RawFd>,
}

impl CallersTerminal {
    /// The terminal that one of the standard descriptors is.
    pub(super) fn find() -> Result<Option<Self>, Errno> {
        let is_terminal = |number: &RawFd| process::inherited(*number).and_then(Modes::of).is_ok();
        let numbers: Vec<RawFd> = (0..3).filter(is_terminal).collect();
        let Some(first) = numbers.first() else { return Ok(None) };
        let inherited = process::inherited(*first)?;
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let own = tcgetpgrp(inherited).is_ok().then(|| open(c"/dev/tty", flags, Mode::empty()));
        let file = match own {
            Some(Ok(file)) => file,
            // Not this session's terminal.
            _ => match open(format!("/proc/self/fd/{first}").as_str(), flags, Mode::empty()) {
                Ok(file) => file,
                // Somebody else's, as after su(1).
                Err(_) => inherited.try_clone_to_owned().map_err(|_| Errno::EMFILE)?,
            },
        };
        let modes = Modes::of(&file)?;
        Ok(Some(Self { file, modes, raw: None, numbers }))
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The modes that a program expects.
    pub(super) fn modes(&self) -> Modes {
        self.modes
    }

    pub(super) fn size(&self) -> Result<Size, Errno> {
        Size::of(&self.file)
    }

    /// Whether keys are for sbx: its process group is in the foreground, or nobody keeps account.
    pub(super) fn is_foreground(&self) -> bool {
        match tcgetpgrp(&self.file) {
            Ok(group) => group == getpgrp(),
            Err(_) => true,
        }
    }

    /// Both what is typed and what is shown are the payload's; else others of a pipeline use the terminal as well.
    pub(super) fn is_all_the_payloads(&self) -> bool {
        self.numbers.contains(&0) && self.shows_output()
    }

    fn shows_output(&self) -> bool {
        self.numbers.contains(&1)
    }

    /// Whether it adds a return to each newline at the moment.
    pub(super) fn adds_returns(&self) -> bool {
        self.raw.as_ref().unwrap_or(&self.modes).adds_returns()
    }

    pub(super) fn is_raw(&self) -> bool {
        self.raw.is_some()
    }

    /// Passes every key on. What its modes are now is what they will be again.
    pub(super) fn go_raw(&mut self) -> Result<(), Errno> {
        if self.raw.is_none() {
            self.modes = Modes::of(&self.file)?;
            let raw = self.modes.raw(self.shows_output());
            raw.set(&self.file)?;
            self.raw = Some(raw);
        }
        Ok(())
    }

    /// Gives the terminal its modes back.
    pub(super) fn restore(&mut self) {
        if self.raw.take().is_some() {
            let _ = self.modes.set(&self.file);
        }
    }

    /// Takes the terminal back from a payload that shared it, modes included.
    pub(super) fn take_back(&self) {
        let _ = tcsetpgrp(&self.file, getpgrp());
        let _ = self.modes.set(&self.file);
    }

    /// What a process that outlives sbx needs to restore it: the terminal, the modes that sbx gives it, and its own.
    pub(super) fn bequest(&self) -> Bequest<'_> {
        Bequest { file: &self.file, raw: self.modes.raw(self.shows_output()), modes: self.modes }
    }
}

impl Drop for CallersTerminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// See [`CallersTerminal::bequest`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bequest<'t> {
    pub(super) file: &'t OwnedFd,
    raw: Modes,
    modes: Modes,
}

impl Bequest<'_> {
    /// Restores the terminal if it still is as sbx, which is dead, has left it.
    pub(super) fn restore(&self) {
        if Modes::of(self.file.as_fd()) == Ok(self.raw) {
            let _ = self.modes.set(self.file);
        }
    }
}
