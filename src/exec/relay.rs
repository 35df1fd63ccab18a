//! Carries bytes between the caller's terminal and the payload's.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::outer::CallersTerminal;

/// Bytes that wait in one direction at most.
const ROOM: usize = 16 << 10;

/// Bytes on their way.
#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    /// How many of them have been passed on.
    sent: usize,
}

/// How a read or write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// There may be more.
    Open,
    /// Nothing can come or go any more.
    Closed,
}

impl Stream {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn fill(&mut self, from: impl AsFd) -> Flow {
        self.bytes.resize(ROOM, 0);
        let read = nix::unistd::read(from, &mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        self.sent = 0;
        match read {
            Ok(0) => Flow::Closed,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Flow::Open,
            // The other side of a pseudoterminal is gone.
            Err(_) => Flow::Closed,
        }
    }

    fn drain(&mut self, to: impl AsFd) -> Flow {
        match nix::unistd::write(to, &self.bytes[self.sent..]) {
            Ok(written) => self.sent += written,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.sent = self.bytes.len();
                return Flow::Closed;
            }
        }
        Flow::Open
    }
}

/// Both directions.
#[derive(Debug)]
pub(super) struct Relay {
    master: OwnedFd,
    keys: Stream,
    output: Stream,
    /// The caller's terminal still gives keys, and takes output.
    input_open: bool,
    output_open: bool,
    /// A return that may belong to a newline which is still to come.
    held_return: bool,
}

impl Relay {
    pub(super) fn new(master: OwnedFd) -> Result<Self, Errno> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            master,
            keys: Stream::default(),
            output: Stream::default(),
            input_open: true,
            output_open: true,
            held_return: false,
        })
    }

    pub(super) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// What is waited for on the caller's terminal and on the master.
    pub(super) fn interests(&self, keys: bool) -> [PollFlags; 2] {
        let when = |condition: bool, flag| if condition { flag } else { PollFlags::empty() };
        [
            when(keys && self.input_open && self.keys.is_empty(), PollFlags::POLLIN)
                | when(!self.output.is_empty(), PollFlags::POLLOUT),
            when(self.output.is_empty(), PollFlags::POLLIN)
                | when(keys && !self.keys.is_empty(), PollFlags::POLLOUT),
        ]
    }

    /// Carries what can be carried now; whether the caller's terminal has just hung up.
    pub(super) fn carry(&mut self, terminal: &CallersTerminal, ready: [PollFlags; 2], keys: bool) -> bool {
        let [outer, inner] = ready;
        let mut hung_up = false;
        if outer.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
            && keys
            && self.input_open
            && self.keys.is_empty()
            && self.keys.fill(terminal.file()) == Flow::Closed
            && !terminal_is_anothers(terminal)
        {
            self.input_open = false;
            hung_up = true;
        }
        if inner.intersects(PollFlags::POLLIN) && self.output.is_empty() {
            self.fill_output(terminal);
        }
        if keys && !self.keys.is_empty() && inner.contains(PollFlags::POLLOUT) | ready_after_fill(outer) {
            self.keys.drain(&self.master);
        }
        self.show(terminal);
        hung_up
    }

    /// Reads output. The payload's terminal has added returns to newlines; where the caller's does so as well, those go.
    fn fill_output(&mut self, terminal: &CallersTerminal) -> Flow {
        let flow = self.output.fill(&self.master);
        let bytes = &mut self.output.bytes;
        if std::mem::take(&mut self.held_return) {
            bytes.insert(0, b'\r');
        }
        if terminal.adds_returns() {
            self.held_return = flow == Flow::Open && bytes.len() > 1 && bytes.last() == Some(&b'\r');
            bytes.truncate(bytes.len() - usize::from(self.held_return));
            let mut kept = Vec::with_capacity(bytes.len());
            for (index, byte) in bytes.iter().enumerate() {
                if *byte != b'\r' || bytes.get(index + 1) != Some(&b'\n') {
                    kept.push(*byte);
                }
            }
            *bytes = kept;
        }
        flow
    }

    /// Takes the lines that were typed before the terminal passes every key on: an end of input among them would not be seen
    /// as one any more.
    pub(super) fn take_typed_lines(&mut self, terminal: &CallersTerminal) {
        let mut line = [0; 4096];
        while self.keys.bytes.len() < ROOM {
            match nix::unistd::read(terminal.file(), &mut line) {
                Ok(0) => self.keys.bytes.push(terminal.modes().end_of_input()),
                Ok(length) => self.keys.bytes.extend(&line[..length]),
                Err(_) => return,
            }
        }
    }

    /// Passes output on as far as the caller's terminal takes it.
    fn show(&mut self, terminal: &CallersTerminal) {
        if !self.output.is_empty() {
            match self.output_open {
                true => self.output_open = self.output.drain(terminal.file()) == Flow::Open,
                false => self.output.sent = self.output.bytes.len(),
            }
        }
    }

    /// Carries what is left of the output once no process can write any more.
    pub(super) fn finish(&mut self, terminal: &CallersTerminal) {
        loop {
            while !self.output.is_empty() {
                let mut awaited = [PollFd::new(terminal.file().as_fd(), PollFlags::POLLOUT)];
                // A terminal that takes nothing for so long, as after Ctrl-S, does not keep sbx.
                match poll(&mut awaited, PollTimeout::from(2000_u16)) {
                    Ok(0) => return,
                    Err(Errno::EINTR) => {}
                    Ok(_) => self.show(terminal),
                    Err(_) => return,
                }
            }
            let flow = self.fill_output(terminal);
            if self.output.is_empty() && (flow == Flow::Closed || !self.held_return) {
                return;
            }
        }
    }
}

/// Keys that have just been read are tried at once.
fn ready_after_fill(outer: PollFlags) -> bool {
    outer.contains(PollFlags::POLLIN)
}

/// A background process gets an error for a key, too.
fn terminal_is_anothers(terminal: &CallersTerminal) -> bool {
    !terminal.is_foreground()
}
