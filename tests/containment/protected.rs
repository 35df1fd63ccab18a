//! B18, J4, J5: files in the working directory that programs outside run or obey.

use crate::row::{Attempt, Reach, Row};
use crate::walls::Wall;
use libtest_mimic::Failed;
use std::fs;
use std::path::Path;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("B18 makes a protected file that was missing", [ISLANDS], missing),
        Row::new("J4 changes what git runs", [ISLANDS], git),
        Row::new("J5 changes what editors and agents run", [ISLANDS], tools),
    ]
}

/// What stays read-only although the directory that it lies in can be written.
const ISLANDS: Wall = Wall { name: "protected files", down: |plan| plan.protect.clear() };

/// A repository as `git init` leaves it, without the hooks.
fn repository(attempt: &Attempt<'_>) -> Result<(), Failed> {
    for (name, text) in [("HEAD", "ref: refs/heads/main\n"), ("config", KEPT)] {
        attempt.user.put(format!("home/project/.git/{name}"), text)?;
    }
    attempt.user.mkdir("home/project/.git/objects").map(drop)
}

const KEPT: &str = "the user's\n";

/// Runs scripts, one after another, and asks outside which of them changed anything: each has the path that tells, below
/// the working directory, which holds [`KEPT`] or doesn't exist.
fn change(attempt: &Attempt<'_>, ways: &[(&'static str, String)]) -> Result<Reach, Failed> {
    let project = attempt.user.project();
    let state = |path: &str| fs::read(project.join(path)).ok();
    let mut found = Vec::new();
    for (path, script) in ways {
        let before = state(path);
        attempt.sh(&[], &format!("{script}\necho ran"))?.stdout_has("ran\n")?;
        found.push((script.as_str(), state(path) != before));
    }
    Reach::of_all(found)
}

/// CVE-2026-25725: nothing to make read-only at the start.
fn missing(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    repository(attempt)?;
    // So that what is there makes no difference.
    attempt.user.put("home/project/README", "")?;
    let ways = [".git/hooks/pre-commit", ".claude/settings.json", ".envrc", ".mcp.json"];
    change(attempt, &ways.map(|path| (path, make(path))))
}

/// Makes a file and the directories above it, or appends to it.
fn make(path: &str) -> String {
    let above = Path::new(path).parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new(".")).display();
    format!("mkdir -p {above}; echo attacker >>{path}")
}

fn git(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    repository(attempt)?;
    attempt.user.put_program("home/project/.git/hooks/post-commit", KEPT)?;
    let hook = ".git/hooks/post-commit";
    let ways = [
        (hook, "echo attacker >>.git/hooks/post-commit"),
        (hook, "sed -i s/user/attacker/ .git/hooks/post-commit"),
        (hook, "echo attacker >new; mv new .git/hooks/post-commit"),
        (hook, "rm .git/hooks/post-commit"),
        (".git/hooks/pre-commit", "echo attacker >new; ln new .git/hooks/pre-commit"),
        (".git/hooks/pre-push", "echo attacker >.git/hooks/pre-push"),
        (".git/hooks/commit-msg", "cp README .git/hooks/commit-msg"),
        (".git/config", "echo attacker >>.git/config"),
        (".git/config", "echo attacker >new; mv new .git/config"),
        (".git/config", "rm .git/config"),
    ];
    attempt.user.put("home/project/README", "")?;
    change(attempt, &ways.map(|(path, script)| (path, script.to_owned())))
}

fn tools(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    repository(attempt)?;
    let files = [
        ".cargo/config.toml",
        ".claude/settings.json",
        ".devcontainer/devcontainer.json",
        ".envrc",
        ".husky/pre-commit",
        ".idea/workspace.xml",
        ".mcp.json",
        ".vscode/tasks.json",
    ];
    for path in files {
        attempt.user.put(attempt.user.project().join(path), KEPT)?;
    }
    change(attempt, &files.map(|path| (path, make(path))))
}
