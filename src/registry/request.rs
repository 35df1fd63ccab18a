//! What is said through a sandbox's socket: messages of JSON, some with descriptors.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys::message::{self, Descriptors};

/// Bytes of a message at most. What is longer travels as a file.
const SIZE: usize = 8 << 10;

/// What somebody wants of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// End: SIGTERM, and this many milliseconds later SIGKILL.
    Stop {
        /// Milliseconds.
        grace: u64,
    },
    /// Run another program inside. With it come descriptors 0, 1 and 2, and a file with the words and variables.
    Exec {
        /// How many words the command has.
        words: usize,
        /// How many variables there are besides the sandbox's own.
        variables: usize,
        /// Whether the program starts in the directory that the file names last.
        directory: bool,
        /// Which of its standard descriptors are a terminal of its own, as bits.
        terminals: u8,
    },
    /// Pass a signal on to a program that was so started.
    Signal {
        /// Its number.
        number: i32,
    },
}

/// What a sandbox answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The program runs. With it comes the other end of its terminal, if it has one.
    Started,
    /// The program has ended.
    Exited {
        /// With this code.
        code: i32,
    },
    /// A signal has killed the program.
    Killed {
        /// Its number.
        signal: i32,
    },
    /// Nothing ran.
    Refused {
        /// Why.
        message: String,
        /// The exit status for it.
        status: u8,
    },
}

/// Sends one message.
///
/// # Errors
/// `EPIPE` when nobody is there, `EAGAIN` when nobody listens, `EMSGSIZE`.
pub fn send<T: Serialize>(socket: impl AsFd, what: &T, fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let text = serde_json::to_string(what).unwrap_or_default();
    if text.len() > SIZE {
        return Err(Errno::EMSGSIZE);
    }
    if !fds.is_empty() {
        return message::send(socket, text.as_bytes(), fds);
    }
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::AsRawFd;
    send(socket.as_fd().as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Receives one message; nothing when the other side is gone.
///
/// # Errors
/// `EBADMSG` for what is none, `EAGAIN` when none is there yet.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> nix::Result<Option<(T, Descriptors)>> {
    let mut bytes = vec![0; SIZE];
    let (length, descriptors) = message::receive(socket, &mut bytes)?;
    if length == 0 {
        return Ok(None);
    }
    let what = serde_json::from_slice(&bytes[..length]).map_err(|_| Errno::EBADMSG)?;
    Ok(Some((what, descriptors)))
}
