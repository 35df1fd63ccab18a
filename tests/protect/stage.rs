//! What the cases share: directories with and without a repository, scripts inside, sandboxes that stay until they are told
//! to end, and a look at what is there outside.

use crate::common::edited::Edit;
use crate::common::{Output, Running, Snapshot, User, Verdict, output, process, wait_for};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const EDITS: &[Edit] = &[("unprotected", |plan| plan.protect.clear())];

/// The default list: what is a file.
pub(crate) const FILES: [&str; 6] =
    [".cargo/config.toml", ".envrc", ".git/commondir", ".git/config", ".git/config.worktree", ".mcp.json"];

/// The default list: what is a directory.
pub(crate) const DIRECTORIES: [&str; 6] =
    [".claude", ".devcontainer", ".git/hooks", ".husky", ".idea", ".vscode"];

/// What is placed in a repository that has nothing of the list, sorted.
pub(crate) const PLACED: [&str; 12] = [
    ".cargo",
    ".claude",
    ".devcontainer",
    ".envrc",
    ".git/commondir",
    ".git/config",
    ".git/config.worktree",
    ".git/hooks",
    ".husky",
    ".idea",
    ".mcp.json",
    ".vscode",
];

/// What protected files hold.
pub(crate) const KEPT: &str = "the user's\n";

/// The whole default list.
pub(crate) fn members() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().chain(DIRECTORIES)
}

/// Makes a directory a repository that has nothing of the list. git takes it for one.
pub(crate) fn repository(user: &User, path: impl AsRef<Path>) -> Verdict {
    let git = path.as_ref().join(".git");
    user.put(git.join("HEAD"), "ref: refs/heads/main\n")?;
    user.mkdir(git.join("objects"))?;
    user.mkdir(git.join("refs"))?;
    Ok(())
}

/// Puts everything on the list into a directory.
pub(crate) fn fill(user: &User, path: impl AsRef<Path>) -> Verdict {
    for file in FILES {
        user.put(path.as_ref().join(file), KEPT)?;
    }
    for directory in DIRECTORIES {
        user.put(path.as_ref().join(directory).join("f"), KEPT)?;
    }
    Ok(())
}

/// `sbx`, or a run of the same with nothing protected.
pub(crate) fn sandbox(user: &User, protected: bool) -> Command {
    if protected { user.sbx() } else { user.edited("unprotected") }
}

/// Runs a shell script with `sbx` and these options.
pub(crate) fn sh(user: &User, options: &[&str], script: &str) -> Result<Output, Failed> {
    output(user.sbx().args(options).args(["sh", "-c", script]))
}

/// Runs a script that ends well: protected, nothing below the project changes; unprotected, each of these paths does.
pub(crate) fn holds(user: &User, options: &[&str], script: &str, changed: &[&str]) -> Verdict {
    let run = |protected| {
        let script = format!("{script}\ntrue");
        output(sandbox(user, protected).args(options).args(["sh", "-c", &script]))
    };
    holds_against(user, &run, changed)
}

/// The same of any run that is given as a function of whether something is protected.
pub(crate) fn holds_against(
    user: &User,
    run: &dyn Fn(bool) -> Result<Output, Failed>,
    changed: &[&str],
) -> Verdict {
    let before = Snapshot::of(user.project())?;
    let out = run(true)?;
    let difference = before.difference(&Snapshot::of(user.project())?);
    out.exits(0)?.check(difference.is_empty(), || format!("nothing should change:\n{difference}"))?;
    let out = run(false)?;
    let difference = before.difference(&Snapshot::of(user.project())?);
    for path in changed {
        let is_there = names(&difference, path);
        out.exits(0)?
            .check(is_there, || format!("unprotected, {path} should change. What does:\n{difference}"))?;
    }
    Ok(())
}

/// Whether a difference has a line for a path, or for something below it.
pub(crate) fn names(difference: &str, path: &str) -> bool {
    difference.lines().any(|line| {
        let rest = line.get(2..).and_then(|line| line.strip_prefix(path));
        rest.is_some_and(|rest| rest.starts_with(['/', ':', ' ']))
    })
}

