//! Hooks in the project itself, which the sandbox can write: what makes editors, shells, git and agents run something.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, output};
use crate::trap::Trap;

pub(crate) fn cases() -> Vec<Case> {
    let cases =
        vec![case!(plants_no_hook_in_the_project), case!(names_hooks_that_appear_without_a_repository)];
    let needs = |case| ["git", "python3"].map(Need::Program).into_iter().fold(case, Case::needs);
    cases.into_iter().map(needs).collect()
}

/// Whatever it tries, the project is as before but for the report; no placeholder is left either.
fn plants_no_hook_in_the_project(user: &User) -> Verdict {
    let trap = Trap::set(user)?;
    let before = Snapshot::of(user.project())?;
    let tried = output(trap.inside(user).arg("python3").arg(trap.script()).arg("here"))?;
    tried.exits(0)?.stderr_is("")?;
    trap.found(user, &tried)?.nothing()?;
    let changes = before.difference(&Snapshot::of(user.project())?);
    let wrong: Vec<_> = changes.lines().filter(|line| !line.starts_with("~ hostile/report: ")).collect();
    tried.check(wrong.is_empty(), || format!("the project changed:\n{}", wrong.join("\n")))?;
    Ok(())
}

/// Where there is no repository, `git init` works, and what appeared is named at the end.
fn names_hooks_that_appear_without_a_repository(user: &User) -> Verdict {
    let trap = Trap::set_without_repository(user)?;
    let script = "git init --quiet && python3 \"$0\" here";
    let tried = output(trap.inside(user).args(["sh", "-c", script]).arg(trap.script()))?;
    tried.exits(0)?;
    for hook in [".git/hooks", ".git/config", ".envrc", ".vscode", ".cargo/config.toml"] {
        tried.stderr_has(hook)?;
    }
    tried.check(user.project().join(".git/HEAD").exists(), || "git init should work".to_owned())?;
    trap.found(user, &tried)?.only_project_hooks()
}
