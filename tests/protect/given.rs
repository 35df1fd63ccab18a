//! What the command line names itself wins over the list.

use crate::common::{Case, Snapshot, User, Verdict, case};
use crate::stage::{KEPT, PLACED, Stay, fill, gone, janitors, placed, repository, sh, text};
use libtest_mimic::Failed;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(writable_by_name),
        case!(taken_off_the_list),
        case!(covered_by_something_else),
        case!(put_on_the_list),
        case!(nothing_to_hold_where_nothing_can_be_written),
    ]
}

fn read(user: &User, path: &str) -> Result<String, Failed> {
    Ok(fs::read_to_string(user.project().join(path))?)
}

fn is(user: &User, path: &str, wanted: &str) -> Verdict {
    let found = read(user, path)?;
    if found == wanted { Ok(()) } else { Err(format!("{path} holds {found:?}").into()) }
}

fn project(user: &User) -> Verdict {
    repository(user, "home/project")?;
    fill(user, "home/project")
}

fn writable_by_name(user: &User) -> Verdict {
    project(user)?;
    let script = "echo new >.vscode/f; echo new >.envrc; echo evil >.idea/f; mv -T .vscode v; exit 3";
    sh(user, &["--rw", ".vscode", "--rw", ".envrc"], script)?
        .exits(3)?
        .stderr_has("Device or resource busy")?;
    is(user, ".vscode/f", "new\n")?;
    is(user, ".envrc", "new\n")?;
    is(user, ".idea/f", KEPT)?;
    // What lies in a directory that is named is on the list all the same.
    sh(
        user,
        &["--rw", ".git"],
        "echo evil >.git/hooks/f; echo evil >.git/config; echo x >.git/index; exit 3",
    )?
    .exits(3)?;
    is(user, ".git/hooks/f", KEPT)?;
    is(user, ".git/config", KEPT)?;
    is(user, ".git/index", "x\n")
}

fn taken_off_the_list(user: &User) -> Verdict {
    project(user)?;
    let off = ["--set", "filesystem.protect=[\"-.envrc\", \"-.git/hooks\"]"];
    sh(user, &off, "echo new >.envrc; echo new >.git/hooks/f; echo evil >.git/config; exit 3")?.exits(3)?;
    is(user, ".envrc", "new\n")?;
    is(user, ".git/hooks/f", "new\n")?;
    is(user, ".git/config", KEPT)?;
    fs::remove_dir_all(user.project())?;
    repository(user, "home/project")?;
    let stay = Stay::with(user, "one", user.sbx().args(off), "")?;
    let wanted: Vec<_> = PLACED.into_iter().filter(|path| ![".envrc", ".git/hooks"].contains(path)).collect();
    placed(user.project(), &wanted)?;
    stay.end()?.exits(0)?;
    sh(user, &off, "echo new >.envrc && exit 3")?.exits(3)?.stderr_is("")?;
    Ok(())
}

fn covered_by_something_else(user: &User) -> Verdict {
    project(user)?;
    let before = Snapshot::of(user.project())?;
    let script = "cat .vscode/f; echo evil >.vscode/f; mv -T .vscode v; rm -rf .vscode; exit 3";
    sh(user, &["--ro", ".vscode"], script)?.exits(3)?.stdout_is(KEPT)?;
    sh(user, &["--hide", ".vscode"], script)?.exits(3)?.stdout_is("")?;
    let out =
        sh(user, &["--tmpfs", ".vscode"], "echo mine >.vscode/f; cat .vscode/f; mv -T .vscode v; exit 3")?;
    out.exits(3)?.stdout_is("mine\n")?;
    sh(user, &["--hide", ".git"], "ls -A .git; echo evil >.git/config; exit 3")?.exits(3)?.stdout_is("")?;
    sh(user, &["--ro", "."], "echo evil >.git/index; exit 3")?.exits(3)?.stderr_has("Read-only")?;
    before.same_as(&Snapshot::of(user.project())?)?;
    // Also where there is nothing.
    fs::remove_dir_all(user.project())?;
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    sh(user, &["--hide", ".vscode"], "mkdir -p .vscode; echo evil >.vscode/f; exit 3")?.exits(3)?;
    sh(user, &["--tmpfs", ".vscode"], "echo mine >.vscode/f; exit 3")?.exits(3)?.stderr_is("")?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn put_on_the_list(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let on = ["--set", "filesystem.protect=[\"x/y/z\", \"ci/run\", \"ci\", \"Makefile\"]"];
    let stay = Stay::with(user, "one", user.sbx().args(on), "")?;
    let mut wanted: Vec<_> = PLACED.to_vec();
    wanted.extend(["Makefile", "ci", "x"]);
    wanted.sort_unstable();
    placed(user.project(), &wanted)?;
    stay.end()?.exits(0)?;
    let script = "mkdir -p x/y/z ci; echo evil >x/y/z/f; echo evil >ci/run; echo evil >Makefile; exit 3";
    sh(user, &on, script)?.exits(3)?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn nothing_to_hold_where_nothing_can_be_written(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let project = text(user.project());
    let ways: [&[&str]; 3] = [&["--cwd", "ro"], &["--ro", &project], &["--cwd", "none", "--ro", &project]];
    for options in ways {
        let _ = fs::remove_dir_all(user.dir().join("control"));
        let stay = Stay::with(user, "one", user.sbx().args(options), "")?;
        let janitors = janitors(user);
        placed(user.project(), &[])?;
        stay.end()?.exits(0)?.stderr_is("")?;
        gone(user)?;
        if !janitors.is_empty() {
            return Err(format!("a janitor with {options:?}").into());
        }
    }
    Ok(())
}
