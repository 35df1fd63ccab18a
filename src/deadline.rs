//! A bound on what sbx does before the sandbox exists: a call on a hung network or FUSE mount can't be interrupted, only
//! ended together with its process.
#![forbid(unsafe_code)]

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sys::process;

/// How long it may take.
const TIME: Duration = Duration::from_secs(5);

/// A thread that ends the process unless this is dropped in time.
#[derive(Debug)]
pub(crate) struct Deadline {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Deadline {
    /// Starts to count; `too_late` is told what has been said before the process ends with `status`.
    /// Without a thread there is no bound, and everything else works.
    pub(crate) fn start(status: u8, too_late: impl FnOnce(&str) + Send + 'static) -> Self {
        let (done, waiting) = channel::<()>();
        let wait = move || {
            if waiting.recv_timeout(TIME) == Err(RecvTimeoutError::Timeout) {
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
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(wait).ok();
        Self { done: Some(done), thread }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
