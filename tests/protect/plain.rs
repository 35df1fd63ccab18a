//! Where there is no repository, or where links lead elsewhere.

use crate::common::{Case, Snapshot, User, Verdict, case};
use crate::stage::{Stay, fill, holds, janitors, members, placed, repository, sh, text};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::symlink;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(without_a_repository_nothing_is_placed),
        case!(without_a_repository_what_is_there_holds),
        case!(what_appeared_is_told),
        case!(a_repository_that_is_a_file),
        case!(a_repository_that_is_a_link),
        case!(a_link_and_what_it_leads_to),
        case!(a_link_over_other_links),
        case!(a_link_that_leads_nowhere),
        case!(a_link_that_leads_out),
        case!(a_file_in_the_place_of_a_directory),
    ]
}

/// A link of the user's.
fn link(user: &User, target: &str, path: &str) -> Result<(), Failed> {
    let path = user.project().join(path);
    symlink(target, &path)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(&path, Some(user.uid()), Some(user.gid()))?;
    }
    Ok(())
}

/// While it runs, there are no placeholders and nobody to take any away.
fn nothing_is_placed(user: &User) -> Verdict {
    let stay = Stay::start(user, "one")?;
    let janitors = janitors(user);
    placed(user.project(), &[])?;
    stay.end()?.exits(0)?;
    if janitors.is_empty() { Ok(()) } else { Err("there should be no janitor".into()) }
}

