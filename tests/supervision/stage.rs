//! What the cases share.

use crate::common::{Output, Running, User, output, process, wait_for};
use libtest_mimic::Failed;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a shell script with `sbx` and these options.
pub(crate) fn sh(user: &User, options: &[&str], script: &str) -> Result<Output, Failed> {
    output(user.sbx().args(options).args(["sh", "-c", script]))
}

/// A script for the caller's bash, outside; `$SBX` is the program, `$DIR` the user's directory.
pub(crate) fn bash(user: &User, script: &str) -> Command {
    let mut command = user.command("bash");
    command.env("SBX", user.sbx_path()).env("DIR", user.dir()).args(["-c", script]);
    command
}

/// What a file holds so far.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Waits until the payload has written this into a file.
pub(crate) fn wait_for_text(path: &Path, part: &str) -> Result<(), Failed> {
    wait_for(&format!("{part:?} in {}, which has {:?}", path.display(), text(path)), || {
        text(path).contains(part).then_some(())
    })
}

/// The letter of a process's state: `S`, `T`, `Z`.
pub(crate) fn state(pid: i32) -> Option<char> {
    let status = process::Status::of(pid).ok()?;
    status.field("State").ok()?.chars().next()
}

/// Waits for a state.
pub(crate) fn wait_for_state(pid: i32, wanted: &str) -> Result<(), Failed> {
    wait_for(&format!("state {wanted} of {pid}"), || {
        state(pid).filter(|state| wanted.contains(*state)).map(drop)
    })
}

/// The process of this name that descends from a run, once it is there.
pub(crate) fn descendant(running: &Running, name: &str) -> Result<i32, Failed> {
    wait_for(&format!("a process {name}"), || {
        process::descendants(running.pid()).into_iter().find(|pid| comm(*pid) == name)
    })
}

/// The name of a process.
pub(crate) fn comm(pid: i32) -> String {
    text(Path::new(&format!("/proc/{pid}/comm"))).trim_end().to_owned()
}

/// Waits until all of these are gone. A number that is another process's by now counts as there: that is too rare to matter.
pub(crate) fn wait_until_gone(pids: &[i32]) -> Result<(), Failed> {
    wait_for(&format!("the end of {pids:?}"), || {
        pids.iter().all(|pid| matches!(state(*pid), None | Some('Z'))).then_some(())
    })
}

/// `unshare`, whose arguments follow: a command that is PID 1 of a namespace, as this user still.
pub(crate) fn in_own_pid_namespace(user: &User) -> Command {
    let mut command = user.command("unshare");
    if !user.is_root() {
        command.args(["--user", "--map-current-user"]);
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}
