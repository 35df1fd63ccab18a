//! Where a place can't be held: nothing runs, unless nobody inside could make anything there either.

use crate::common::{Account, Case, Snapshot, User, Verdict, case, output};
use crate::stage::{Stay, holds, outer, placed, repository, sh, text};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_directory_that_is_closed).only_as_user(),
        case!(a_directory_that_is_closed_to_others_than_root).only_as_root(),
        case!(a_file_system_that_is_read_only),
        case!(a_directory_of_somebody_else).only_as_root(),
    ]
}

fn close(user: &User, path: &str) -> Verdict {
    Ok(fs::set_permissions(user.project().join(path), Permissions::from_mode(0o555))?)
}

/// It is the user's own: a program inside could open it again.
fn a_directory_that_is_closed(user: &User) -> Verdict {
    for directory in [".cargo", ".git"] {
        let _ = fs::remove_dir_all(user.project());
        user.mkdir("home/project/.cargo")?;
        repository(user, "home/project")?;
        close(user, directory)?;
        let before = Snapshot::of(user.project())?;
        let out = sh(user, &[], "echo ran; echo ran >ran")?;
        out.exits(125)?.stdout_is("")?.stderr_has("permission denied")?;
        out.stderr_has(&format!("{}/{directory}/", text(user.project())))?;
        out.stderr_has("\n  hint: ")?.stderr_has("filesystem.protect")?;
        before.same_as(&Snapshot::of(user.project())?)?;
        fs::set_permissions(user.project().join(directory), Permissions::from_mode(0o755))?;
        sh(user, &[], "exit 3")?.exits(3)?;
    }
    // As the hint says.
    close(user, ".cargo")?;
    let list = ["--set", "filesystem.protect=[\"-.cargo/config.toml\"]"];
    sh(user, &list, "exit 3")?.exits(3)?;
    Ok(())
}

fn a_directory_that_is_closed_to_others_than_root(user: &User) -> Verdict {
    user.mkdir("home/project/.cargo")?;
    repository(user, "home/project")?;
    close(user, ".cargo")?;
    let stay = Stay::start(user, "one")?;
    let there = user.project().join(".cargo/config.toml").exists();
    stay.end()?.exits(0)?;
    placed(user.project(), &[])?;
    let script = "chmod 755 .cargo; echo evil >.cargo/config.toml; mv -T .cargo c; chmod 555 .cargo";
    holds(user, &[], script, &["c"])?;
    if there { Ok(()) } else { Err("its place should be held".into()) }
}

fn a_file_system_that_is_read_only(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let mounts = "mount --bind . .; mount -o remount,bind,ro .; cd /; cd \"$DIR/home/project\"";
    let out = outer(user, true, &format!("{mounts}; $RUN sh -c 'mkdir .vscode || exit 3'"))?;
    out.exits(3)?.stderr_has("Read-only file system")?;
    before.same_as(&Snapshot::of(user.project())?)
}

/// The user can't make anything there, and so can't the sandbox.
fn a_directory_of_somebody_else(root: &User) -> Verdict {
    repository(root, "home/project")?;
    let (uid, gid) = Account::person();
    let run = || {
        let mut command = root.command("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        command.arg(root.sbx_path()).args(["sh", "-c", "mkdir .vscode .git/hooks; exit 3"]);
        output(&mut command)
    };
    let before = Snapshot::of(root.project())?;
    run()?.exits(3)?.stderr_has("Permission denied")?.stderr_lacks("File exists")?;
    before.same_as(&Snapshot::of(root.project())?)?;
    // And where only a part of it is.
    chown(root.project(), Some(uid), Some(gid))?;
    run()?.exits(3)?.stderr_has("File exists")?.stderr_has("Permission denied")?;
    before.same_as(&Snapshot::of(root.project())?)
}
