//! A5, A6: typing into a terminal of the host's.

use crate::common::{Need, output};
use crate::row::{Attempt, Reach, Row};
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use sbx::profile::{Setting, TerminalMode};
use std::fs::File;
use std::io::Read as _;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("A5 types into a terminal", [walls::FILTER, OWN_TERMINAL], |attempt| types(attempt, "type")),
        Row::new(
            "A6 types into a terminal by a number of 64 bits",
            [walls::FILTER, OWN_TERMINAL],
            |attempt| types(attempt, "type-by-long-numbers"),
        ),
    ]
    .into_iter()
    .map(|row| row.needs(Need::Other(nobody_types)))
    .collect()
}

/// A terminal and a session of its own.
const OWN_TERMINAL: Wall =
    Wall { name: "own terminal", down: |plan| plan.terminal = Setting::default_value(TerminalMode::Inherit) };

/// Whether the kernel lets no program type at all (Linux 6.2).
fn nobody_types(_: &crate::common::Account) -> Option<String> {
    let off =
        std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|text| text.trim() == "0");
    off.then(|| "dev.tty.legacy_tiocsti is 0".to_owned())
}

/// A terminal: what is typed there, and the end that programs get.
struct Terminal {
    /// The master's end, without which the other one would hang up.
    _master: File,
    slave: File,
}

impl Terminal {
    fn new() -> Result<Self, Failed> {
        let pty = openpty(None, None)?;
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        // Each letter can be read at once, and where there is none, that is told.
        let mut settings = tcgetattr(&slave)?;
        cfmakeraw(&mut settings);
        tcsetattr(&slave, SetArg::TCSANOW, &settings)?;
        fcntl(&slave, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { _master: master, slave })
    }

    fn typed(&mut self) -> Vec<u8> {
        let mut typed = vec![0; 100];
        let count = self.slave.read(&mut typed).unwrap_or(0);
        typed.truncate(count);
        typed
    }
}

/// What is typed into the terminal of the caller's session, for the caller's shell to read.
fn types(attempt: &Attempt<'_>, word: &str) -> Result<Reach, Failed> {
    let mut callers = Terminal::new()?;
    let probe = attempt.probe(&[], &[word]);
    let mut session = attempt.user.command("setsid");
    session.args(["--ctty", "--wait"]).arg(probe.get_program()).args(probe.get_args());
    let out = output(session.stdin(callers.slave.try_clone()?))?;
    out.check(matches!(out.status.code(), Some(0 | 1)), || "the probe should run".to_owned())?;
    Ok(Reach::through_if(!callers.typed().is_empty()))
}
