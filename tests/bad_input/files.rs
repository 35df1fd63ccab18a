//! Profiles that can't be read, or must not be.

use crate::common::{Case, User, Verdict, case, output};
use crate::support::{TOUCH, prepare, profile, refused, refuses};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::PathBuf;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(unknown_names),
        case!(names_that_cannot_be),
        case!(never_the_working_directory),
        case!(things_that_are_no_file),
        case!(links),
        case!(a_hundred_megabytes),
        case!(not_utf8),
        case!(an_unreadable_file).only_as_user(),
        case!(writable_by_others),
        case!(in_a_directory_writable_by_others),
        case!(of_somebody_else).only_as_root(),
        case!(two_match_one_command),
        case!(a_broken_profile_that_nobody_named),
    ]
}

fn unknown_names(user: &User) -> Verdict {
    profile(user, "my-own", "schema = 1\n")?;
    let list = Some("`sbx profiles` lists what there is");
    refuses(
        user,
        &[
            (&["-p", "biuld"], "cannot find profile `biuld`", Some("did you mean `build`?")),
            (&["-p", "my-onw"], "cannot find profile `my-onw`", Some("did you mean `my-own`?")),
            (&["-p", "qqqqqqq"], "cannot find profile `qqqqqqq`", list),
            (&["-p", "build", "-p", "shel"], "cannot find profile `shel`", Some("did you mean `shell`?")),
            (&["-p", "my.toml"], "cannot find profile `my.toml`", Some("`./my.toml`")),
        ],
    )
}

fn names_that_cannot_be(user: &User) -> Verdict {
    let long = "a".repeat(101);
    for name in ["BUILD", "", ".x", "-x", "a b", "ä", &long] {
        let error = format!("cannot use `{name}` as a profile name");
        let option = format!("--profile={name}");
        refuses(user, &[(&[&option], &error, Some("`./my.toml`"))])?;
    }
    refuses(
        user,
        &[(&["-p", "./nope.toml"], "cannot read profile `./nope.toml`: no such file or directory", None)],
    )
}

fn never_the_working_directory(user: &User) -> Verdict {
    user.put(user.project().join("local.toml"), "schema = 1\nnetwork.mode = 'host'\n")?;
    user.put(user.project().join("sbx/profiles/local.toml"), "schema = 1\n")?;
    user.put(user.project().join("sbx/profiles/default.toml"), "broken")?;
    refuses(user, &[(&["-p", "local"], "cannot find profile `local`", Some("`sbx profiles`"))])?;
    // A relative XDG_CONFIG_HOME is ignored (XDG Base Directory Specification): no profile comes out of a checkout.
    for relative in [".", "../project", ""] {
        output(user.sbx().env("XDG_CONFIG_HOME", relative).arg("true"))?.exits(0)?.stderr_is("")?;
    }
    let absolute = user.project();
    let error = "default.toml:1:7: cannot read this as TOML";
    refused(user, user.sbx().env("XDG_CONFIG_HOME", absolute).args(TOUCH), 125, error, None)?;
    Ok(())
}

/// Where the user's own profiles lie.
fn directory(user: &User) -> Result<PathBuf, libtest_mimic::Failed> {
    user.mkdir(user.home().join(".config/sbx/profiles"))
}

fn things_that_are_no_file(user: &User) -> Verdict {
    directory(user)?;
    prepare(user, "cd $HOME/.config/sbx/profiles && mkfifo pipe.toml && mkdir dir.toml")?;
    let _socket = std::os::unix::net::UnixListener::bind(directory(user)?.join("socket.toml"))?;
    for (name, kind) in [("pipe", "a named pipe"), ("dir", "a directory"), ("socket", "a socket")] {
        let output = refused(user, user.sbx().args(["-p", name]).args(TOUCH), 125, kind, None)?;
        output.stderr_has(&format!("{name}.toml`: it is {kind}"))?.stderr_has("not a regular file")?;
    }
    refuses(
        user,
        &[(
            &["-p", "/dev/null"],
            "cannot read profile `/dev/null`: it is a device, not a regular file",
            None,
        )],
    )?;
    refuses(
        user,
        &[(
            &["-p", "/dev/zero"],
            "cannot read profile `/dev/zero`: it is a device, not a regular file",
            None,
        )],
    )?;
    refuses(user, &[(&["-p", "../project/"], "cannot read profile `../project/`: it is a directory", None)])
}

fn links(user: &User) -> Verdict {
    directory(user)?;
    prepare(
        user,
        "cd $HOME/.config/sbx/profiles && ln -s b.toml a.toml && ln -s a.toml b.toml && ln -s gone c.toml",
    )?;
    for (name, why) in [
        ("a", "its symbolic links form a loop"),
        ("b", "its symbolic links form a loop"),
        ("c", "it is a symbolic link to nothing"),
    ] {
        refuses(user, &[(&["-p", name], &format!("{name}.toml`: {why}"), None)])?;
    }
    Ok(())
}

