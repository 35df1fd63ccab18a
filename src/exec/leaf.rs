//! The sandbox's own cgroup, from outside: made on the rung of the ladder that the plan says, with its limits written and read
//! back, and taken away at the end.
#![forbid(unsafe_code)]

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::keeper;
use crate::cgroup::{Group, wait};
use crate::diag::{errno_words, quote};
use crate::plan::{Cgroup, CgroupPlace, Knob};

/// Where processes of a divided cgroup go that are none of a sandbox's.
const OTHERS: &str = "others";
/// How long processes may keep coming into a cgroup that is to be divided.
const DIVIDING: Duration = Duration::from_secs(1);
/// The payload's, where it may make cgroups itself: the limits are written above that, out of its reach.
const PAYLOAD: &str = "payload";

/// Why there is no cgroup, or not as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unmet {
    /// What can't be done: `limit memory`.
    pub(super) what: String,
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

impl Unmet {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), hint: None }
    }
}

/// Where a sandbox's cgroup is made. Dropped, the cgroup is taken away with whatever is left in it.
#[derive(Debug)]
pub(super) struct Site {
    above: Group,
    name: String,
}

impl Site {
    /// One where nobody has to be asked for each sandbox.
    pub(super) fn find(cgroup: &Cgroup, name: String) -> Result<Self, Unmet> {
        let above = match &cgroup.place {
            CgroupPlace::Keeper { service, path } => keeper::boxes(service, path),
            CgroupPlace::Directory { path } => divided(path, cgroup),
            // Its cgroup is not there before its first process is.
            CgroupPlace::Scope { .. } => Err("a scope is made later".to_owned()),
        };
        Ok(Self { above: above.map_err(no_group)?, name })
    }

    /// Makes the cgroup, as yet without limits.
    pub(super) fn make(&self, cgroup: &Cgroup) -> nix::Result<Leaf> {
        let group = self.above.make(&self.name)?;
        let payload = cgroup.delegate.then(|| group.make(PAYLOAD)).transpose()?;
        Ok(Leaf { group, payload })
    }

    /// The descriptor that it is taken away by.
    pub(super) fn above(&self) -> i32 {
        self.above.as_raw_fd()
    }

    /// Takes the cgroup away, if it was made.
    pub(super) fn remove(&self) {
        let _ = self.above.remove(&self.name);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.remove();
    }
}

fn no_group(why: String) -> Unmet {
    Unmet::new("make a cgroup for the sandbox", why)
}

/// Why none could be made at a site.
pub(super) fn not_made(errno: Errno) -> Unmet {
    no_group(match errno {
        Errno::EAGAIN => "the cgroup above has as many as it may have".to_owned(),
        errno => errno_words(errno),
    })
}

/// A sandbox's cgroup.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) group: Group,
    /// Where its processes are, if not in it.
    payload: Option<Group>,
}

impl Leaf {
    /// Makes one in the cgroup of a scope, which the process is moved into. What else is there stays beside it.
    pub(super) fn of_scope(
        scope: Group,
        pid: i32,
        cgroup: &Cgroup,
        misses: &mut Vec<String>,
    ) -> Result<(Site, Self), Unmet> {
        let failed = |errno| Unmet::new("divide the sandbox's scope", errno_words(errno));
        let site = Site { above: scope, name: "box".to_owned() };
        let leaf = site.make(cgroup).map_err(failed)?;
        leaf.inner().adopt(pid).map_err(failed)?;
        clear(&site.above).map_err(failed)?;
        site.above.enable(cgroup.controllers.iter().copied()).map_err(failed)?;
        leaf.limit(cgroup, misses)?;
        Ok((site, leaf))
    }

    /// Writes its limits. What could not be written although it was not required goes to `misses`.
    pub(super) fn limit(&self, cgroup: &Cgroup, misses: &mut Vec<String>) -> Result<(), Unmet> {
        if cgroup.delegate {
            let failed = |errno| Unmet::new("delegate cgroups", errno_words(errno));
            self.group.enable(cgroup.controllers.iter().copied()).map_err(failed)?;
        }
        for knob in &cgroup.knobs {
            if let Err(unmet) = self.turn(knob) {
                if knob.required {
                    return Err(unmet);
                }
                misses.push(format!("cannot {}: {}; running without that limit", unmet.what, unmet.why));
            }
        }
        Ok(())
    }

