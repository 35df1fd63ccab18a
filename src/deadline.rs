//! A bound on what sbx does before the sandbox exists: a call on a hung network or FUSE mount can't be interrupted, only
//! ended together with its process.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::sys::{process, thread};

/// How long it may take.
const TIME: Duration = Duration::from_secs(5);

/// A thread that ends the process unless this is dropped in time. It may be there for a moment after that.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// Its end is what the thread waits for.
    _held: Option<OwnedFd>,
}

impl Deadline {
    /// Starts to count; `too_late` is told what has been said before the process ends with `status`. Without a pipe or a
    /// thread there is no bound, and everything else works.
    pub(crate) fn start(status: u8, too_late: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let Ok((watched, held)) = pipe2(OFlag::O_CLOEXEC) else { return Self { _held: None } };
        // The thread closes it: what that runs is never dropped.
        let watched = Mutex::new(Some(watched));
        let wait = move || {
            let watched = watched.lock().ok().and_then(|mut watched| watched.take());
            if watched.as_ref().is_some_and(is_too_late) {
                let message = format!(
                    "cannot get ready within {} s: a file or directory that it looks at does not answer",
                    TIME.as_secs()
                );
                let hint = "look for a network or FUSE mount that hangs, and leave it out";
                let text = format!("sbx: error: {message}\n  hint: {hint}\n");
                let _ = std::io::stderr().write_all(text.as_bytes());
                too_late(&message);
                process::exit_now(status.into());
            }
        };
        Self { _held: thread::start(Box::new(wait)).is_ok().then_some(held) }
    }
}

/// Waits for the other end to be closed; whether that took too long.
fn is_too_late(watched: &OwnedFd) -> bool {
    let time = PollTimeout::try_from(TIME).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(watched.as_fd(), PollFlags::POLLIN)], time) {
            Err(Errno::EINTR) => {}
            answer => return answer == Ok(0),
        }
    }
}
