//! What a run tells a program that started it: lines of JSON on a descriptor of its choice (`--status-fd`).
//!
//! Each line is an object with `version`, which changes when a field changes its meaning or goes, and `event`:
//! `started`, then `ended`; or `failed` alone, and nothing ran.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::exec::{Changed, Finished, Outcome, Started, Times};
use crate::plan::Plan;
use crate::profile::Level;
use crate::sys::process;

/// The version of the lines.
const VERSION: u32 = 1;

/// Where the lines go, if anywhere.
#[derive(Clone, Copy, Debug)]
pub struct StatusLines {
    fd: Option<i32>,
}

impl StatusLines {
    /// Lines to an inherited descriptor.
    ///
    /// # Errors
    /// `EBADF` when it is not open for writing.
    pub fn to(fd: Option<i32>) -> Result<Self, Errno> {
        if let Some(fd) = fd {
            let flags = OFlag::from_bits_truncate(fcntl(process::inherited(fd)?, FcntlArg::F_GETFL)?);
            if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
                return Err(Errno::EBADF);
            }
        }
        Ok(Self { fd })
    }

    fn write(&self, line: &Value) {
        let Some(Ok(fd)) = self.fd.map(process::inherited) else { return };
        let text = format!("{line}\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(fd, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR) => {}
                // A reader that is gone wants to know no more.
                Err(_) => return,
            }
        }
    }

    /// The command runs.
    pub fn started(&self, plan: &Plan, started: Started<'_>) {
        if self.fd.is_none() {
            return;
        }
        let command = command_of(started.init);
        self.write(&json!({
            "version": VERSION,
            "event": "started",
            "profile": plan.profile,
            "name": started.name,
            "cgroup": started.cgroup.zip(plan.cgroup.as_ref()).map(|(path, cgroup)| {
                json!({ "rung": cgroup.place.word(), "path": path.to_string_lossy() })
            }),
            "init": started.init,
            "pid": command,
            "namespaces": namespaces(command.unwrap_or(started.init)),
            "enforced": walls(plan, true),
            "not-enforced": walls(plan, false),
            "warnings": plan.misses.iter().chain(started.misses).collect::<Vec<_>>(),
        }));
    }

    /// The command has ended.
    pub fn ended(&self, finished: &Finished) {
        let outcome = finished.outcome;
        let (why, code, signal) = match outcome {
            Outcome::Exited(code) => ("exited", Some(code), None),
            Outcome::Signaled(signal) => ("signaled", None, Some(signal)),
            Outcome::TimedOut => ("timeout", None, None),
            Outcome::OutOfMemory { .. } => ("out-of-memory", None, None),
        };
        let Times { wall, user, system } = finished.times;
        let usage = finished.usage.unwrap_or_default();
        // The kernel counts KiB.
        let resident = getrusage(UsageWho::RUSAGE_CHILDREN).map(|usage| usage.max_rss() * 1024);
        self.write(&json!({
            "version": VERSION,
            "event": "ended",
            "why": why,
            "exit-code": code,
            "signal": signal,
            "oom": matches!(outcome, Outcome::OutOfMemory { .. }),
            "status": outcome.exit_code(),
            "layers": finished.layers.iter().map(layer).collect::<Vec<_>>(),
            "resources": {
                "wall-seconds": wall.as_secs_f64(),
                "user-seconds": user.as_secs_f64(),
                "system-seconds": system.as_secs_f64(),
                "max-rss-bytes": resident.unwrap_or_default(),
                "memory-peak-bytes": usage.memory_peak,
                "processes-peak": usage.processes_peak,
                "read-bytes": usage.read,
                "written-bytes": usage.written,
                "throttled-seconds": usage.throttled.map(|time| time as f64 / 1e6),
            },
        }));
    }

    /// Nothing ran, or it was killed from outside.
    pub fn failed(&self, message: &str, status: u8) {
        self.write(&json!({ "version": VERSION, "event": "failed", "status": status, "message": message }));
    }
}

/// A layer with what was changed in a directory.
fn layer(layer: &Changed) -> Value {
    json!({
        "name": layer.name,
        "directory": layer.directory.to_string_lossy(),
        "new": layer.new,
        "changed": layer.changed,
        "removed": layer.removed,
        "complete": !layer.more,
    })
}

/// The command's own process: the first child of PID 1.
fn command_of(init: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The namespaces of a process, by number.
fn namespaces(pid: i32) -> BTreeMap<&'static str, u64> {
    const NAMES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let number = |name: &'static str| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
        let text = link.to_str()?;
        Some((name, text.split(['[', ']']).nth(1)?.parse().ok()?))
    };
    NAMES.into_iter().filter_map(number).collect()
}

/// The walls that stand, or those that don't and could.
fn walls(plan: &Plan, standing: bool) -> Vec<&'static str> {
    let privileges = &plan.privileges;
    let all = [
        ("namespaces", true),
        ("mounts", true),
        ("capabilities", privileges.drop_capabilities),
        ("no-new-privs", privileges.no_new_privs),
        ("seccomp", plan.seccomp.is_some()),
        ("landlock-scope", !plan.landlock_scope.is_empty()),
        ("landlock-files", plan.landlock_files.is_some()),
        ("session-keyring", privileges.session_keyring != Level::Off),
        ("protect", !plan.protect.is_empty()),
    ];
    all.into_iter().filter(|(_, stands)| *stands == standing).map(|(name, _)| name).collect()
}
