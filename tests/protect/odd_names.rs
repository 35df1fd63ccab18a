//! Directories with names that nobody would choose.

use crate::common::{Case, Snapshot, User, Verdict, case, output};
use crate::stage::{placed, repository, sandbox};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(they_hold), case!(they_are_found_in_the_mount_table), case!(they_are_told_in_one_line)]
}

const NAMES: [&[u8]; 8] = [
    b"with spaces ",
    b"new\nline",
    b"tab\there",
    b"back\\slash",
    b"\\040\\012",
    b"\xff\xfe not UTF-8",
    b"#hash \"quoted\" 'twice' $x `y`",
    b"-n",
];

fn odd(user: &User, name: &[u8]) -> PathBuf {
    user.project().join(OsStr::from_bytes(name))
}

fn they_hold(user: &User) -> Verdict {
    let script = "echo evil >.envrc; mkdir .vscode; echo evil >.vscode/f; mv -T .git g; cd /x && {
        echo evil >.envrc; mkdir .idea; mv -T .git g; }; exit 3";
    for name in NAMES {
        let directory = odd(user, name);
        repository(user, &directory)?;
        user.put(directory.join(".envrc"), "the user's\n")?;
        let before = Snapshot::of(&directory)?;
        let run = |protected| {
            let mut command = sandbox(user, protected);
            let mut bind = directory.clone().into_os_string();
            bind.push(":/x");
            command.current_dir(&directory).arg("--rw").arg(bind).args(["sh", "-c", script]);
            output(&mut command)
        };
        run(true)?.exits(3)?;
        before.same_as(&Snapshot::of(&directory)?)?;
        run(false)?.exits(3)?;
        if !directory.join("g").exists() || before.same_as(&Snapshot::of(&directory)?).is_ok() {
            return Err(format!("unprotected, {directory:?} should change").into());
        }
    }
    Ok(())
}

/// The directory shown again below itself, by a mount whose name is as odd.
fn they_are_found_in_the_mount_table(user: &User) -> Verdict {
    for name in NAMES {
        let directory = odd(user, name);
        repository(user, &directory)?;
        user.mkdir(directory.join(OsStr::from_bytes(name)))?;
        let before = Snapshot::of(&directory)?;
        let run = |program: &[&OsStr]| {
            let mut command = user.command("unshare");
            command.arg(if user.is_root() { "-m" } else { "-Urm" }).current_dir(&directory);
            let script = "mount --bind . \"./$0\" && cd . && \"$@\" sh -c 'cd \"./$0\" && { mkdir .vscode; mv -T .git g; }; exit 3' \"$0\"";
            output(command.args(["sh", "-c", script]).arg(OsStr::from_bytes(name)).args(program))
        };
        run(&[user.sbx_path().as_os_str()])?.exits(3)?;
        before.same_as(&Snapshot::of(&directory)?)?;
        run(&[user.edited_path().as_os_str(), OsStr::new("--edited"), OsStr::new("unprotected")])?
            .exits(3)?;
        if !directory.join("g").exists() {
            return Err(format!("unprotected, {directory:?} should change").into());
        }
    }
    Ok(())
}

fn they_are_told_in_one_line(user: &User) -> Verdict {
    for name in NAMES.into_iter().chain([b"\x1b[2Jescape".as_slice()]) {
        let directory = odd(user, name);
        user.mkdir(&directory)?;
        let out = output(user.sbx().current_dir(&directory).args(["sh", "-c", "mkdir .vscode; exit 3"]))?;
        out.exits(3)?.stderr_has("/.vscode`")?.stderr_has("sbx: warning: ")?;
        let plain = |letter: &u8| (0x20..0x7f).contains(letter) || *letter == b'\n';
        let told = out.errors();
        out.check(told.lines().count() == 1 && told.bytes().all(|letter| plain(&letter)), || {
            "one line without control characters".to_owned()
        })?;
    }
    placed(user.project(), &[])
}
