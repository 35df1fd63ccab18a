//! A further program in a sandbox that runs, from the side of who asks for it: its descriptors go in, or where they are a
//! terminal stay out and are carried to one of the sandbox's own.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::descriptors::check_standard_descriptors;
use super::outer::CallersTerminal;
use super::relay::Relay;
use super::signals::{TakenSignals, stop_self};
use super::{ExecError, Outcome};
use crate::registry::Live;
use crate::registry::request::{self, Answer, Request};
use crate::sys::process;

/// What is to run.
#[derive(Clone, Copy, Debug)]
pub struct Further<'a> {
    /// The program and its arguments.
    pub words: &'a [OsString],
    /// Variables besides the sandbox's own: `NAME=VALUE`.
    pub variables: &'a [OsString],
    /// Where it starts; where the sandbox's command did without it.
    pub directory: Option<&'a Path>,
}

/// Runs a program in a sandbox and waits for its end.
///
/// # Errors
/// [`ExecError`]: it did not run.
pub fn attach(live: &Live, further: Further<'_>) -> Result<Outcome, ExecError> {
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    check_standard_descriptors()?;
    let terminal = CallersTerminal::find().map_err(outside("open the terminal"))?;
    let signals = TakenSignals::take().map_err(outside("take signals"))?;
    ask(live, further, terminal.as_ref())?;
    Client { live, terminal, signals, relay: None }.run()
}

/// Sends the request with everything that belongs to it.
fn ask(live: &Live, further: Further<'_>, terminal: Option<&CallersTerminal>) -> Result<(), ExecError> {
    let outside = |what| move |errno| ExecError::Outside { what, errno };
    let null = File::open("/dev/null")
        .map_err(|_| ExecError::Outside { what: "open /dev/null", errno: Errno::EIO })?;
    let is_terminal = |number: &i32| terminal.is_some_and(|terminal| terminal.numbers.contains(number));
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    for number in 0..3 {
        fds.push(match is_terminal(&number) {
            // The caller's terminal itself never goes in.
            true => null.as_fd(),
            false => process::inherited(number).map_err(outside("use a standard descriptor"))?,
        });
    }
    let file = strings(further).map_err(outside("write the command down"))?;
    fds.push(file.as_fd());
    let wanted = Request::Exec {
        words: further.words.len(),
        variables: further.variables.len(),
        directory: further.directory.is_some(),
        terminals: (0..3).filter(is_terminal).fold(0, |mask, number| mask | 1 << number),
    };
    request::send(&live.socket, &wanted, &fds).map_err(outside("reach the sandbox"))
}

fn strings(further: Further<'_>) -> nix::Result<OwnedFd> {
    let words = further.words.iter().chain(further.variables).map(OsString::as_os_str);
    let mut bytes = Vec::new();
    for word in words.chain(further.directory.map(Path::as_os_str)) {
        if OsStr::as_bytes(word).contains(&0) {
            return Err(Errno::EINVAL);
        }
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    let mut file = File::from(memfd_create(c"sbx-command", MFdFlags::MFD_CLOEXEC)?);
    let written = file.write_all(&bytes);
    written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(file.into())
}

/// The side that waits.
struct Client<'l> {
    live: &'l Live,
    terminal: Option<CallersTerminal>,
    signals: TakenSignals,
    relay: Option<Relay>,
}

impl Client<'_> {
    fn run(mut self) -> Result<Outcome, ExecError> {
        loop {
            if let Some(ended) = self.wait_and_handle() {
                if let (Some(relay), Some(terminal)) = (&mut self.relay, &self.terminal) {
                    relay.finish(terminal);
                }
                // The terminal becomes what it was when this is dropped.
                return ended;
            }
        }
    }

    fn wait_and_handle(&mut self) -> Option<Result<Outcome, ExecError>> {
        let keys = self.terminal.as_ref().is_some_and(CallersTerminal::is_raw);
        let interests = self.relay.as_ref().map(|relay| relay.interests(keys));
        let mut awaited = vec![
            PollFd::new(self.live.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let mut places = [None; 2];
        if let (Some(terminal), Some(relay), Some(flags)) = (&self.terminal, &self.relay, interests) {
            for (place, (fd, flags)) in
                places.iter_mut().zip([terminal.file().as_fd(), relay.master()].into_iter().zip(flags))
            {
                // A poll for nothing still tells of a hang-up, again and again.
                if !flags.is_empty() {
                    *place = Some(awaited.len());
                    awaited.push(PollFd::new(fd, flags));
                }
            }
        }
        if poll(&mut awaited, PollTimeout::NONE).is_err() {
            return None;
        }
        let ready = |index: usize| awaited.get(index).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        let bytes = places.map(|place| place.map_or(PollFlags::empty(), ready));
        let [said, signalled] = [0, 1].map(|index| !ready(index).is_empty());
        if signalled {
            self.pass_signals_on();
        }
        if let (Some(relay), Some(terminal)) = (&mut self.relay, &self.terminal)
            && relay.carry(terminal, bytes, keys)
        {
            self.send(libc::SIGHUP);
        }
        if said { self.hear() } else { None }
    }

    /// Reads an answer.
    fn hear(&mut self) -> Option<Result<Outcome, ExecError>> {
        match request::receive::<Answer>(&self.live.socket) {
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            Ok(Some((Answer::Started, [Some(master), ..]))) => {
                self.use_terminal(master);
                None
            }
            Ok(Some((Answer::Started, _))) => None,
            Ok(Some((Answer::Exited { code }, _))) => Some(Ok(Outcome::Exited(code))),
            Ok(Some((Answer::Killed { signal }, _))) => Some(Ok(Outcome::Signaled(signal))),
            Ok(Some((Answer::Refused { message, status }, _))) => {
                Some(Err(ExecError::Refused { message, status }))
            }
            // The sandbox has ended, and everything in it.
            Ok(None) | Err(_) => Some(Ok(Outcome::Signaled(libc::SIGKILL))),
        }
    }

    /// Carries bytes between the caller's terminal and the program's, which gets the same modes and size.
    fn use_terminal(&mut self, master: OwnedFd) {
        let Some(terminal) = &mut self.terminal else { return };
        let _ = terminal.modes().set(&master);
        if let Ok(size) = terminal.size() {
            let _ = size.set(&master);
        }
        self.relay = Relay::new(master).ok();
        self.take_keys();
    }

    fn take_keys(&mut self) {
        if let (Some(terminal), true) = (&mut self.terminal, self.relay.is_some())
            && terminal.is_foreground()
            && terminal.numbers.contains(&0)
        {
            let _ = terminal.go_raw();
        }
    }

    fn pass_signals_on(&mut self) {
        while let Some(info) = self.signals.next() {
            match info.ssi_signo as i32 {
                libc::SIGWINCH => {
                    if let (Some(relay), Some(Ok(size))) =
                        (&self.relay, self.terminal.as_ref().map(CallersTerminal::size))
                    {
                        let _ = size.set(relay.master());
                    }
                }
                libc::SIGTSTP => {
                    self.send(libc::SIGTSTP);
                    if let Some(terminal) = &mut self.terminal {
                        terminal.restore();
                    }
                    stop_self(libc::SIGTSTP, true);
                }
                libc::SIGCONT => {
                    self.take_keys();
                    self.send(libc::SIGCONT);
                }
                signal => self.send(signal),
            }
        }
    }

    fn send(&self, number: i32) {
        // Whoever is gone needs no signal.
        let _ = request::send(&self.live.socket, &Request::Signal { number }, &[]);
    }
}
