//! Ways out of a cgroup, each held by every one of its walls alone, and open where all of them are edited off the plan.

use crate::common::edited::Edit;
use crate::common::{Case, Need, User, Verdict, case, output};
use crate::probe;
use crate::stage::{TOP, keeper, no_group_is_left, no_keeper};
use sbx::plan::{Access, BindSource, Mount, MountOp, Plan};
use sbx::profile::{Nested, Origin};
use std::path::PathBuf;

/// What is edited off: that cgroups can't be reached, that a cgroup namespace begins with the sandbox's own, that the kernel
/// lets no cgroup be made below it, that the filter knows no such call.
pub(crate) const EDITS: &[Edit] = &[
    ("all-off", |plan| {
        reachable(plan);
        plan.namespaces.cgroup = false;
        plan.seccomp = None;
        unbounded(plan);
    }),
    ("mounts-alone", |plan| {
        plan.namespaces.cgroup = false;
        plan.seccomp = None;
        unbounded(plan);
    }),
    ("namespace-alone", |plan| {
        reachable(plan);
        plan.seccomp = None;
        unbounded(plan);
    }),
    ("filter-alone", |plan| {
        reachable(plan);
        plan.namespaces.cgroup = false;
        unbounded(plan);
        plan.namespaces.nested.value = Nested::Full;
    }),
    ("bound-alone", |plan| {
        reachable(plan);
        plan.namespaces.cgroup = false;
        plan.seccomp = None;
    }),
    ("ceilings-alone", |plan| {
        plan.seccomp = None;
    }),
    ("uncovered", crate::registered::uncovered),
    ("mounting-all-off", |plan| {
        plan.seccomp = None;
        plan.namespaces.nested.value = Nested::Full;
    }),
];

fn reachable(plan: &mut Plan) {
    let op = MountOp::Bind {
        source: BindSource::Path(PathBuf::from(TOP)),
        access: Access::Writable,
        devices: false,
        optional: false,
        create: None,
    };
    plan.mounts.push(Mount { dest: PathBuf::from(TOP), op, origin: Origin::Default });
}

fn unbounded(plan: &mut Plan) {
    if let Some(cgroup) = &mut plan.cgroup {
        cgroup.knobs.retain(|knob| knob.file != "cgroup.max.descendants");
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let with_keeper = [case!(writing_ones_number_elsewhere), case!(being_born_elsewhere)];
    let cases = with_keeper.into_iter().map(|case| case.needs(Need::Other(no_keeper)));
    // Kernel uid 0 without capabilities can't be mapped once more, whatever is off.
    let cases = cases.chain([case!(making_many), case!(mounting_them).only_as_user()]);
    cases.map(|case| case.needs(Need::Delegation)).collect()
}

/// Tries it with a plan as it is, and edited in these ways: through only where all is off.
fn tries(user: &User, words: &[&str], all_off: &str, alone: &[&str]) -> Verdict {
    let options = ["--memory", "64M"];
    let said = |sbx| -> Result<String, libtest_mimic::Failed> {
        let out = output(&mut probe::command(user, sbx, &options, words))?;
        out.exits(0)?;
        Ok(out.text().trim().to_owned())
    };
    let open = said(user.edited(all_off))?;
    if open != "through" {
        return Err(format!("with all walls off it says: {open}").into());
    }
    if said(user.sbx())? == "through" {
        return Err("it gets through".into());
    }
    for edit in alone {
        if said(user.edited(edit))? == "through" {
            return Err(format!("{edit} does not hold it").into());
        }
    }
    Ok(())
}

/// A cgroup of this user's that is no sandbox's, and where a sandbox's own process could be moved.
fn elsewhere(user: &User) -> Result<PathBuf, libtest_mimic::Failed> {
    output(user.sbx().args(["--memory", "64M", "true"]))?.exits(0)?;
    let dir = keeper(user).join("elsewhere");
    std::fs::create_dir_all(&dir)?;
    if let Ok(found) = std::fs::metadata(keeper(user)) {
        use std::os::unix::fs::MetadataExt as _;
        std::os::unix::fs::chown(&dir, Some(found.uid()), Some(found.gid()))?;
    }
    Ok(dir)
}

fn writing_ones_number_elsewhere(user: &User) -> Verdict {
    let dir = elsewhere(user)?;
    let path = dir.to_string_lossy().into_owned();
    tries(user, &["move", &path], "all-off", &["mounts-alone", "namespace-alone"])?;
    std::fs::remove_dir(dir)?;
    no_group_is_left(user)
}

fn being_born_elsewhere(user: &User) -> Verdict {
    let dir = elsewhere(user)?;
    let path = dir.to_string_lossy().into_owned();
    tries(user, &["born", &path], "all-off", &["mounts-alone", "namespace-alone", "filter-alone"])?;
    std::fs::remove_dir(dir)?;
    no_group_is_left(user)
}

/// Below its own cgroup, whose path it has to be told.
fn making_many(user: &User) -> Verdict {
    // With the namespace off the sandbox sees its whole path.
    let make = "cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) 2>/dev/null || exit 3
        i=0; while mkdir probe-$i 2>/dev/null; do i=$((i+1)); [ $i -lt 300 ] || break; done; echo $i";
    let made = |edit: Option<&str>| -> Result<String, libtest_mimic::Failed> {
        let mut sbx = edit.map_or_else(|| user.sbx(), |edit| user.edited(edit));
        let out = output(sbx.args(["--memory", "64M", "sh", "-c", make]))?;
        Ok(out.text().trim().to_owned())
    };
    let open = made(Some("all-off"))?;
    if open != "300" {
        return Err(format!("with all walls off {open:?} are made").into());
    }
    for edit in [None, Some("mounts-alone"), Some("bound-alone")] {
        let found = made(edit)?;
        if !matches!(found.as_str(), "" | "0") {
            return Err(format!("{found} are made with {edit:?}").into());
        }
    }
    no_group_is_left(user)
}

fn mounting_them(user: &User) -> Verdict {
    tries(user, &["mount", "/tmp"], "mounting-all-off", &["filter-alone", "ceilings-alone"])?;
    no_group_is_left(user)
}