fn without_a_repository_nothing_is_placed(user: &User) -> Verdict {
    nothing_is_placed(user)?;
    let before = Snapshot::of(user.project())?;
    sh(user, &[], "exit 3")?.exits(3)?.stderr_is("")?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn without_a_repository_what_is_there_holds(user: &User) -> Verdict {
    for path in [".envrc", ".vscode/f", ".cargo/config.toml"] {
        user.put(format!("home/project/{path}"), "the user's\n")?;
    }
    let script = "echo evil >.envrc; mv -T .vscode v; mv -T .cargo c; rm -rf .vscode";
    holds(user, &[], script, &[".envrc", ".vscode", ".cargo"])
}

/// Each once, though the directory is there twice, and nothing that was there before.
fn what_appeared_is_told(user: &User) -> Verdict {
    let project = text(user.project());
    user.put("home/project/.envrc", "the user's\n")?;
    let script = "mkdir -p .git/hooks .cargo .claude .husky .idea .vscode .devcontainer
        : >.git/config >.git/commondir >.mcp.json; : >.mcp.json; : >.cargo/config.toml; : >.git/commondir; : >.git/config >.git/config.worktree; exit 7";
    let out = sh(user, &["--rw", &format!("{project}:/again")], script)?;
    let told = out.exits(7)?.errors();
    for member in members().filter(|member| *member != ".envrc") {
        let lines = told.lines().filter(|line| line.contains(&format!("`{project}/{member}`"))).count();
        out.check(lines == 1, || format!("one line about {member}"))?;
    }
    out.check(told.lines().count() == 11, || "nothing else".to_owned())?;
    out.stderr_has("sbx: warning: ")?;
    fs::remove_dir_all(user.project())?;
    user.mkdir("home/project")?;
    sh(user, &["-q"], "mkdir .vscode; exit 7")?.exits(7)?.stderr_is("")?;
    sh(user, &[], "exit 7")?.exits(7)?.stderr_is("")?;
    // It ends in another way, and is told all the same.
    sh(user, &[], "mkdir .idea; kill -9 $$")?.exits(137)?.stderr_has("/.idea`")?;
    Ok(())
}

fn a_repository_that_is_a_file(user: &User) -> Verdict {
    user.put("home/project/.git", "gitdir: /nonexistent\n")?;
    nothing_is_placed(user)?;
    let mut ways =
        vec!["echo gitdir: /tmp >.git", "rm .git; mkdir -p .git/hooks", "mv -T .git g; echo evil >.git"];
    ways.extend(["echo evil >new; mv -T new .git; rm -f new", "ln -sfn /tmp .git", "chmod 777 .git"]);
    for script in ways {
        holds(user, &[], script, &[".git"])?;
        let _ = fs::remove_dir_all(user.project());
        user.put("home/project/.git", "gitdir: /nonexistent\n")?;
    }
    sh(user, &[], "mkdir .vscode; exit 2")?.exits(2)?.stderr_has("/.vscode`")?;
    Ok(())
}

fn a_repository_that_is_a_link(user: &User) -> Verdict {
    repository(user, "home/project/real")?;
    fill(user, "home/project/real")?;
    link(user, "real/.git", ".git")?;
    nothing_is_placed(user)?;
    let script = "rm .git; echo evil >real/.git/hooks/pre-commit; echo evil >real/.git/config; mv -T real r";
    holds(user, &[], script, &[".git", "real", "r"])?;
    Ok(())
}

/// Links on the list of three kinds: to a file, to a directory, and above a file that is on it.
fn linked(user: &User) -> Verdict {
    let _ = fs::remove_dir_all(user.project());
    for path in ["rc", "editor/f", "config.toml"] {
        user.put(format!("home/project/conf/{path}"), "the user's\n")?;
    }
    link(user, "conf/rc", ".envrc")?;
    link(user, "conf/editor", ".vscode")?;
    link(user, "conf", ".cargo")
}

fn a_link_and_what_it_leads_to(user: &User) -> Verdict {
    let ways = [
        ("rm .envrc && echo evil >.envrc", ".envrc"),
        ("echo evil >.envrc", "conf/rc"),
        ("echo evil >conf/rc", "conf/rc"),
        ("rm conf/rc", "conf/rc"),
        ("rm .vscode", ".vscode"),
        ("ln -sfn /tmp .vscode", ".vscode"),
        ("echo evil >.vscode/g", "conf/editor/g"),
        ("echo evil >conf/editor/g", "conf/editor/g"),
        ("mv -T .cargo c", ".cargo"),
        ("echo evil >conf/config.toml", "conf/config.toml"),
        ("mv -T conf c", "conf"),
    ];
    for (script, changed) in ways {
        linked(user)?;
        holds(user, &[], script, &[changed])?;
    }
    // The same in a repository, where what is missing is held too.
    linked(user)?;
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let all: Vec<_> = ways.iter().map(|(script, _)| *script).collect();
    sh(user, &[], &format!("{}\ntrue", all.join("\n")))?.exits(0)?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn a_link_over_other_links(user: &User) -> Verdict {
    user.put("home/project/real/rc", "the user's\n")?;
    link(user, "real", "dir")?;
    link(user, "dir/rc", ".envrc")?;
    link(user, "real/rc", "middle")?;
    link(user, "middle", ".mcp.json")?;
    let script = "rm dir && mkdir dir && echo evil >dir/rc; rm middle && echo evil >middle";
    holds(user, &[], script, &["dir", "middle"])
}

fn a_link_that_leads_nowhere(user: &User) -> Verdict {
    link(user, "conf/rc", ".envrc")?;
    link(user, "/nonexistent/x", ".vscode")?;
    let script = "rm -f .envrc .vscode; ln -sfn /tmp .vscode; mv -T .envrc e";
    holds(user, &[], script, &[".envrc", ".vscode"])?;
    fs::remove_dir_all(user.project())?;
    user.mkdir("home/project")?;
    link(user, "conf/rc", ".envrc")?;
    let out = sh(user, &[], "mkdir conf; echo evil >conf/rc; exit 4")?;
    out.exits(4)?.stderr_has("/.envrc`")?;
    out.check(out.errors().lines().count() == 1, || "one line".to_owned())?;
    Ok(())
}

fn a_link_that_leads_out(user: &User) -> Verdict {
    let settings = user.put("else/shared/settings.json", "the user's\n")?;
    for target in [text(user.dir().join("else/shared")), "../../else/shared".to_owned()] {
        let _ = fs::remove_dir_all(user.project());
        user.mkdir("home/project")?;
        repository(user, "home/project")?;
        link(user, &target, ".vscode")?;
        let script =
            "rm -f .vscode; ln -sfn /tmp .vscode; mv -T .vscode v; mkdir -p .vscode; echo evil >.vscode/f";
        holds(user, &[], script, &[".vscode"])?;
    }
    let _ = fs::remove_dir_all(user.project());
    user.mkdir("home/project")?;
    link(user, "../../else/shared", ".vscode")?;
    // Where what it leads to can be written, it holds there, unless it is what the command line names.
    let within = format!("{}:/d", text(user.dir().join("else")));
    sh(user, &["--rw", &within], "cd /d; echo evil >shared/settings.json; mv -T shared s; exit 6")?
        .exits(6)?;
    let kept = fs::read_to_string(&settings)?;
    let itself = format!("{}:/d", text(user.dir().join("else/shared")));
    sh(user, &["--rw", &itself], "echo new >/d/settings.json; exit 6")?.exits(6)?;
    match (kept.as_str(), fs::read_to_string(&settings)?.as_str()) {
        ("the user's\n", "new\n") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn a_file_in_the_place_of_a_directory(user: &User) -> Verdict {
    repository(user, "home/project")?;
    user.put("home/project/.cargo", "a file\n")?;
    let script = "rm -f .cargo; mkdir .cargo && echo evil >.cargo/config.toml";
    holds(user, &[], script, &[".cargo/config.toml"])
}
