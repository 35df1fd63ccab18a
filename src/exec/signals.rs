//! Signals that sbx gets while a sandbox lives, and the stop that it shares with its payload.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::getpgrp;

use crate::sys::signal;

/// Signals that are passed on.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// Sent by the kernel, for a key mostly (`si_code`, sigaction(2)): everybody in the foreground has got it.
pub(super) const FROM_KERNEL: i32 = 0x80;

/// The signals that sbx takes from a descriptor while this lives.
#[derive(Debug)]
pub(super) struct TakenSignals {
    file: SignalFd,
    before: SigSet,
}

impl TakenSignals {
    pub(super) fn take() -> nix::Result<Self> {
        let mut taken = SigSet::empty();
        // What the caller has switched off stays off.
        let wanted = PASSED_ON.into_iter().filter(|signal| !signal::ignores(*signal as i32));
        wanted.for_each(|signal| taken.add(signal));
        let mut blocked = taken;
        // Only asked about, never acted on: sbx looks whether it is in the foreground.
        blocked.add(Signal::SIGTTOU);
        blocked.add(Signal::SIGTTIN);
        let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let file = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { file, before })
    }

    /// The next one that has come, if any.
    pub(super) fn next(&self) -> Option<siginfo> {
        self.file.read_signal().ok().flatten()
    }
}

impl AsFd for TakenSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for TakenSignals {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Stops sbx, with all of its process group where a key stopped the payload. Where nobody could continue it, a stop from the
/// terminal is as if nothing had happened (the kernel ignores it in an orphaned process group).
pub(super) fn stop_self(signal: i32, only_this: bool) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    let mut mask = SigSet::empty();
    mask.add(signal);
    // Not stopped before the signal comes through.
    let _ = match only_this || signal == Signal::SIGSTOP {
        true => nix::sys::signal::raise(signal),
        false => nix::sys::signal::killpg(getpgrp(), signal),
    };
    let _ = mask.thread_unblock();
    let _ = mask.thread_block();
}
