//! A terminal with a shell in it, typed into and read by a case.

use crate::common::{User, Verdict, process, wait_for};
use crate::shell::Shell;
use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Gid, Pid, Uid, chown, tcgetpgrp};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for an emulated processor with others beside it.
const LIMIT: Duration = Duration::from_secs(40);

/// A script for `sh`. Nothing is forked after the word: where a key's signal comes between fork and exec, dash loses it.
const SLEEPER: &str = "echo ready\nexec sleep 1000\n";

/// A program's question what kind of terminal this is (fish 4 waits for the answer), and the answer.
const QUESTION: &[u8] = b"\x1b[c";
const QUESTION_WITH_ZERO: &[u8] = b"\x1b[0c";
const ANSWER: &[u8] = b"\x1b[?62;22c";

/// The terminal, seen from where a person sits. Dropped, it ends all that runs in it.
pub(crate) struct Terminal {
    /// Nothing once it has hung up.
    master: Option<File>,
    shell: Child,
    kind: Shell,
    /// All that was shown, and how much of it was looked at.
    shown: Vec<u8>,
    looked_at: usize,
    commands: u32,
}

impl Terminal {
    /// Starts a shell, and waits for its prompt.
    pub(crate) fn start(user: &User, kind: Shell) -> Result<Self, Failed> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags | OFlag::O_NONBLOCK)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname_r(&master)?;
        if nix::unistd::geteuid().is_root() {
            // As at a login.
            chown(name.as_str(), Some(Uid::from_raw(user.uid())), Some(Gid::from_raw(user.gid())))?;
        }
        let slave = File::from(open(name.as_str(), flags, Mode::empty())?);
        user.put("home/project/sleeper", SLEEPER)?;
        // A test run in the background has the keys' signals ignored, which would be inherited.
        let mut command = user.command("env");
        command.args(["--default-signal", "setsid", "--ctty", "sh", "-c"]);
        command.args(["stty rows 24 cols 100; exec \"$@\"", "sh"]).args(kind.command());
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", user.sbx_path().with_file_name("").display());
        command.env("PATH", path).env("TERM", "xterm").env("PS1", crate::shell::PROMPT);
        command.stdin(Stdio::from(slave.try_clone()?)).stdout(slave.try_clone()?).stderr(slave);
        let shell = command.spawn().map_err(|error| format!("cannot start {kind}: {error}"))?;
        drop(command);
        let master = Some(File::from(OwnedFd::from(master)));
        let mut terminal = Self { master, shell, kind, shown: Vec::new(), looked_at: 0, commands: 0 };
        terminal.expect(crate::shell::PROMPT)?;
        Ok(terminal)
    }

    fn master(&self) -> Result<&File, Failed> {
        self.master.as_ref().ok_or_else(|| "the terminal has hung up".into())
    }

    /// The shell's process.
    pub(crate) fn shell(&self) -> i32 {
        i32::try_from(self.shell.id()).unwrap_or(i32::MAX)
    }

    /// All that was shown so far.
    pub(crate) fn shown(&self) -> &[u8] {
        &self.shown
    }

    /// How much of it was looked at.
    pub(crate) fn seen(&self) -> usize {
        self.looked_at
    }

    /// Types keys, and reads meanwhile what is shown.
    pub(crate) fn keys(&mut self, keys: impl AsRef<[u8]>) -> Verdict {
        let mut keys = keys.as_ref();
        let mut last = Instant::now();
        while !keys.is_empty() {
            match self.master()?.write(keys) {
                Ok(count) => {
                    keys = &keys[count..];
                    last = Instant::now();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.pump(PollFlags::POLLIN | PollFlags::POLLOUT)?;
                }
                Err(error) => return Err(self.failure(&format!("cannot type: {error}"))),
            }
            if last.elapsed() > LIMIT {
                return Err(self.failure(&format!("{} bytes were not taken", keys.len())));
            }
        }
        Ok(())
    }

    /// Types a line.
    pub(crate) fn line(&mut self, text: &str) -> Verdict {
        self.keys(format!("{text}\r"))
    }

    /// Waits until a text is shown that was not looked at yet.
    pub(crate) fn expect(&mut self, text: &str) -> Verdict {
        let start = Instant::now();
        let wanted = text.as_bytes();
        let mut from = self.looked_at;
        loop {
            let at = self.shown[from..].windows(wanted.len()).position(|part| part == wanted);
            if let Some(at) = at {
                self.looked_at = from + at + wanted.len();
                return Ok(());
            }
            from = from.max(self.shown.len().saturating_sub(wanted.len()));
            if start.elapsed() > LIMIT {
                return Err(self.failure(&format!("waited in vain for {text:?}")));
            }
            self.pump(PollFlags::POLLIN)?;
        }
    }

    /// Types the same keys until a text is shown.
    pub(crate) fn keys_until(&mut self, keys: &str, text: &str) -> Verdict {
        self.again_until(&format!("{keys:?}"), text, |terminal| terminal.keys(keys))
    }

    /// Does the same until a text is shown.
    pub(crate) fn again_until(
        &mut self,
        what: &str,
        text: &str,
        mut act: impl FnMut(&mut Self) -> Verdict,
    ) -> Verdict {
        let start = Instant::now();
        while !self.unseen()?.contains(text) {
            if start.elapsed() > LIMIT {
                return Err(self.failure(&format!("{what} again and again, and never {text:?}")));
            }
            act(self)?;
            std::thread::sleep(Duration::from_millis(300));
        }
        self.expect(text)
    }

    /// Waits a little for something to be shown, and takes it.
    fn pump(&mut self, flags: PollFlags) -> Verdict {
        let mut awaited = [PollFd::new(self.master()?.as_fd(), flags)];
        match poll(&mut awaited, 50_u16) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [0; 16 << 10];
        match self.master()?.read(&mut buffer) {
            Ok(0) => Err(self.failure("the terminal is closed")),
            Ok(count) => {
                let new = &buffer[..count];
                self.shown.extend_from_slice(new);
                let asks = |question: &[u8]| new.windows(question.len()).any(|part| part == question);
                if asks(QUESTION) || asks(QUESTION_WITH_ZERO) {
                    let _ = self.master()?.write(ANSWER);
                }
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.failure(&format!("cannot read the terminal: {error}"))),
        }
    }

    /// Types a command, waits until the shell has run it, and returns its status.
    pub(crate) fn run(&mut self, command: &str) -> Result<i32, Failed> {
        let mark = self.mark();
        let status = self.kind.status();
        // Spelled otherwise than it is shown.
        self.line(&format!("{command}; echo en\"\"d-{mark}-{status}-"))?;
        self.status_after(mark)
    }

    /// The status of the command that the shell ran last.
    pub(crate) fn status(&mut self) -> Result<i32, Failed> {
        let mark = self.mark();
        self.line(&format!("echo en\"\"d-{mark}-{}-", self.kind.status()))?;
        self.status_after(mark)
    }

    fn mark(&mut self) -> u32 {
        self.commands += 1;
        self.commands
    }

    fn status_after(&mut self, mark: u32) -> Result<i32, Failed> {
        self.expect(&format!("end-{mark}-"))?;
        let from = self.looked_at;
        self.expect("-")?;
        let text = String::from_utf8_lossy(&self.shown[from..self.looked_at - 1]).into_owned();
        let status = text.parse().map_err(|_| self.failure(&format!("no status: {text:?}")))?;
        self.await_shell()?;
        Ok(status)
    }

    /// Runs a command that should end with this status.
    pub(crate) fn run_for(&mut self, command: &str, status: i32) -> Verdict {
        let ended = self.run(command)?;
        self.check(ended == status, &format!("`{command}` should end with {status}, not {ended}"))
    }

    /// The last command ended with this status.
    pub(crate) fn ended_with(&mut self, status: i32) -> Verdict {
        let ended = self.status()?;
        self.check(ended == status, &format!("should have ended with {status}, not {ended}"))
    }

    /// Whether the shell has the terminal.
    fn shell_has_it(&self) -> bool {
        let group = self.master.as_ref().map(tcgetpgrp);
        matches!(group, Some(Ok(group)) if group.as_raw() == self.shell())
    }

    /// Waits until the shell has the terminal again.
    pub(crate) fn await_shell(&mut self) -> Verdict {
        self.until("the shell gets the terminal back", |terminal| terminal.shell_has_it())
    }

    /// Waits until a program has the terminal.
    pub(crate) fn await_program(&mut self) -> Verdict {
        self.until("a program gets the terminal", |terminal| !terminal.shell_has_it())
    }

    /// Waits until something holds, and reads meanwhile what is shown.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Verdict {
        let start = Instant::now();
        while !holds(self) {
            if start.elapsed() > LIMIT {
                return Err(self.failure(&format!("waited in vain: {what}")));
            }
            if self.shell.try_wait()?.is_some() {
                return Err(self.failure("the shell has ended"));
            }
            self.take()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.take()
    }

    /// Takes what is shown already.
    pub(crate) fn take(&mut self) -> Verdict {
        loop {
            let before = self.shown.len();
            self.pump_now()?;
            if self.shown.len() == before {
                return Ok(());
            }
        }
    }

    fn pump_now(&mut self) -> Verdict {
        let mut ready = [PollFd::new(self.master()?.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, 0_u8)? > 0 { self.pump(PollFlags::POLLIN) } else { Ok(()) }
    }

    /// What has been shown is no longer of interest.
    pub(crate) fn look_away(&mut self) -> Verdict {
        self.take()?;
        self.looked_at = self.shown.len();
        Ok(())
    }

    /// What was shown and not looked at.
    pub(crate) fn unseen(&mut self) -> Result<String, Failed> {
        self.take()?;
        Ok(String::from_utf8_lossy(&self.shown[self.looked_at..]).into_owned())
    }

    /// The terminal's modes.
    pub(crate) fn modes(&self) -> Result<Termios, Failed> {
        Ok(tcgetattr(self.master()?)?)
    }

    /// Makes it another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Verdict {
        let size = ["rows".to_owned(), rows.to_string(), "cols".to_owned(), columns.to_string()];
        let status = Command::new("stty").args(size).stdin(self.master()?.try_clone()?).status()?;
        if status.success() { Ok(()) } else { Err("stty cannot set the size".into()) }
    }

    /// Closes the terminal, as a window is closed.
    pub(crate) fn hang_up(&mut self) {
        self.master = None;
    }

    /// The processes that run under the shell.
    pub(crate) fn jobs(&self) -> Vec<i32> {
        process::descendants(self.shell())
    }

    /// The process below the shell that this is true of.
    pub(crate) fn find(&self, what: &str, is_it: impl Fn(i32) -> bool) -> Result<i32, Failed> {
        let found = wait_for(what, || self.jobs().into_iter().find(|pid| is_it(*pid)));
        found.map_err(|failure| self.failure(failure.message().unwrap_or_default()))
    }

    /// Fails with all that was shown unless something is true.
    pub(crate) fn check(&self, holds: bool, wanted: &str) -> Verdict {
        if holds { Ok(()) } else { Err(self.failure(wanted)) }
    }

    /// A failure that shows the terminal.
    pub(crate) fn failure(&self, wanted: &str) -> Failed {
        const TAIL: usize = 3000;
        let tail = &self.shown[self.shown.len().saturating_sub(TAIL)..];
        let text = String::from_utf8_lossy(tail).replace('\n', "\n    ");
        let text: String = text
            .chars()
            .map(|letter| match letter {
                '\n' => "\n".to_owned(),
                letter if letter.is_control() => letter.escape_default().to_string(),
                letter => letter.to_string(),
            })
            .collect();
        let lines: Vec<String> = self.jobs().into_iter().map(describe).collect();
        let processes = lines.join("\n    ");
        format!("{wanted}\n  in {}\n  shown:\n    {text}\n  processes:\n    {processes}", self.kind).into()
    }
}

/// A process in a line: state, process group, session, terminal and its foreground group, and the command.
fn describe(pid: i32) -> String {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&read("stat")).into_owned();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let state = [0, 2, 3, 4, 5].map(|index| *fields.get(index).unwrap_or(&"?")).join(" ");
    format!("{pid} {state} {}", String::from_utf8_lossy(&read("cmdline")).replace('\0', " "))
}

/// The letter of a process's state: `T` is stopped.
pub(crate) fn state(pid: i32) -> Option<char> {
    process::Status::of(pid).ok()?.field("State").ok()?.chars().next()
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let everybody = self.jobs();
        self.hang_up();
        for pid in everybody {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
