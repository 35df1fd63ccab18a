//! What each wall adds to the start: the same run with one of them edited out of the plan.
//!
//! No option leaves a wall out, so this program starts the sandboxes itself. It is bigger than sbx and linked to shared
//! libraries, which makes each start slower and leaves the differences as they are.

use crate::common::edited::{self, Edit};
use crate::contender;
use crate::table::{head, row};
use crate::timing::{Spread, samples};
use crate::workplace::Workplace;
use crate::{Effort, Problem};
use sbx::plan::MountOp;
use sbx::profile::{Level, Nested, NetworkMode};
use std::process::ExitCode;

/// What is edited out, by the name of the wall. `no_new_privs` is missing: the filter can't be installed without it.
const WALLS: &[Edit] = &[
    ("network namespace", |plan| plan.namespaces.network.value = NetworkMode::Host),
    ("IPC namespace", |plan| {
        plan.namespaces.ipc = false;
        plan.mounts.retain(|mount| mount.op != MountOp::Mqueue);
    }),
    ("UTS namespace and host name", |plan| plan.namespaces.uts = false),
    ("cgroup namespace", |plan| plan.namespaces.cgroup = false),
    ("ceilings on namespaces", |plan| plan.namespaces.nested.value = Nested::Full),
    ("ceilings on inotify", |plan| plan.limits.watches = None),
    ("masks in /proc", |plan| {
        plan.mounts.retain(|mount| mount.op != MountOp::Mask || !mount.dest.starts_with("/proc"));
    }),
    ("protected paths", |plan| plan.protect.clear()),
    ("read-only root", |plan| plan.root.read_only = false),
    ("hidden PID 1", |plan| plan.privileges.hide_init = false),
    ("session keyring", |plan| plan.privileges.session_keyring = Level::Off),
    ("capabilities", |plan| plan.privileges.drop_capabilities = false),
    ("Landlock's scopes", |plan| plan.landlock_scope.clear()),
    ("Landlock's file rules, not on by default", |plan| plan.landlock_files = None),
    ("system call filter", |plan| plan.seccomp = None),
];

/// The edits that are none and all.
const NONE: Edit = ("all walls", |_| {});
const ALL: Edit = ("none of these", |plan| WALLS.iter().for_each(|(_, edit)| edit(plan)));

/// To be called first in `main`: the run, where this program was started for one.
pub(crate) fn answer() -> Option<ExitCode> {
    edited::answer(&[&[NONE, ALL], WALLS].concat(), || {})
}

/// Starts with all walls, without each, and without any, in turns.
pub(crate) fn each(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    place.make_repository()?;
    let title = format!(
        "What each wall adds to the start of the build profile in a repository, {} runs",
        effort.rounds
    );
    head(&title, &["", "median ms without it", "µs it adds", "±"]);
    let edits = [NONE].iter().chain(WALLS).chain(&[ALL]);
    let contenders: Vec<_> = edits.map(|(name, _)| contender::edited_build(place, name)).collect();
    let taken = samples(place, &contenders.iter().collect::<Vec<_>>(), effort.rounds)?;
    let Some((whole, others)) = taken.split_first() else { return Ok(()) };
    row(&["(no wall left out)", &format!("{:.2}", Spread::of(whole.clone()).median), "", ""]);
    for (contender, without) in contenders.iter().skip(1).zip(others) {
        // Of the same round, so that what slows the machine down for a while slows both.
        let added: Vec<_> = whole.iter().zip(without).map(|(whole, without)| whole - without).collect();
        let added = Spread::of(added);
        // Half of a box plot's notch: twice as much apart, two medians differ (McGill and others, 1978).
        let doubt = 1.57 * (added.high - added.low) / (effort.rounds as f64).sqrt();
        let name = if contender.name == ALL.0 { "all of these" } else { &contender.name };
        row(&[
            name.to_owned(),
            format!("{:.2}", Spread::of(without.clone()).median),
            format!("{:.0}", added.median * 1e3),
            format!("{:.0}", doubt * 1e3),
        ]);
    }
    Ok(())
}
