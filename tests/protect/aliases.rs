//! The same directory under another path: what is protected is so there too, and so are the directories on the way.

use crate::common::{Case, Snapshot, User, Verdict, case, output};
use crate::stage::{fill, holds, holds_against, outer, repository, sandbox, text};
use std::fs;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(bound_twice),
        case!(bound_with_a_directory_above),
        case!(a_part_of_it_bound_elsewhere),
        case!(shown_again_by_a_mount_of_the_hosts),
        case!(a_part_shown_again_by_a_mount_of_the_hosts),
        case!(itself_shown_again_by_a_mount_of_the_hosts),
        case!(a_directory_in_it_shown_again_by_a_mount_of_the_hosts),
    ]
}

/// Everything that is tried at a second path of the project, and what changes when nothing is protected.
const ATTACK: &str =
    "echo evil >.envrc; echo evil >.git/hooks/pre-commit; rm -f .vscode/f; mkdir -p .idea; echo evil >.idea/f
    mv -T .cargo c && mkdir .cargo && echo evil >.cargo/config.toml; mv -T .git g";
const CHANGED: [&str; 6] = [".envrc", ".git/hooks", ".vscode/f", ".idea/f", ".cargo/config.toml", "g"];

fn project(user: &User) -> Verdict {
    repository(user, "home/project")?;
    fill(user, "home/project")
}

fn bound_twice(user: &User) -> Verdict {
    project(user)?;
    let bind = format!("{}:/mnt/x", text(user.project()));
    holds(user, &["--rw", &bind], &format!("cd /mnt/x && {{ {ATTACK}\n}}"), &CHANGED)
}

/// The directories between can't be renamed either, whether there is something on the list or only placeholders.
fn bound_with_a_directory_above(user: &User) -> Verdict {
    let above = user.home().join("outer");
    let project = above.join("a/project");
    for (dest, filled) in [("/o", true), ("/o", false), ("", true), ("", false)] {
        user.mkdir(&project)?;
        repository(user, &project)?;
        if filled {
            fill(user, &project)?;
        }
        let (above, project) = (text(&above), text(&project));
        let (bind, inside) =
            if dest.is_empty() { (above.clone(), above.as_str()) } else { (format!("{above}:{dest}"), dest) };
        let script = format!(
            "cd {inside}/a/project && {{ {ATTACK}\n}}; cd {inside}; mv -T a/project a/p; mv -T a b; true"
        );
        let run = |protected| {
            let mut command = sandbox(user, protected);
            output(command.current_dir(&project).args(["--rw", &bind, "sh", "-c", &script]))
        };
        let before = Snapshot::of(&above)?;
        let out = run(true)?;
        let difference = before.difference(&Snapshot::of(&above)?);
        out.exits(0)?.check(difference.is_empty(), || format!("nothing should change:\n{difference}"))?;
        run(false)?.exits(0)?;
        if Path::new(&above).join("a").exists() {
            return Err("unprotected, it should be moved".into());
        }
        fs::remove_dir_all(&above)?;
    }
    Ok(())
}

fn a_part_of_it_bound_elsewhere(user: &User) -> Verdict {
    project(user)?;
    let bind = format!("{}:/g", text(user.project().join(".git")));
    let script =
        "cd /g && { echo evil >hooks/pre-commit; echo evil >>config; rm -f commondir; mv -T hooks h; }";
    holds(user, &["--rw", &bind], script, &[".git/hooks", ".git/config", ".git/commondir", ".git/h"])
}

/// In a namespace around the run: mounts made first, the sandbox, and what is tried in it.
fn with_mounts(user: &User, mounts: &str, attack: &str, changed: &[&str]) -> Verdict {
    let run = |protected| outer(user, protected, &format!("{mounts}\n$RUN sh -c '{attack}\ntrue'"));
    holds_against(user, &run, changed)
}

fn shown_again_by_a_mount_of_the_hosts(user: &User) -> Verdict {
    project(user)?;
    user.mkdir("home/project/sub/view")?;
    with_mounts(user, "mount --bind . sub/view", &format!("cd sub/view && {{ {ATTACK}\n}}"), &CHANGED)
}

fn a_part_shown_again_by_a_mount_of_the_hosts(user: &User) -> Verdict {
    project(user)?;
    user.mkdir("home/project/view")?;
    let attack = "cd view && { echo evil >hooks/pre-commit; echo evil >config; mv -T hooks h; }";
    with_mounts(user, "mount --bind .git view", attack, &[".git/hooks", ".git/config", ".git/h"])
}

fn itself_shown_again_by_a_mount_of_the_hosts(user: &User) -> Verdict {
    project(user)?;
    user.mkdir("home/project/view")?;
    user.put("home/project/rc", "")?;
    let mounts = "mount --bind .git/hooks view; mount --bind .envrc rc";
    let attack = "echo evil >view/pre-commit; echo evil >>rc; rm -f view/f";
    with_mounts(user, mounts, attack, &[".git/hooks/pre-commit", ".envrc", ".git/hooks/f"])
}

fn a_directory_in_it_shown_again_by_a_mount_of_the_hosts(user: &User) -> Verdict {
    project(user)?;
    user.mkdir("home/project/.husky/deep")?;
    user.mkdir("home/project/view")?;
    with_mounts(user, "mount --bind .husky/deep view", "echo evil >view/f", &[".husky/deep/f"])
}
