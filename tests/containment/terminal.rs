//! A5, A6: typing into a terminal of the host's.

use crate::common::{Need, output};
use crate::row::{Attempt, Reach, Row};
use crate::walls;
use libtest_mimic::Failed;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::Read as _;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("A5 types into a terminal", [walls::FILTER], |attempt| types(attempt, "type")),
        Row::new("A6 types into a terminal by a number of 64 bits", [walls::FILTER], |attempt| {
            types(attempt, "type-by-long-numbers")
        }),
    ]
    .into_iter()
    .map(|row| row.needs(Need::Other(nobody_types)))
    .collect()
}

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

/// The one terminal is nobody's, so that the probe can take it for its own, which typing requires: there the filter is all
/// that stands. The other one is that of the caller's session, which PID 1 has left: with or without the filter there is
/// nothing to be done there.
fn types(attempt: &Attempt<'_>, word: &str) -> Result<Reach, Failed> {
    let mut callers = Terminal::new()?;
    let probe = attempt.probe(&[], &[word]);
    let mut session = attempt.user.command("setsid");
    session.args(["--ctty", "--wait"]).arg(probe.get_program()).args(probe.get_args());
    let out = output(session.stdin(callers.slave.try_clone()?))?;
    if !callers.typed().is_empty() {
        return Err(out.failure("nothing should be typed into the caller's own terminal"));
    }
    let mut nobodys = Terminal::new()?;
    let how = attempt.traced_on(nobodys.slave.try_clone()?, "ioctl", &[], &[word])?;
    Reach::of_all([("the call", how != "EPERM"), ("the terminal", !nobodys.typed().is_empty())])
}
