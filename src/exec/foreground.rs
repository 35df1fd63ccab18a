//! Whose terminal it is, outside: the payload's while sbx is in the foreground, and given back when it stops or ends.
#![forbid(unsafe_code)]

use super::outer::CallersTerminal;
use super::signals::stop_self;
use super::step::Command;
use super::supervise::{Progress, Supervisor};
use crate::profile::TerminalMode;

impl Supervisor<'_> {
    pub(super) fn resize(&self, progress: &Progress) {
        match (&progress.relay, self.terminal.as_ref().map(CallersTerminal::size)) {
            (Some(relay), Some(Ok(size))) => drop(size.set(relay.master())),
            _ => self.tell(Command::SignalGroup(libc::SIGWINCH)),
        }
    }

    /// Uses the caller's terminal for the payload, if it is sbx's turn; whether it is.
    pub(super) fn use_terminal(&mut self, progress: &mut Progress) -> bool {
        // In a pipeline the other programs want their keys, until this one asks.
        let wanted = |terminal: &CallersTerminal| terminal.is_all_the_payloads();
        match self.mode {
            TerminalMode::Pty if !self.terminal.as_ref().is_some_and(wanted) => false,
            _ => self.give_terminal(progress),
        }
    }

    /// The payload has stopped, so sbx stops, for whoever started it to see.
    pub(super) fn stop(&mut self, progress: &mut Progress, signal: i32) {
        let wants_terminal = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        if wants_terminal && self.give_terminal(progress) {
            self.make_foreground(progress);
            self.tell(Command::SignalGroup(libc::SIGCONT));
            return;
        }
        if let (Some(relay), Some(terminal)) = (&mut progress.relay, &self.terminal) {
            relay.finish(terminal);
        }
        self.take_terminal_back(progress);
        let only_this = std::mem::take(&mut progress.stop_passed_on) || self.terminal.is_none();
        stop_self(signal, only_this);
        // Whoever continues sbx says so by a signal. Where none has come, nothing has stopped it.
        if !self.pass_signals_on(progress) {
            self.go_on(progress);
        }
    }

    /// Makes the terminal the payload's, if it is sbx's to give; whether it is.
    pub(super) fn give_terminal(&mut self, progress: &mut Progress) -> bool {
        let Some(terminal) = &mut self.terminal else { return false };
        let mine = progress.given || terminal.is_foreground();
        if let (TerminalMode::Pty, true, Some(relay)) = (self.mode, mine, &mut progress.relay) {
            if !terminal.is_raw() {
                relay.take_typed_lines(terminal);
            }
            if terminal.go_raw().is_err() {
                return false;
            }
            // Only now is it known what the modes are when no line editor of a shell has set them.
            if std::mem::take(&mut self.modes_unknown) {
                let _ = terminal.modes().set(relay.master());
            }
        }
        progress.given = mine;
        mine
    }

    /// Keys wait until the payload's group is the foreground: else a Ctrl-C among them would reach nobody.
    pub(super) fn make_foreground(&self, progress: &mut Progress) {
        progress.keys_wait = self.mode == TerminalMode::Pty;
        self.tell(Command::Foreground);
    }

    /// What was the payload's is sbx's again.
    pub(super) fn take_terminal_back(&mut self, progress: &mut Progress) {
        let given = std::mem::take(&mut progress.given);
        match &mut self.terminal {
            Some(terminal) if self.mode == TerminalMode::Inherit && given => terminal.take_back(),
            Some(terminal) => terminal.restore(),
            None => {}
        }
    }

    /// sbx runs again, perhaps in the foreground now, or in the background.
    pub(super) fn go_on(&mut self, progress: &mut Progress) {
        if self.terminal.is_some() {
            match self.use_terminal(progress) {
                true => self.make_foreground(progress),
                false => self.tell(Command::Background),
            }
            if progress.relay.is_some() {
                self.resize(progress);
            }
        }
        self.tell(Command::SignalGroup(libc::SIGCONT));
    }
}
