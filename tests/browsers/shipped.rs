//! Every profile that comes with the program.

use crate::common::{Case, Output, User, Verdict, first_id, output, source_dir};
use crate::stage::text;
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("shipped::checks", checks),
        Case::new("shipped::runs", runs),
        Case::new("shipped::is_found", is_found),
    ]
}

fn names() -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in fs::read_dir(source_dir().join("profiles"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".toml").map(str::to_owned));
    }
    names.sort();
    if names.len() > 10 { Ok(names) } else { Err(format!("only {names:?}").into()) }
}

/// Nothing in it is even worth a warning.
fn checks(user: &User) -> Verdict {
    for name in names()? {
        let text = fs::read(source_dir().join(format!("profiles/{name}.toml")))?;
        let file = user.put(format!("{name}.toml"), text)?;
        output(user.sbx().args(["check", "--deny-warnings"]).arg(file))?
            .exits(0)?
            .stdout_is("")?
            .stderr_is("")?;
    }
    Ok(())
}

/// Under each of them a command runs, and sbx says nothing.
fn runs(user: &User) -> Verdict {
    for name in names()? {
        let ran = output(user.sbx().args(["--profile", &name, "echo", "ran"]))?;
        if !lacks_ids(user, &name, &ran)? {
            ran.exits(0)?.stdout_is("ran\n")?.stderr_is("")?;
        }
    }
    Ok(())
}

/// Whether it is the profile that maps subordinate ids and the user has none, which then must be what it says.
fn lacks_ids(user: &User, name: &str, said: &Output) -> Result<bool, Failed> {
    let lacks = |file| first_id(file, user.uid()).is_none();
    if name != "distro" || !(lacks("/etc/subuid") || lacks("/etc/subgid")) {
        return Ok(false);
    }
    said.stdout_is("")?.stderr_has("cannot map subordinate ids: ")?;
    Ok(true)
}

/// A program is found by its path to be what it is, wherever sbx is started; one in the working directory is not.
fn is_found(user: &User) -> Verdict {
    let desktop =
        [("firefox", "browser"), ("firefox-esr", "browser"), ("chromium", "browser"), ("evince", "viewer")];
    let explained = |directory: &Path, path: &str, program: &str| {
        let mut explain = user.sbx();
        explain.args(["explain", "--cwd", "none", program]).current_dir(directory).env("PATH", path);
        output(&mut explain)
    };
    for (program, profile) in desktop.into_iter().chain([("true", "default"), ("make", "build")]) {
        let line = format!("\n  profile     {profile}\n");
        // What root works on, it could have written.
        let directories = if user.is_root() { &["/", "/usr/share"][..] } else { &["/", "/usr", "/usr/bin"] };
        if Path::new("/usr/bin").join(program).exists() {
            for directory in directories.iter().map(Path::new).chain([user.home().as_path()]) {
                explained(directory, "/usr/bin", program)?.exits(0)?.stdout_has(&line)?;
            }
        }
    }
    let own = user.mkdir("home/project/bin")?;
    symlink("/usr/bin/make", own.join("make"))?;
    let own = text(own);
    explained(&user.project(), &own, "make")?.exits(0)?.stdout_has("\n  profile     default\n")?;
    explained(&user.home().join(".."), &own, "make")?.exits(0)?.stdout_has("\n  profile     default\n")?;
    explained(Path::new("/usr/share"), &own, "make")?.exits(0)?.stdout_has("\n  profile     build\n")?;
    Ok(())
}