/// A shell script in a user and mount namespace of its own, as its root, in the project directory: `$DIR` is the user's
/// directory, `$RUN` starts a sandbox.
pub(crate) fn outer(user: &User, protected: bool, script: &str) -> Result<Output, Failed> {
    let mut command = user.command("unshare");
    command.arg(if user.is_root() { "-m" } else { "-Urm" });
    let run = if protected {
        user.sbx_path().display().to_string()
    } else {
        format!("{} --edited unprotected", user.edited_path().display())
    };
    command.env("DIR", user.dir()).env("RUN", run).args(["sh", "-euc", script]);
    output(&mut command)
}

/// A path as text; the tests' own directories are ASCII.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// A sandbox that stays until it is told to end.
pub(crate) struct Stay {
    running: Running,
    go: PathBuf,
}

impl Stay {
    /// Starts it in the project directory, and returns when its command runs.
    pub(crate) fn start(user: &User, name: &str) -> Result<Self, Failed> {
        Self::with(user, name, &mut user.sbx(), "")
    }

    /// The same with the beginning of a command line, and a script to run when it is told to end.
    pub(crate) fn with(user: &User, name: &str, sbx: &mut Command, last: &str) -> Result<Self, Failed> {
        let control = user.mkdir("control")?;
        let (ready, go) = (control.join(format!("ready-{name}")), control.join(format!("go-{name}")));
        let script =
            format!(": >/control/ready-{name}; until [ -e /control/go-{name} ]; do sleep 0.01; done\n{last}");
        sbx.arg("--rw").arg(format!("{}:/control", text(&control)));
        // So that its processes can be found.
        let running = Running::start(sbx.args(["sh", "-c", &script]).arg(user.project()))?;
        let ended = || {
            let status = process::Status::of(running.pid());
            status.is_ok_and(|status| status.field("State").is_ok_and(|state| state.starts_with('Z')))
        };
        if wait_for("the command to run", || ready.exists().then_some(true).or(ended().then_some(false)))? {
            Ok(Self { running, go })
        } else {
            Err(running.finish()?.failure("it should run"))
        }
    }

    /// The process id of `sbx`.
    pub(crate) fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// Tells it to end, and waits.
    pub(crate) fn end(self) -> Result<Output, Failed> {
        fs::write(&self.go, "")?;
        self.finish()
    }

    /// Waits until it ends.
    pub(crate) fn finish(self) -> Result<Output, Failed> {
        self.running.finish()
    }
}

/// The placeholders below a directory, sorted.
pub(crate) fn placeholders(directory: impl AsRef<Path>) -> Result<Vec<String>, Failed> {
    let directory = directory.as_ref();
    let marked = |path: &&Path| {
        let mode = directory.join(path).symlink_metadata().map(|metadata| metadata.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o7777 == 0o1555 || mode & 0o7777 == 0o1444)
    };
    Ok(Snapshot::of(directory)?.paths().into_iter().filter(marked).map(text).collect())
}

/// Fails unless just these are there.
pub(crate) fn placed(directory: impl AsRef<Path>, wanted: &[&str]) -> Verdict {
    let found = placeholders(directory)?;
    if found == wanted { Ok(()) } else { Err(format!("placeholders: {found:?}, not {wanted:?}").into()) }
}

/// The processes with the project's path in their arguments: `sbx`, PID 1 and the janitor of a run that was started with it.
pub(crate) fn processes(user: &User) -> Vec<i32> {
    let project = text(user.project());
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&project)
        })
        .collect()
}

/// Those that take placeholders away.
pub(crate) fn janitors(user: &User) -> Vec<i32> {
    let mut found = processes(user);
    found.retain(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sbx-janitor\n")
    });
    found
}

/// Waits until the last of them is gone.
pub(crate) fn gone(user: &User) -> Verdict {
    wait_for("the end of every process", || processes(user).is_empty().then_some(()))
}
