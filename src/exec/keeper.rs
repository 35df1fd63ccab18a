//! The keeper: a unit of the user's systemd whose cgroup holds those of all sandboxes of a login. A process can be born there
//! without anybody being asked, which takes a fifth of a millisecond where a scope of its own takes tens.
//!
//! ```text
//! sbx-keeper.service            delegated to this user; its one process sleeps
//! ├── keeper                    that process: no cgroup that hands controllers on may have any
//! └── boxes                     hands them on once more, so that systemd can't take them away from below
//!     └── NAME-ID               a sandbox's
//! ```
//!
//! The sandboxes don't need the process, only the cgroup: `KillMode=process` leaves them alone when the unit ends, and the
//! cgroup lives as long as one of them.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;

use super::bus::{Call, Property, TIME, no_answer};
use crate::cgroup::{Group, wait};
use crate::diag::errno_words;
use crate::host::cgroups::{BOXES, KEEPER_UNIT, program};
use crate::plan::{CONTROLLERS, Service};

/// The cgroup of the keeper's own process.
const OWN: &str = "keeper";

/// What the kernel calls that process.
const SLEEP: &str = "sleep\n";

/// The cgroup that sandboxes' own are made in; the keeper is started if need be.
pub(super) fn boxes(service: &Service, keeper: &Path) -> Result<Group, String> {
    match ready(keeper) {
        Some(boxes) => Ok(boxes),
        None => start(service, keeper),
    }
}

/// There and in use: its cgroup may outlive the unit, empty, and then systemd doesn't know of it any more (seen with 262).
fn ready(keeper: &Path) -> Option<Group> {
    let boxes = Group::open(&keeper.join(BOXES)).ok()?;
    if !Group::open(keeper).ok()?.has("populated") {
        return None;
    }
    (!boxes.words("cgroup.subtree_control").is_empty()).then_some(boxes)
}

/// Starts the unit, one of many that want it at a time.
fn start(service: &Service, keeper: &Path) -> Result<Group, String> {
    let _lock = lock(keeper)?;
    if let Some(boxes) = ready(keeper) {
        return Ok(boxes);
    }
    if !has_process(keeper, |_| true) {
        tidy(keeper);
        ask(service)?;
    }
    // Before that it moves itself into the unit's cgroup once more, which fails where that is divided (seen with systemd 252).
    wait(TIME, || has_process(keeper, is_executed).then_some(())).ok_or_else(no_answer)?;
    divide(keeper)
        .map_err(|errno| format!("the cgroup of {KEEPER_UNIT} can't be divided: {}", errno_words(errno)))
}

/// A lock on the manager's own cgroup: everybody who could start the unit sees that one.
fn lock(keeper: &Path) -> Result<Flock<std::os::fd::OwnedFd>, String> {
    let above = keeper.parent().and_then(Path::parent).unwrap_or(Path::new("/sys/fs/cgroup"));
    let failed = |errno| format!("the cgroup of systemd can't be locked: {}", errno_words(errno));
    let mut dir = Some(
        open(above, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(failed)?,
    );
    let locked = wait(2 * TIME, || match Flock::lock(dir.take()?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Some(Ok(lock)),
        Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => {
            dir = Some(again);
            None
        }
        Err((_, errno)) => Some(Err(failed(errno))),
    });
    locked.unwrap_or_else(|| Err("another sbx has been starting the keeper for too long".to_owned()))
}

/// Whether the unit's process is there, and such.
fn has_process(keeper: &Path, is_such: impl Fn(i32) -> bool) -> bool {
    let processes = |path: &Path| Group::open(path).map(|group| group.processes()).unwrap_or_default();
    processes(keeper).into_iter().chain(processes(&keeper.join(OWN))).any(is_such)
}

/// Whether a process of the unit runs the unit's program, and no longer what systemd does before. One of another PID namespace
/// has no number here.
fn is_executed(pid: i32) -> bool {
    pid == 0 || std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == SLEEP.as_bytes())
}

/// Takes away what is left of a keeper that ended: systemd puts no process into a cgroup that hands controllers on.
fn tidy(keeper: &Path) {
    let Ok(group) = Group::open(keeper) else { return };
    for name in [BOXES, OWN] {
        // Only where nothing is in it.
        if let (Ok(child), Ok(path)) = (group.child(name), std::ffi::CString::new(name))
            && !child.has("populated")
        {
            let _ = group.remove(&path.to_string_lossy());
        }
    }
    let enabled = group.words("cgroup.subtree_control");
    let off: Vec<String> = enabled.iter().map(|name| format!("-{name}")).collect();
    let _ = group.write("cgroup.subtree_control", &off.join(" "));
}

fn ask(service: &Service) -> Result<(), String> {
    let sleep = program("sleep").ok_or("there is no program sleep")?;
    let sleep = sleep.to_string_lossy();
    let start = ["1", &sleep, "2", "sleep", "infinity", "false"];
    let mut properties = vec![
        Property::new("Description", "s", &["Cgroups of sandboxes that sbx runs"]),
        Property::new("Delegate", "b", &["true"]),
        Property::new("KillMode", "s", &["process"]),
        // One sandbox out of memory is not the end of the others.
        Property::new("OOMPolicy", "s", &["continue"]),
        Property::new("TasksMax", "t", &["18446744073709551615"]),
        Property::new("CollectMode", "s", &["inactive-or-failed"]),
        Property::new("Slice", "s", &[if service.is_system { "system.slice" } else { "app.slice" }]),
        Property::new("ExecStart", "a(sasb)", &start),
    ];
    // Before systemd 254 it has to be moved there.
    properties.push(Property::new("DelegateSubgroup", "s", &[OWN]));
    match Call::start_unit(service, KEEPER_UNIT, &properties)?.finish() {
        Err(why) if why.contains("DelegateSubgroup") || why.contains("unknown property") => {
            properties.pop();
            Call::start_unit(service, KEEPER_UNIT, &properties)?.finish()
        }
        answer => answer,
    }
    .map_err(|why| format!("systemd did not start {KEEPER_UNIT}: {why}"))
}

/// Makes the unit's cgroup one that hands its controllers on.
fn divide(keeper: &Path) -> nix::Result<Group> {
    let group = Group::open(keeper)?;
    let own = group.make_or_find(OWN)?;
    let there = group.words("cgroup.controllers");
    let controllers = || CONTROLLERS.into_iter().filter(|name| there.iter().any(|known| known == name));
    let enabled = wait(Duration::from_secs(1), || {
        for pid in group.processes() {
            let _ = own.adopt(pid);
        }
        match group.enable(controllers()) {
            // systemd has started its process just now.
            Err(Errno::EBUSY) => None,
            answer => Some(answer),
        }
    });
    enabled.unwrap_or(Err(Errno::EBUSY))?;
    let boxes = group.make_or_find(BOXES)?;
    boxes.enable(controllers())?;
    Ok(boxes)
}