    /// Writes a limit, and reads it back.
    fn turn(&self, knob: &Knob) -> Result<(), Unmet> {
        let unmet = |errno| Unmet {
            what: format!("limit {}", knob.what),
            why: why(knob, errno),
            hint: hint(knob, errno),
        };
        match self.group.write(knob.file, &knob.value) {
            // There is nothing to limit.
            Err(Errno::ENOENT) if knob.file == "memory.swap.max" && knob.value == "0" && !has_swap() => {
                return Ok(());
            }
            written => written.map_err(unmet)?,
        }
        let now = self.group.read(knob.file).map_err(unmet)?;
        if is_in_force(knob, &now) { Ok(()) } else { Err(unmet(crate::sys::NO_EFFECT)) }
    }

    /// The cgroup that the sandbox's processes are in.
    pub(super) fn inner(&self) -> &Group {
        self.payload.as_ref().unwrap_or(&self.group)
    }

    /// Its path, for others to find it.
    pub(super) fn path(&self) -> &Path {
        self.group.path()
    }
}

/// A directory that hands on what the plan needs. Processes in it go aside for that: a cgroup that hands controllers on may
/// have none.
fn divided(path: &Path, cgroup: &Cgroup) -> Result<Group, String> {
    let failed = |errno| format!("the cgroup {}: {}", quote(path), errno_words(errno));
    let group = Group::open(path).map_err(failed)?;
    let enabled = group.words("cgroup.subtree_control");
    let missing =
        || cgroup.controllers.iter().copied().filter(|name| enabled.iter().all(|known| known != name));
    match group.enable(missing()) {
        Err(Errno::EBUSY) => {}
        answer => return answer.map(|()| group).map_err(failed),
    }
    // Others may be starting processes there just now.
    let enabled = wait(DIVIDING, || match clear(&group).and_then(|()| group.enable(missing())) {
        Err(Errno::EBUSY) => None,
        answer => Some(answer),
    });
    enabled.unwrap_or(Err(Errno::EBUSY)).map_err(failed)?;
    Ok(group)
}

/// Moves the processes of a cgroup itself aside.
fn clear(group: &Group) -> nix::Result<()> {
    let others = group.make_or_find(OTHERS)?;
    for pid in group.processes() {
        match others.adopt(pid) {
            // One that has ended meanwhile is none to move.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// Whether the kernel says what was written, in its own spelling.
fn is_in_force(knob: &Knob, now: &str) -> bool {
    let same = |text: &str| text.trim() == knob.value;
    match knob.file {
        // A line for each disk, with the words of the others too.
        "io.max" => {
            let mut wanted = knob.value.split(' ');
            let device = wanted.next();
            let line = now.lines().find(|line| line.split(' ').next() == device);
            line.is_some_and(|line| wanted.all(|word| line.split(' ').any(|known| known == word)))
        }
        "io.weight" => now.lines().next().is_some_and(same),
        // Ranges are put together.
        "cpuset.cpus" => !now.trim().is_empty(),
        _ => same(now),
    }
}

fn why(knob: &Knob, errno: Errno) -> String {
    match errno {
        Errno::ENOENT => format!("this kernel has no {}", knob.file),
        Errno::EINVAL | Errno::ERANGE => {
            format!("the kernel does not take {} for {}", quote(&knob.value), knob.file)
        }
        Errno::ENODEV | Errno::ENXIO if knob.file == "io.max" => {
            "there is no such disk, or it can't be limited".to_owned()
        }
        crate::sys::NO_EFFECT => "the kernel took the limit, and it had no effect".to_owned(),
        errno => errno_words(errno),
    }
}

fn hint(knob: &Knob, errno: Errno) -> Option<String> {
    match (knob.file, errno) {
        ("io.weight", Errno::ENOENT) => {
            Some("use a kernel with CONFIG_BLK_CGROUP_IOCOST, or leave limits.io-weight out".to_owned())
        }
        ("cpuset.cpus", _) => Some("name processors that this machine has".to_owned()),
        _ => None,
    }
}
