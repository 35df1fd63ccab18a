//! What the cases share: small roots that borrow the host's programs, and starts on them.

use crate::common::edited::Edit;
use crate::common::{Output, User, output};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, Mount, MountOp, OverlayUpper, Plan, RunsAs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The walls off.
pub(crate) const EDITS: &[Edit] = &[
    ("bound", bound),
    ("bare layer", bare_layer),
    ("unguarded", |plan| plan.guarded.clear()),
    ("unwalled", unwalled),
    ("capable", |plan| plan.privileges.drop_capabilities = false),
    ("unfiltered", |plan| plan.seccomp = None),
    ("another user", |plan| plan.identity.runs_as = another_user()),
    ("no such user", |plan| {
        plan.identity.runs_as = Some(RunsAs { uid: 1 << 30, gid: 34, groups: Vec::new() })
    }),
    ("another user, capable", |plan| {
        plan.identity.runs_as = another_user();
        plan.privileges.drop_capabilities = false;
    }),
    ("the host's given away", |plan| {
        let given = plan.mounts.iter().find(|mount| mount.dest.ends_with("mine")).cloned();
        let op = MountOp::Own { uid: 33, gid: 34 };
        plan.mounts.extend(given.map(|mount| Mount { op, ..mount }));
    }),
];

fn another_user() -> Option<RunsAs> {
    Some(RunsAs { uid: 33, gid: 34, groups: vec![5, 7] })
}

/// All capabilities are kept, nothing is filtered, and PID 1 can be read.
fn unwalled(plan: &mut Plan) {
    plan.privileges.drop_capabilities = false;
    plan.privileges.hide_init = false;
    plan.seccomp = None;
    plan.namespaces.nested.value = sbx::profile::Nested::Full;
}

/// The layer's directories are taken as they are: nobody looks at them, and nobody locks.
fn bare_layer(plan: &mut Plan) {
    for mount in &mut plan.mounts {
        if let MountOp::Overlay { upper, .. } = &mut mount.op
            && let OverlayUpper::Kept { directory, .. } = upper
        {
            *upper = OverlayUpper::Directory { upper: directory.join("upper"), work: directory.join("work") };
        }
    }
}

/// The root is bound, and with it written: what would come of a root that were no overlay.
fn bound(plan: &mut Plan) {
    let overlay = plan.mounts.iter_mut().find(|mount| mount.dest == Path::new("/"));
    let Some(mount) = overlay else { return };
    if let MountOp::Overlay { lower, .. } = &mount.op
        && let Some(BindSource::Path(root)) = lower.last().cloned()
    {
        let source = BindSource::Path(root);
        mount.op =
            MountOp::Bind { source, access: Access::Writable, devices: false, optional: false, create: None };
    }
    plan.mount_points_on_host = true;
}

/// A root with the host's `/usr` to be bound into it, and files of its own.
pub(crate) fn root(user: &User, name: &str) -> Result<PathBuf, Failed> {
    let root = user.mkdir(name)?;
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        std::os::unix::fs::symlink(target, root.join(link))?;
    }
    for directory in ["usr", "var/lib/directory"] {
        user.mkdir(root.join(directory))?;
    }
    user.put(root.join("etc/whose"), "the root's\n")?;
    user.put(root.join("etc/hosts"), "the root's hosts\n")?;
    user.put(root.join("var/lib/directory/file"), "the root's\n")?;
    Ok(root)
}

/// A layer with one file.
pub(crate) fn layer(user: &User, name: &str, file: &str, text: &str) -> Result<PathBuf, Failed> {
    let layer = user.mkdir(name)?;
    user.put(layer.join(file), text)?;
    Ok(layer)
}

/// `sbx --root`, with the host's programs in it.
pub(crate) fn on(user: &User, root: &Path) -> Command {
    let mut sbx = user.sbx();
    // On kernels whose tmpfs can't hold a layer there is a warning.
    given(sbx.arg("--quiet"), root);
    sbx
}

/// The same arguments for another program.
pub(crate) fn given<'c>(command: &'c mut Command, root: &Path) -> &'c mut Command {
    command.arg("--root").arg(root).args(["--ro", "/usr"])
}

/// Runs a script on a root.
pub(crate) fn script(user: &User, root: &Path, options: &[&str], script: &str) -> Result<Output, Failed> {
    output(on(user, root).args(options).args(["sh", "-c", script]))
}

/// Where layers with names are kept.
pub(crate) fn kept(user: &User, name: &str) -> PathBuf {
    user.home().join(".local/state/sbx/layers").join(name)
}

/// The text of a file.
pub(crate) fn text(path: impl AsRef<Path>) -> Result<String, Failed> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}
