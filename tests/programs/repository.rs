//! git: a repository is worked on inside, its hooks and settings stay as they are.

use crate::common::{Case, User, Verdict, case, output};
use crate::job::{Job, with};
use std::fs;

const AUTHOR: &str = "GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org GIT_COMMITTER_NAME=Ann \
                      GIT_COMMITTER_EMAIL=ann@example.org GIT_AUTHOR_DATE='1000000000 +0000' \
                      GIT_COMMITTER_DATE='1000000000 +0000'";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with(case!(git_makes_a_repository), &["git"]),
        with(case!(git_works_in_a_repository), &["git"]),
        with(case!(git_hooks_of_a_repository_stay), &["git"]),
    ]
}

/// With the same commits as outside.
fn git_makes_a_repository(user: &User) -> Verdict {
    Job {
        // It would name `.git` at the end.
        options: &["--quiet"],
        files: &[("work.sh", include_str!("fixtures/git.sh"))],
        command: &[
            "sh",
            "-c",
            "git init --quiet --initial-branch=main && sh work.sh && git gc --quiet && git fsck",
        ],
        prints: "Merge branch 'side'\n",
    }
    .works_inside(user)
}

/// One that was there before, with a worktree more.
fn git_works_in_a_repository(user: &User) -> Verdict {
    output(user.command("git").args(["init", "--quiet", "--initial-branch=main"]))?.exits(0)?;
    user.put("home/project/work.sh", include_str!("fixtures/git.sh"))?;
    let worktree = "sh work.sh && git worktree add --quiet tree side && cd tree && echo more >more && git add more \
                    && git commit --quiet -m more && git log --format=%s";
    let inside = output(user.sbx().args(["sh", "-c", &format!("export {AUTHOR}; {worktree}")]))?;
    inside.exits(0)?.stderr_is("")?.stdout_has("Merge branch 'side'\n")?.stdout_has("more\non the side\n")?;
    let outside = output(user.command("git").args(["log", "--all", "--format=%s"]))?;
    outside.exits(0)?.stdout_has("Merge branch 'side'\n")?.stdout_has("more\n")?;
    output(user.command("git").args(["fsck", "--strict"]))?.exits(0)?;
    Ok(())
}

fn git_hooks_of_a_repository_stay(user: &User) -> Verdict {
    output(user.command("git").args(["init", "--quiet"]))?.exits(0)?;
    let config = fs::read(user.project().join(".git/config"))?;
    let script = format!(
        "export {AUTHOR}; printf '#!/bin/sh\\n' >.git/hooks/post-commit && echo hook; \
         git config core.fsmonitor ./evil && echo config; git config --worktree a.b c && echo worktree; \
         git commit --quiet --allow-empty -m empty && git log --format=%s"
    );
    let inside = output(user.sbx().args(["sh", "-c", &script]))?;
    inside.exits(0)?.stdout_is("empty\n")?;
    inside
        .check(!user.project().join(".git/hooks/post-commit").exists(), || "no hook should be".to_owned())?;
    let after = fs::read(user.project().join(".git/config"))?;
    inside.check(after == config, || "the settings should stay".to_owned())?;
    Ok(())
}