fn a_hundred_megabytes(user: &User) -> Verdict {
    directory(user)?;
    prepare(user, "truncate -s 100M $HOME/.config/sbx/profiles/big.toml")?;
    let output = refused(user, user.sbx().args(["-p", "big"]).args(TOUCH), 125, "104857600 bytes", None)?;
    output.stderr_has("a profile may have 1048576")?;
    output.check(output.took.as_secs() < 5, || "it should not read all that".to_owned())?;
    let brim = format!("schema = 1\n#{}\n", "x".repeat((1 << 20) - 13));
    profile(user, "brim", &brim)?;
    crate::common::output(user.sbx().args(["-p", "brim", "true"]))?.exits(0)?;
    profile(user, "brim", format!("{brim}\n"))?;
    refuses(user, &[(&["-p", "brim"], "it has 1048577 bytes", None)])
}

fn not_utf8(user: &User) -> Verdict {
    profile(user, "latin", b"schema = 1\n# caf\xe9\n")?;
    refuses(user, &[(&["-p", "latin"], "byte 16, in line 2, is not UTF-8", None)])?;
    profile(user, "utf16", b"\xff\xfes\0c\0")?;
    refuses(user, &[(&["-p", "utf16"], "byte 0, in line 1, is not UTF-8", None)])
}

fn an_unreadable_file(user: &User) -> Verdict {
    let path = profile(user, "closed", "schema = 1\n")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000))?;
    refuses(user, &[(&["-p", "closed"], &format!("cannot read profile `{path}`: permission denied"), None)])
}

fn writable_by_others(user: &User) -> Verdict {
    let path = profile(user, "shared", "schema = 1\n")?;
    let group = 1;
    for (mode, who) in [(0o646, "everyone"), (0o666, "everyone")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        let error = format!("cannot trust profile `{path}`: it is writable by {who}");
        refuses(user, &[(&["-p", "shared"], &error, Some(&format!("run `chmod go-w {path}`")))])?;
    }
    if nix::unistd::geteuid().is_root() {
        lchown(&path, None, Some(group))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664))?;
        let error = format!("cannot trust profile `{path}`: it is writable by group {group}");
        refuses(user, &[(&["-p", "shared"], &error, Some("chmod go-w"))])?;
    }
    Ok(())
}

fn in_a_directory_writable_by_others(user: &User) -> Verdict {
    let path = profile(user, "x", "schema = 1\n")?;
    let directory = directory(user)?;
    for open in [directory.clone(), user.home().join(".config")] {
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
        let error = format!("cannot trust profile `{path}`: `{}` is writable by everyone", open.display());
        let hint = format!("run `chmod go-w {}`", open.display());
        refuses(user, &[(&["-p", "x"], &error, Some(&hint))])?;
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755))?;
    }
    output(user.sbx().args(["-p", "x", "--cwd", "rw", "true"]))?.exits(0)?;
    // A link to a file in such a place is no better than the file.
    let open = user.mkdir("open")?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    user.put(open.join("y.toml"), "schema = 1\n")?;
    std::os::unix::fs::symlink(open.join("y.toml"), directory.join("y.toml"))?;
    refuses(user, &[(&["-p", "y"], "is writable by everyone", Some("chmod go-w"))])
}

fn of_somebody_else(user: &User) -> Verdict {
    let (uid, gid) = crate::common::Account::person();
    let path = profile(user, "theirs", "schema = 1\n")?;
    lchown(&path, Some(uid), Some(gid))?;
    let error = format!("cannot trust profile `{path}`: it belongs to uid {uid}, neither you nor root");
    refuses(user, &[(&["-p", "theirs"], &error, Some("of your own"))])
}

fn two_match_one_command(user: &User) -> Verdict {
    let text = "schema = 1\nmatch = [\"/usr/bin/touch\"]\n";
    let (one, two) = (profile(user, "one", text)?, profile(user, "two", text)?);
    let error =
        format!("cannot choose a profile for `/usr/bin/touch`: both {one}:2:10 and {two}:2:10 match it");
    refuses(user, &[(&[], &error, Some("choose one with --profile"))])?;
    output(user.sbx().args(["-p", "one", "true"]))?.exits(0)?;
    Ok(())
}

/// A broken profile is no reason to refuse a run that has nothing to do with it.
fn a_broken_profile_that_nobody_named(user: &User) -> Verdict {
    profile(user, "broken", "schema = \n")?;
    output(user.sbx().arg("true"))?.exits(0)?.stderr_is("")?;
    output(user.sbx().arg("profiles"))?.exits(0)?.stdout_has("cannot read this as TOML")?;
    refuses(user, &[(&["-p", "broken"], "broken.toml:1:10: cannot read this as TOML", None)])
}
