//! What the facts mean: for each thing that sandboxes need or can use, whether it is there, and if not, why and what to do.
//! Pure: the same facts give the same findings.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use serde::Serialize;

use super::extras;
use super::facts::{Facts, Step, Tried};
use super::why;
use crate::cause::Cause;

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It works.
    Ok,
    /// Sandboxes need it, and it does not work.
    Missing,
    /// It does not work, or not in full, and sandboxes run without.
    Degraded,
    /// Good to know.
    Info,
}

impl Status {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Missing => "missing",
            Status::Degraded => "degraded",
            Status::Info => "info",
        }
    }
}

/// How it is with one thing, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name for programs, which stays.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What it is, for people.
    pub what: String,
    /// What is in the way.
    pub cause: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, what: what.into(), cause: None, remedy: None }
    }

    pub(super) fn new(name: &'static str, status: Status, what: impl Into<String>, cause: Cause) -> Self {
        Self { name, status, what: what.into(), cause: Some(cause.what), remedy: cause.hint }
    }

    /// Whether it could not be tried, because something else is missing.
    pub fn is_untried(&self) -> bool {
        self.cause.as_deref() == Some(UNTRIED)
    }
}

/// The cause of what could not be tried.
const UNTRIED: &str = "not tried: it needs something that is missing";

/// One thing, and what must work for it.
struct Check {
    name: &'static str,
    what: &'static str,
    needed: bool,
    steps: &'static [Step],
}

const fn needs(name: &'static str, what: &'static str, steps: &'static [Step]) -> Check {
    Check { name, what, needed: true, steps }
}

const fn uses(name: &'static str, what: &'static str, steps: &'static [Step]) -> Check {
    Check { name, what, needed: false, steps }
}

const MOUNTS: &[Step] = &[Step::Tmpfs, Step::CloneTree, Step::Restrict, Step::Attach];

/// What a run with the default profile needs, then what it uses where it is there.
const CHECKS: [Check; 23] = [
    needs("clone3", "new processes by clone3, with a pidfd", &[Step::Clone3]),
    needs("user-namespace", "user namespaces", &[Step::UserNamespace, Step::Together]),
    needs("id-maps", "the user mapped into a user namespace", &[Step::IdMaps]),
    needs("mount-namespace", "mount namespaces", &[Step::MountNamespace]),
    needs("pid-namespace", "PID namespaces", &[Step::PidNamespace]),
    needs("uts-namespace", "UTS namespaces, for a host name", &[Step::UtsNamespace, Step::Hostname]),
    needs("ipc-namespace", "IPC namespaces", &[Step::IpcNamespace]),
    needs("cgroup-namespace", "cgroup namespaces", &[Step::CgroupNamespace]),
    needs("network-namespace", "network namespaces", &[Step::NetworkNamespace]),
    needs("loopback", "a loopback interface", &[Step::Loopback]),
    needs("mounts", "new mounts", MOUNTS),
    needs("openat2", "paths that stay below a directory", &[Step::Openat2]),
    needs("proc", "a new procfs", &[Step::Proc]),
    needs("ceilings", "user namespaces switched off inside", &[Step::Ceilings]),
    needs("devpts", "terminals of its own", &[Step::Devpts]),
    needs("mqueue", "message queues of its own", &[Step::Mqueue]),
    needs("pivot-root", "another root filesystem", &[Step::Pivot]),
    needs("close-range", "descriptors kept outside", &[Step::CloseRange]),
    needs("capabilities", "capabilities given up", &[Step::Capabilities]),
    needs("seccomp", "a filter of system calls", &[Step::NoNewPrivs, Step::Seccomp]),
    uses("keyring", "a session keyring of its own", &[Step::Keyring]),
    uses("time-namespace", "time namespaces", &[Step::TimeNamespace]),
    uses("overlay", "overlays", &[Step::Overlay]),
];

/// What the facts mean, in the order of the page.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    if !facts.machine.has_proc {
        findings.push(Finding::new("procfs", Status::Missing, "procfs on /proc", why::no_proc()));
    }
    let (needed, used): (Vec<_>, Vec<_>) = CHECKS.iter().partition(|check| check.needed);
    findings.extend(needed.into_iter().map(|check| of_check(facts, check)));
    findings.push(landlock(facts));
    findings.extend(used.into_iter().map(|check| of_check(facts, check)));
    findings.extend(extras::findings(facts));
    findings
}

/// Whether nothing that is needed is missing.
pub fn works(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| finding.status == Status::Missing)
}

fn of_check(facts: &Facts, check: &Check) -> Finding {
    let status = if check.needed { Status::Missing } else { Status::Degraded };
    for step in check.steps {
        match facts.of(*step) {
            Some(tried) if tried.works() => {}
            Some(tried) => {
                return Finding::new(check.name, status, check.what, why::of(facts, *step, tried));
            }
            // Nothing could be tried, but the setting says enough.
            None if *step == Step::UserNamespace && is_off(facts) => {
                let cause = match why::is_sandboxed(&facts.machine) {
                    true => why::sandboxed(),
                    false => facts.machine.of_limit(&["user"]),
                };
                return Finding::new(check.name, status, check.what, cause);
            }
            None => {
                let cause = Cause { what: UNTRIED.to_owned(), hint: None };
                return Finding::new(check.name, Status::Info, check.what, cause);
            }
        }
    }
    Finding::ok(check.name, check.what)
}

fn is_off(facts: &Facts) -> bool {
    facts.machine.setting("user/max_user_namespaces") == Some("0")
}

/// Versions of Landlock, the kernel that brought each, and what it added.
const LANDLOCK: [(u32, &str, &str); 9] = [
    (1, "5.13", "files"),
    (2, "5.19", "moving files between directories"),
    (3, "6.2", "truncation"),
    (4, "6.7", "TCP ports"),
    (5, "6.10", "ioctl on devices"),
    (6, "6.12", "signals and abstract Unix sockets"),
    (7, "6.15", "a log of refusals"),
    (8, "7.0", "all threads at once"),
    (9, "7.1", "Unix sockets with a path"),
];

/// The version from which on signals and abstract sockets are kept inside, as the default asks for.
const SCOPES: u32 = 6;

fn landlock(facts: &Facts) -> Finding {
    let name = "landlock";
    match facts.of(Step::Landlock) {
        Some(Tried::Answered(version)) => {
            let newer = LANDLOCK.iter().filter(|(known, ..)| *known > version);
            let newer: Vec<_> = newer.map(|(_, linux, what)| format!("{linux} adds {what}")).collect();
            let what = format!("Landlock, version {version}");
            match (version >= SCOPES, newer.is_empty()) {
                (true, true) => Finding::ok(name, what),
                (true, false) => Finding::ok(name, format!("{what} (Linux {})", newer.join(", "))),
                (false, _) => {
                    let cause = format!(
                        "signals and abstract Unix sockets are not kept inside by it; Linux {}",
                        newer.join(", ")
                    );
                    Finding::new(name, Status::Degraded, what, Cause::new(cause, "use Linux 6.12 or later"))
                }
            }
        }
        Some(tried) => {
            Finding::new(name, Status::Degraded, "Landlock", why::of(facts, Step::Landlock, tried))
        }
        None => {
            let tried = Tried::Failed(Errno::EIO);
            Finding::new(name, Status::Degraded, "Landlock", why::of(facts, Step::Landlock, tried))
        }
    }
}
