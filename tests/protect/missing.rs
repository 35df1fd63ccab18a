//! What is on the list and missing, in a repository: placeholders, as seen from both sides.

use crate::common::{Case, Snapshot, User, Verdict, case};
use crate::stage::{PLACED, Stay, gone, holds, janitors, members, placed, repository, sh};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(nothing_missing_can_be_made),
        case!(placeholders_are_there_while_it_runs),
        case!(parents_that_exist_hold_placeholders),
        case!(what_the_host_puts_there_stays),
        case!(what_the_host_takes_away_is_not_missed),
        case!(no_placeholder_no_janitor),
    ]
}

fn nothing_missing_can_be_made(user: &User) -> Verdict {
    let ways = [
        "mkdir -p $d; echo evil >$m",
        "mkdir -p $m; echo evil >$m/f",
        "mkdir -p $d; ln -s /etc/passwd $m",
        "mkdir -p $d; echo evil >new; mv -T new $m; rm -f new",
        "mkdir -p $d; mkdir new; mv -T new $m; rmdir new",
        "mkdir -p $d; echo evil >new; ln new $m; rm new",
        // What holds the place can't be made to go away first.
        "chmod 700 $m; rm -rf $m; mkdir -p $d; echo evil >$m",
        "mv -T $m gone; rm -rf gone; mkdir -p $d; echo evil >$m",
        "echo evil >$m; rm -f $m; rmdir $m; mkdir -p $d; echo evil >$m",
    ];
    let all: Vec<_> = members().collect();
    for command in ways {
        let _ = fs::remove_dir_all(user.project());
        user.mkdir("home/project")?;
        repository(user, "home/project")?;
        let script = format!("for m in {}; do d=$(dirname $m)\n{command}\ndone", all.join(" "));
        holds(user, &[], &script, &all)?;
    }
    let _ = fs::remove_dir_all(user.project());
    user.mkdir("home/project")?;
    repository(user, "home/project")?;
    holds(user, &[], "mv -T .git g", &["g"])
}

fn placeholders_are_there_while_it_runs(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    placed(user.project(), &PLACED)?;
    for path in PLACED {
        let metadata = user.project().join(path).symlink_metadata()?;
        let is_file = [".git/commondir", ".git/config", ".git/config.worktree"].contains(&path);
        if metadata.is_dir() == is_file {
            return Err(format!("{path} should be the other kind").into());
        }
    }
    stay.end()?.exits(0)?.stderr_is("")?;
    before.same_as(&Snapshot::of(user.project())?)
}

/// `.cargo` is there, its `config.toml` is not.
fn parents_that_exist_hold_placeholders(user: &User) -> Verdict {
    repository(user, "home/project")?;
    user.put("home/project/.cargo/audit.toml", "")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    let wanted = PLACED.map(|path| if path == ".cargo" { ".cargo/config.toml" } else { path });
    placed(user.project(), &wanted)?;
    if fs::read(user.project().join(".cargo/config.toml"))? != b"" {
        return Err("it should be an empty file".into());
    }
    stay.end()?.exits(0)?;
    before.same_as(&Snapshot::of(user.project())?)?;
    let script =
        "echo evil >.cargo/config.toml; mv -T .cargo c && mkdir .cargo && echo evil >.cargo/config.toml";
    holds(user, &[], script, &[".cargo/config.toml"])
}

fn what_the_host_puts_there_stays(user: &User) -> Verdict {
    repository(user, "home/project")?;
    user.mkdir("home/project/.cargo")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    let path = |name: &str| user.project().join(name);
    for name in [".vscode", ".git/hooks", ".cargo/config.toml"] {
        fs::set_permissions(path(name), Permissions::from_mode(0o755))?;
    }
    let written = [".vscode/settings.json", ".git/hooks/pre-commit", ".cargo/config.toml"];
    written.iter().try_for_each(|name| fs::write(path(name), "the host's\n"))?;
    // And one that is replaced altogether.
    fs::remove_dir(path(".envrc"))?;
    fs::write(path(".envrc"), "the host's\n")?;
    stay.end()?.exits(0)?.stderr_is("")?;
    placed(user.project(), &[])?;
    for name in written.iter().chain(&[".envrc"]) {
        if fs::read_to_string(path(name))? != "the host's\n" {
            return Err(format!("{name} should stay").into());
        }
    }
    let difference = before.difference(&Snapshot::of(user.project())?);
    let lines = difference.lines().count();
    if lines == 6 { Ok(()) } else { Err(format!("nothing else should stay:\n{difference}").into()) }
}

fn what_the_host_takes_away_is_not_missed(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    for path in PLACED {
        let path = user.project().join(path);
        if path.is_dir() { fs::remove_dir(path)? } else { fs::remove_file(path)? }
    }
    before.same_as(&Snapshot::of(user.project())?)?;
    stay.end()?.exits(0)?.stderr_is("")?;
    before.same_as(&Snapshot::of(user.project())?)?;
    sh(user, &[], "true")?.exits(0)?;
    before.same_as(&Snapshot::of(user.project())?)
}

/// Where everything is there, nothing waits for the end.
fn no_placeholder_no_janitor(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let stay = Stay::start(user, "one")?;
    let with = janitors(user).len();
    stay.end()?.exits(0)?;
    gone(user)?;
    crate::stage::fill(user, "home/project")?;
    let stay = Stay::start(user, "two")?;
    let without = janitors(user).len();
    placed(user.project(), &[])?;
    stay.end()?.exits(0)?;
    if (with, without) == (1, 0) { Ok(()) } else { Err(format!("janitors: {with}, {without}").into()) }
}
