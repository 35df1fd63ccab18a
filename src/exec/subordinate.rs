//! Subordinate ids, outside: `newuidmap` and `newgidmap` map them, which an ordinary user's sbx may not. For the sandbox, and
//! for sbx's own work on files that have such owners.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, pipe2, setgroups};

use super::ExecError;
use crate::diag::{errno_words, escape};
use crate::plan::{IdRange, Identity, Subordinate};
use crate::sys::process::{self, Change, Forked};

/// Where distributions install them. Nobody but root can have put them there.
const PLACES: [&str; 5] = ["/usr/bin", "/bin", "/run/wrappers/bin", "/usr/sbin", "/sbin"];

const PACKAGE: &str = "install the package uidmap (newuidmap and newgidmap, of shadow-utils)";

/// The two maps of a plan, as `/proc/PID/uid_map` has them: lines of inside, outside, count.
pub(super) fn maps(identity: &Identity) -> [String; 2] {
    let map = |inside: u32, outside: u32, further: fn(&Subordinate) -> &Vec<IdRange>| {
        let own = IdRange { inside, outside, count: 1 };
        let further = identity.subordinate.iter().flat_map(further);
        let line = |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
        [own].iter().chain(further).map(line).collect()
    };
    [
        map(identity.uid, identity.outside_uid, |ids| &ids.uids),
        map(identity.gid, identity.outside_gid, |ids| &ids.gids),
    ]
}

/// Has the ids of a process's user namespace mapped, where the process can't do it alone.
///
/// # Errors
/// [`ExecError::Unmet`] with what the program said.
pub(super) fn map(pid: Pid, identity: &Identity) -> Result<(), ExecError> {
    for (name, map) in ["newuidmap", "newgidmap"].into_iter().zip(maps(identity)) {
        let program = find(name)?;
        let mut command = Command::new(&program);
        command.arg(pid.to_string()).args(map.split_whitespace());
        command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let output = command.output().map_err(|error| unmet(errno_of(&error), None))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default().trim().to_owned();
            let why =
                if last.is_empty() { format!("{name} failed ({})", output.status) } else { escape(&last) };
            let hint = "see that /etc/subuid and /etc/subgid give you ids, and that root owns newuidmap and newgidmap, set-uid";
            return Err(unmet(why, Some(hint)));
        }
    }
    Ok(())
}

/// The program's path, if it is one that may be trusted with this, and that can do it.
fn find(name: &str) -> Result<PathBuf, ExecError> {
    let at = PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    let path = at.ok_or_else(|| unmet(format!("{name} is not installed"), Some(PACKAGE)))?;
    let found = fs::metadata(&path).map_err(|error| unmet(errno_of(&error), None))?;
    if found.uid() == 0 && found.mode() & 0o022 == 0 {
        return Ok(path);
    }
    let why = format!("{} can be changed by others than root", path.display());
    Err(unmet(why, Some("give it back to root, writable for nobody else")))
}

fn unmet(why: String, hint: Option<&str>) -> ExecError {
    ExecError::Unmet { what: "map subordinate ids".to_owned(), why, hint: hint.map(str::to_owned) }
}

fn errno_of(error: &std::io::Error) -> String {
    errno_words(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Does something in a process of its own whose user namespace has the plan's ids, with every capability there: files of
/// subordinate owners can be read, changed and removed. Its exit status is what `act` returns.
///
/// # Errors
/// As [`map`]; [`ExecError::Outside`] where no process can be made, or where it was killed.
pub(crate) fn within(identity: &Identity, act: impl FnOnce() -> u8) -> Result<u8, ExecError> {
    let outside = |errno| ExecError::Outside { what: "work on files of subordinate owners", errno };
    let (made, ready) = pipe2(OFlag::O_CLOEXEC).map_err(outside)?;
    let (mapped, go) = pipe2(OFlag::O_CLOEXEC).map_err(outside)?;
    match process::fork().map_err(outside)? {
        Forked::Child => {
            drop((made, go));
            let status = inside(&ready, &mapped).map_or(125, |()| act());
            let _ = std::io::stdout().flush();
            process::exit_now(status.into())
        }
        Forked::Parent(child) => {
            drop((ready, mapped));
            let done = one_byte(&made).map_err(outside).and_then(|()| map(child, identity));
            let told = done.and_then(|()| nix::unistd::write(&go, &[0]).map_err(outside));
            drop(go);
            let ended = loop {
                match process::wait(child) {
                    Err(Errno::EINTR) => {}
                    ended => break ended.map_err(outside)?,
                }
            };
            told?;
            match ended {
                Change::Exited(code) => Ok((code & 0xff) as u8),
                Change::Signaled(_) | Change::Stopped(_) => Err(outside(Errno::EINTR)),
            }
        }
    }
}

/// The child's side up to where it is uid 0 with all ids mapped.
fn inside(ready: &OwnedFd, mapped: &OwnedFd) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    nix::unistd::write(ready, &[0])?;
    one_byte(mapped)?;
    setgroups(&[])
}

fn one_byte(from: impl AsFd) -> nix::Result<()> {
    loop {
        match nix::unistd::read(&from, &mut [0]) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Errno::EPIPE),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
