//! What the cases share: a directory, starts over it, and its layers.

use crate::common::edited::Edit;
use crate::common::{Output, User, output};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, Mount, MountOp, OverlayUpper, Plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The walls off.
pub(crate) const EDITS: &[Edit] = &[("bound", bound), ("unmarked", unmarked)];

fn overlays(plan: &mut Plan) -> impl Iterator<Item = &mut Mount> {
    let apart = |mount: &&mut Mount| {
        matches!(&mount.op, MountOp::Overlay { upper: OverlayUpper::Changes { .. }, .. })
    };
    plan.mounts.iter_mut().filter(apart)
}

/// The directory itself is written.
fn bound(plan: &mut Plan) {
    for mount in overlays(plan) {
        let source = BindSource::Path(mount.dest.clone());
        mount.op =
            MountOp::Bind { source, access: Access::Writable, devices: false, optional: false, create: None };
    }
}

/// The overlay is one like any other: nobody looks what else shows the directory. Its upper and work dir are `up` and `work`
/// in the home.
fn unmarked(plan: &mut Plan) {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    for mount in overlays(plan) {
        if let MountOp::Overlay { upper, .. } = &mut mount.op {
            *upper = OverlayUpper::Directory { upper: home.join("up"), work: home.join("work") };
        }
    }
}

/// A directory with something of each kind.
pub(crate) fn tree(user: &User, name: impl AsRef<Path>) -> Result<PathBuf, Failed> {
    let tree = user.mkdir(name.as_ref())?;
    user.put(tree.join("file"), "the first\n")?;
    user.put(tree.join("other"), "the other\n")?;
    user.put(tree.join("directory/inner"), "inner\n")?;
    user.put(tree.join("large"), vec![b'x'; 3 << 20])?;
    let link = "ln -s file link && ln file second && ln -s /nonexistent dangling";
    output(user.command("sh").current_dir(&tree).args(["-c", link]))?.exits(0)?;
    Ok(tree)
}

/// Runs a script over a directory, in it.
pub(crate) fn over(user: &User, tree: &Path, options: &[&str], script: &str) -> Result<Output, Failed> {
    output(given(&mut user.sbx(), tree).args(options).args(["sh", "-c", script]))
}

/// The arguments for that.
pub(crate) fn given<'c>(command: &'c mut Command, tree: &Path) -> &'c mut Command {
    command.args(["--cwd", "none", "--overlay"]).arg(tree).arg("--chdir").arg(tree)
}

/// Where layers are kept.
pub(crate) fn kept(user: &User) -> PathBuf {
    user.home().join(".local/state/sbx/layers")
}

/// The names of the layers that there are, sorted.
pub(crate) fn names(user: &User) -> Result<Vec<String>, Failed> {
    let entries = match fs::read_dir(kept(user)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Goes on with a layer.
pub(crate) fn again(tree: &Path, layer: &str) -> String {
    format!("filesystem.overlay=[{{ path = \"{}\", layer = \"{layer}\" }}]", tree.display())
}

/// Fails unless two things are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T, what: &str) -> Result<(), Failed> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}").into()) }
}
