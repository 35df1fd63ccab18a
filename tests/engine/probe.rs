//! What the cases share: scripts inside, edits of plans, namespaces around a whole run.

use crate::common::{Output, User, output};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, Mount, MountOp, Plan};
use sbx::profile::Origin;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a shell script with `sbx` and these options.
pub(crate) fn sh(user: &User, options: &[&str], script: &str) -> Result<Output, Failed> {
    output(user.sbx().args(options).args(["sh", "-c", script]))
}

/// Runs a shell script in an edited plan.
pub(crate) fn edited_sh(user: &User, edit: &str, script: &str) -> Result<Output, Failed> {
    output(user.edited(edit).args(["sh", "-c", script]))
}

/// The command with descriptors open as bash's redirections say, such as `7<"$DIR/x"`; `$DIR` is the user's directory.
pub(crate) fn with_redirections(user: &User, redirections: &str, command: &Command) -> Command {
    let mut shell = user.command("bash");
    shell.env("DIR", user.dir()).args([
        "-c",
        &format!("exec {redirections} || exit 98; exec \"$@\""),
        "bash",
    ]);
    append(&mut shell, command);
    shell
}

/// A shell script in a user and mount namespace of its own, as its root; `$DIR` is the user's directory, `$SBX` the program.
pub(crate) fn outer(user: &User, options: &[&str], script: &str) -> Command {
    let mut command = user.command("unshare");
    command.arg(if user.is_root() { "-m" } else { "-Urm" }).args(options);
    command.env("DIR", user.dir()).env("SBX", user.sbx_path()).env("EDITED", user.edited_path());
    command.args(["sh", "-euc", script]);
    command
}

/// Appends a command and its environment as arguments of another one that runs it.
pub(crate) fn append(to: &mut Command, command: &Command) {
    to.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            to.env(name, value);
        }
    }
}

/// A path as text; the tests' own directories are ASCII.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// `--ro` or `--rw`'s value.
pub(crate) fn pair(source: impl AsRef<Path>, dest: &str) -> String {
    format!("{}:{dest}", text(source))
}

/// In an edit: the user's directory, as the program runs in `home/project` below it.
pub(crate) fn user_dir() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.ancestors().nth(2).unwrap_or(Path::new("/nonexistent")).to_owned()
}

/// In an edit: a variable that the case set.
pub(crate) fn asked(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}

/// In an edit: appends an operation.
pub(crate) fn add(plan: &mut Plan, dest: impl Into<PathBuf>, op: MountOp) {
    plan.mounts.push(Mount { dest: dest.into(), op, origin: Origin::Default });
}

/// A bind of a path.
pub(crate) fn bind(source: impl Into<PathBuf>, access: Access) -> MountOp {
    bind_of(BindSource::Path(source.into()), access)
}

/// A bind.
pub(crate) fn bind_of(source: BindSource, access: Access) -> MountOp {
    MountOp::Bind { source, access, devices: false, optional: false, create: None }
}
