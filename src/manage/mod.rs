//! Sandboxes that run: listed, measured, paused, limited anew, ended by name. All of it is done from outside, with nothing
//! but the user's own files: the registry's, and those of a cgroup.
#![forbid(unsafe_code)]

mod error;
mod limit;
mod seen;
mod table;

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

pub use error::ManageError;
pub use limit::{KEYS as LIMIT_KEYS, limit};
pub use seen::{Seen, State};
pub use table::{Columns, age, json, text};

use crate::registry::request::{self, Request};
use crate::registry::{Live, Registry, RegistryError};
use crate::sys::{process, signal};

/// How long a sandbox gets after its grace before it is killed from outside.
const SLOWNESS: Duration = Duration::from_secs(2);

/// The registry at this path; nothing where there is none, which is no mistake.
///
/// # Errors
/// [`RegistryError`]: it can't be trusted, or there is no place for one.
pub fn registry(path: Option<&Path>) -> Result<Option<Registry>, ManageError> {
    Ok(Registry::open(path.ok_or(RegistryError::NoPlace)?)?)
}

/// A sandbox by its name.
///
/// # Errors
/// [`ManageError::Registry`] where none of that name runs.
pub fn find(registry: Option<&Registry>, name: &str) -> Result<Live, ManageError> {
    let missing = || RegistryError::NotFound { name: name.to_owned(), names: Vec::new() };
    Ok(registry.ok_or_else(missing)?.find(name)?)
}

/// Stops everything in a sandbox, or lets it go on.
///
/// # Errors
/// [`ManageError::NoCgroup`]: only a cgroup's processes can be stopped together.
pub fn freeze(live: &Live, stop: bool) -> Result<(), ManageError> {
    let verb = if stop { "pause" } else { "resume" };
    let group = live.group().ok_or_else(|| ManageError::NoCgroup { verb, name: live.name.clone() })?;
    group.freeze(stop).map_err(|errno| ManageError::System { verb, name: live.name.clone(), errno })
}

/// Ends a sandbox: what is paused goes on, its command gets `SIGTERM`, and after the grace everything is killed.
///
/// # Errors
/// [`ManageError::System`]: it is still there.
pub fn stop(live: &Live, grace: Duration) -> Result<(), ManageError> {
    let failed = |errno| ManageError::System { verb: "stop", name: live.name.clone(), errno };
    let group = live.group();
    if let Some(group) = &group {
        // What is frozen hears nothing.
        let _ = group.write("cgroup.freeze", "0");
    }
    let sbx = process::pidfd_of(nix::unistd::Pid::from_raw(live.pid)).map_err(failed)?;
    // A job that was stopped, too.
    let _ = signal::send_by_pidfd(&sbx, Signal::SIGCONT as i32);
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let asked = request::send(&live.socket, &Request::Stop { grace: grace_ms }, &[]);
    if asked.is_ok() && hangs_up(live, grace + SLOWNESS) {
        return Ok(());
    }
    // It does not listen, or what it runs does not end: everything below goes, and then it.
    if let Some(group) = &group {
        let _ = group.kill();
    }
    if hangs_up(live, SLOWNESS) {
        return Ok(());
    }
    let _ = signal::send_by_pidfd(&sbx, Signal::SIGKILL as i32);
    if hangs_up(live, SLOWNESS) { Ok(()) } else { Err(failed(Errno::ETIMEDOUT)) }
}

/// Whether sbx is gone within this time: its end of the socket closes with it.
fn hangs_up(live: &Live, time: Duration) -> bool {
    let end = std::time::Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let time = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let mut awaited = [PollFd::new(live.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut awaited, time) {
            Ok(0) => return false,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => match request::receive::<request::Answer>(&live.socket) {
                Ok(None) | Err(Errno::ECONNRESET) => return true,
                _ if left.is_zero() => return false,
                _ => {}
            },
        }
    }
}
