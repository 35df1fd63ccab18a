//! git, outside while a sandbox runs and inside.

use crate::common::{Case, Need, Output, Snapshot, User, Verdict, case, output};
use crate::stage::{PLACED, Stay, holds_against, placed, repository, sandbox, sh};
use libtest_mimic::Failed;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(git_outside_sees_no_placeholder),
        case!(git_inside_works),
        case!(git_outside_is_not_led_astray),
        case!(a_new_repository_can_be_made),
    ];
    cases.into_iter().map(|case| case.needs(Need::Program("git"))).collect()
}

fn git(user: &User, arguments: &[&str]) -> Result<Output, Failed> {
    output(user.command("git").args(["-c", "user.name=n", "-c", "user.email=n@example.org"]).args(arguments))
}

fn git_outside_sees_no_placeholder(user: &User) -> Verdict {
    repository(user, "home/project")?;
    user.put("home/project/file", "1\n")?;
    git(user, &["add", "-A"])?.exits(0)?;
    git(user, &["commit", "-qm", "one"])?.exits(0)?;
    user.put("home/project/file", "2\n")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    placed(user.project(), &PLACED)?;
    git(user, &["status", "--porcelain"])?.exits(0)?.stdout_is(" M file\n")?.stderr_is("")?;
    git(user, &["status", "--porcelain", "--ignored"])?.exits(0)?.stdout_is(" M file\n")?;
    git(user, &["clean", "-ndx"])?.exits(0)?.stdout_lacks("config.toml")?;
    git(user, &["stash"])?.exits(0)?;
    git(user, &["stash", "pop"])?.exits(0)?;
    git(user, &["commit", "-qam", "two"])?.exits(0)?;
    git(user, &["ls-tree", "-r", "--name-only", "HEAD"])?.stdout_is("file\n")?;
    stay.end()?.exits(0)?.stderr_is("")?;
    placed(user.project(), &[])?;
    let appeared = before.difference(&Snapshot::of(user.project())?);
    let outside_git = appeared.lines().any(|line| line.starts_with('+') && !line.starts_with("+ .git/"));
    if outside_git { Err(appeared.into()) } else { Ok(()) }
}

fn git_inside_works(user: &User) -> Verdict {
    repository(user, "home/project")?;
    user.put("home/project/file", "1\n")?;
    let script = "set -e; export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=n@example.org
        export GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=n@example.org
        git add -A; git commit -qm one; git status --porcelain; git checkout -qb other
        echo 2 >new; git add -A; git commit -qm two; git checkout -q main; git merge -q other
        git reset -q --hard; git gc -q; git status --porcelain; git ls-tree -r --name-only HEAD";
    sh(user, &[], script)?.exits(0)?.stdout_is("file\nnew\n")?;
    placed(user.project(), &[])?;
    git(user, &["ls-tree", "-r", "--name-only", "HEAD"])?.stdout_is("file\nnew\n")?;
    git(user, &["fsck"])?.exits(0)?;
    git(user, &["status", "--porcelain"])?.exits(0)?.stdout_is("")?.stderr_is("")?;
    Ok(())
}

/// A file says where git finds its configuration, and the configuration which program it runs.
fn git_outside_is_not_led_astray(user: &User) -> Verdict {
    let marker = user.dir().join("marker");
    let program =
        user.put_program("home/project/evil/run", format!("#!/bin/sh\n: >{}\n", marker.display()))?;
    let config = format!("[core]\nrepositoryformatversion = 0\nfsmonitor = {}\n", program.display());
    user.put("home/project/evil/config", config)?;
    for directory in ["objects", "refs"] {
        user.mkdir(format!("home/project/evil/{directory}"))?;
    }
    repository(user, "home/project")?;
    let run =
        |protected| output(sandbox(user, protected).args(["sh", "-c", "echo ../evil >.git/commondir; true"]));
    run(true)?.exits(0)?;
    git(user, &["status"])?.exits(0)?;
    if marker.exists() {
        return Err("git ran what the sandbox named".into());
    }
    holds_against(user, &run, &[".git/commondir"])?;
    git(user, &["status"])?;
    if marker.exists() { Ok(()) } else { Err("unprotected, git should run it".into()) }
}

fn a_new_repository_can_be_made(user: &User) -> Verdict {
    let out = sh(user, &[], "git init -q . && git config user.name n && git status --porcelain")?;
    out.exits(0)?.stdout_is("")?;
    out.stderr_has(".git/config")?;
    git(user, &["rev-parse", "--is-inside-work-tree"])?.stdout_is("true\n")?;
    if fs::exists(user.project().join(".git/HEAD"))? { Ok(()) } else { Err("no repository".into()) }
}
