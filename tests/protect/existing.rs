//! What is on the list and there: nobody inside changes it, nor anything about it, nor moves it out of the way.

use crate::common::{Case, User, Verdict, case};
use crate::stage::{DIRECTORIES, FILES, fill, holds, members, repository, sh};
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(nothing_on_the_list_changes),
        case!(nothing_comes_into_a_protected_directory),
        case!(a_parent_can_not_be_renamed),
        case!(no_parent_can_be_renamed_at_any_depth),
        case!(the_rest_can_be_written),
    ]
}

/// Runs one command for each member: `$m`, with the file `$f` in it or the same as it.
fn for_each(members: &[&str], command: &str) -> String {
    format!("for m in {}; do f=$m; [ ! -d $m ] || f=$m/f\n{command}\nrm -rf $m.new; done", members.join(" "))
}

fn attempt(user: &User, members: &[&str], command: &str) -> Verdict {
    let _ = fs::remove_dir_all(user.project());
    user.mkdir("home/project")?;
    repository(user, "home/project")?;
    fill(user, "home/project")?;
    holds(user, &[], &for_each(members, command), members)
}

fn nothing_on_the_list_changes(user: &User) -> Verdict {
    let all: Vec<_> = members().collect();
    let ways = [
        "echo evil >$f",
        "echo evil >>$f",
        "rm -f $f",
        "rm -rf $m",
        "mv -T $m /tmp/gone; rm -rf /tmp/gone",
        "mv -T $m $m.old",
        "echo evil >$m.new; mv -f $m.new $f",
        "echo evil >$m.new; ln -f $m.new $f",
        "truncate -s 0 $f",
        "chmod 777 $f",
        "chmod 700 $m",
    ];
    ways.iter().try_for_each(|command| attempt(user, &all, command))?;
    attempt(user, &FILES, "ln -sf /etc/passwd $m")
}

fn nothing_comes_into_a_protected_directory(user: &User) -> Verdict {
    for command in
        ["echo evil >$m/new", "mkdir $m/new", "ln -s /etc $m/new", "echo evil >/tmp/new; mv /tmp/new $m/"]
    {
        attempt(user, &DIRECTORIES, command)?;
    }
    Ok(())
}

fn a_parent_can_not_be_renamed(user: &User) -> Verdict {
    repository(user, "home/project")?;
    fill(user, "home/project")?;
    for parent in [".git", ".cargo"] {
        sh(user, &[], &format!("mv -T {parent} gone"))?.exits(1)?.stderr_has("Device or resource busy")?;
    }
    let script = "mv -T .git g && mkdir -p .git/hooks && echo evil >.git/hooks/pre-commit
        mv -T .cargo c && mkdir .cargo && echo evil >.cargo/config.toml";
    holds(user, &[], script, &[".git/hooks/pre-commit", ".cargo/config.toml"])
}

fn no_parent_can_be_renamed_at_any_depth(user: &User) -> Verdict {
    user.put("home/project/a/b/c/f", "kept\n")?;
    let list = ["--set", "filesystem.protect=[\"a/b/c\"]"];
    for (from, to) in [("a", "q"), ("a/b", "a/q"), ("a/b/c", "a/b/q")] {
        sh(user, &list, &format!("mv -T {from} {to}"))?.exits(1)?.stderr_has("Device or resource busy")?;
        holds(
            user,
            &list,
            &format!("mv -T {from} {to} && mkdir -p a/b/c && echo evil >a/b/c/f"),
            &["a/b/c/f"],
        )?;
        let _ = fs::remove_dir_all(user.project());
        user.put("home/project/a/b/c/f", "kept\n")?;
    }
    Ok(())
}

/// The directories above and beside it are as they were.
fn the_rest_can_be_written(user: &User) -> Verdict {
    repository(user, "home/project")?;
    fill(user, "home/project")?;
    let script =
        "set -e; echo x >.git/index; mkdir .git/objects/aa; mv .git/refs .git/r; echo x >.cargo/audit.toml
        echo x >new; mkdir .vscode2; echo x >.env; chmod 700 .git .cargo; mv .env .git/moved";
    sh(user, &[], script)?.exits(0)?;
    for path in
        [".git/index", ".git/objects/aa", ".git/r", ".cargo/audit.toml", "new", ".vscode2", ".git/moved"]
    {
        if !user.project().join(path).exists() {
            return Err(format!("{path} should be there").into());
        }
    }
    Ok(())
}
