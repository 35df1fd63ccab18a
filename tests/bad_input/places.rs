//! Paths that aren't there, and paths that no sandbox may write.

use crate::common::{Case, User, Verdict, case, output};
use crate::support::{TOUCH, prepare, profile, refused, refuses, shell};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_missing_source),
        case!(a_missing_source_that_is_optional),
        case!(a_source_in_a_loop_of_links),
        case!(a_source_that_cannot_be_reached).only_as_user(),
        case!(a_file_over_a_directory),
        case!(a_directory_to_start_in_that_is_missing),
        case!(own_configuration_stays_read_only),
        case!(own_configuration_by_other_names),
    ]
}

fn a_missing_source(user: &User) -> Verdict {
    let gone = user.home().join("gone").display().to_string();
    let error = format!("cannot bind `{gone}`: no such file or directory");
    for option in ["--ro", "--rw"] {
        for typed in [gone.as_str(), "../gone", &format!("{gone}:/x")] {
            refuses(user, &[(&[option, typed], &error, Some("create it"))])?;
        }
    }
    for key in ["read", "write"] {
        profile(user, "x", format!("schema = 1\n[filesystem]\n{key} = ['{gone}']\n"))?;
        refuses(user, &[(&["-p", "x"], &error, Some("optional = true"))])?;
    }
    let below = format!("{gone}/below/that");
    refuses(
        user,
        &[(&["--ro", &below], &format!("cannot bind `{below}`: no such file"), Some("create it"))],
    )?;
    user.put(user.home().join("file"), "")?;
    let below = user.home().join("file/below").display().to_string();
    let output = refused(user, user.sbx().args(["--ro", &below]).args(TOUCH), 125, "not a directory", None);
    output.map(drop)
}

fn a_missing_source_that_is_optional(user: &User) -> Verdict {
    let home = user.home().display().to_string();
    let text = format!(
        "schema = 1\n[filesystem]\nread = [{{ path = '{home}/gone', optional = true }}, {{ path = '${{XDG_RUNTIME_DIR}}/gone', \
         optional = true }}, {{ path = '{home}/here', optional = true }}]\nwrite = [{{ path = '{home}/lost', optional = true }}]\n"
    );
    user.put(user.home().join("here"), "found\n")?;
    profile(user, "x", text)?;
    let script = "cat ~/here; test ! -e ~/gone && test ! -e ~/lost && echo none";
    output(user.sbx().args(["-p", "x", "sh", "-c", script]))?
        .exits(0)?
        .stdout_is("found\nnone\n")?
        .stderr_is("")?;
    Ok(())
}

fn a_source_in_a_loop_of_links(user: &User) -> Verdict {
    prepare(user, "ln -s b $HOME/a; ln -s a $HOME/b; ln -s /nowhere/at/all $HOME/c")?;
    for (name, why) in
        [("a", "too many symbolic links"), ("a/x", "too many symbolic links"), ("c", "no such file")]
    {
        let path = user.home().join(name).display().to_string();
        let output = output(user.sbx().args(["--ro", &path]).args(TOUCH))?;
        output.exits(125)?.stderr_has(&format!("cannot bind `{path}`: "))?.stderr_has(why)?;
        output.check(!user.project().join(TOUCH[1]).exists(), || "it should not have run".to_owned())?;
    }
    Ok(())
}

fn a_source_that_cannot_be_reached(user: &User) -> Verdict {
    let path = user.home().join("closed/file").display().to_string();
    user.put(&path, "")?;
    prepare(user, "chmod 000 $HOME/closed")?;
    refuses(user, &[(&["--ro", &path], &format!("cannot bind `{path}`: permission denied"), None)])
}

fn a_file_over_a_directory(user: &User) -> Verdict {
    let file = user.put(user.home().join("file"), "")?.display().to_string();
    let over = format!("{file}:/usr/bin");
    refuses(
        user,
        &[(
            &["--ro", &over],
            "`/usr/bin`: one of source and destination is a directory",
            Some("choose another"),
        )],
    )?;
    let hint = Some("choose another");
    let over = "/usr/share:/usr/bin/env";
    refuses(
        user,
        &[(&["--ro", over], "`/usr/bin/env`: one of source and destination is a directory", hint)],
    )?;
    refuses(user, &[(&["--ro", "/usr:/etc/passwd/x"], "`/etc/passwd/x`: ", hint)])?;
    // What sbx itself would have made there is replaced, whatever it is.
    output(user.sbx().args(["--ro", "/usr/share:/etc/passwd", "test", "-d", "/etc/passwd"]))?.exits(0)?;
    Ok(())
}

fn a_directory_to_start_in_that_is_missing(user: &User) -> Verdict {
    let hint = Some("give it with --ro or --rw, or start elsewhere with --chdir");
    refuses(
        user,
        &[
            (&["--chdir", "/gone"], "cannot enter `/gone`: it does not exist inside", hint),
            (&["--chdir", "gone"], "/project/gone`: it does not exist inside", hint),
            (&["--chdir", "/etc/passwd"], "cannot enter `/etc/passwd`: not a directory", None),
        ],
    )?;
    refused(user, user.sbx().args(["--chdir", ""]).args(TOUCH), 125, "--chdir", Some("sbx --help")).map(drop)
}

fn own_configuration_stays_read_only(user: &User) -> Verdict {
    let own = user.mkdir(user.home().join(".config/sbx/profiles"))?.display().to_string();
    user.mkdir(user.home().join(".local/share"))?;
    let hint = Some("name the directories below it");
    let home = user.home().display().to_string();
    for (typed, guarded) in [
        (home.as_str(), ".config/sbx"),
        (&format!("{home}/.config"), ".config/sbx"),
        (&format!("{home}/.config/sbx"), ".config/sbx"),
        (&own, ".config/sbx"),
        (&format!("{own}:/elsewhere"), ".config/sbx"),
        (&format!("{home}/.local"), ".local/state/sbx"),
        (&format!("{home}/.local/share"), ".local/share/sbx"),
        ("/", ""),
        ("/etc", "/etc/sbx"),
    ] {
        let destination = if typed == "/" { "/:/host" } else { typed };
        let output =
            refused(user, user.sbx().args(["--rw", destination]).args(TOUCH), 125, "cannot make `", hint)?;
        output.stderr_has("to decide what the next sandbox may do")?.stderr_has(guarded)?;
    }
    // The same by a profile, and by the working directory.
    profile(user, "x", "schema = 1\nfilesystem.write = ['${HOME}/.config']\n")?;
    refuses(user, &[(&["-p", "x"], "cannot make `", hint)])?;
    let script = "cd $HOME/.config && exec $SBX touch it-ran";
    refused(user, &mut shell(user, script, &[] as &[&str]), 125, "/.config` writable: sbx reads", hint)?;
    output(user.sbx().args(["--ro", &own, "true"]))?.exits(0)?;
    Ok(())
}

/// The same directory through a link, through `..`, and as XDG_CONFIG_HOME.
fn own_configuration_by_other_names(user: &User) -> Verdict {
    user.mkdir(user.home().join(".config/sbx/profiles"))?;
    user.mkdir("elsewhere/sbx")?;
    prepare(user, "ln -s .config $HOME/alias; ln -s ../.config/sbx $HOME/project/alias")?;
    let hint = Some("name the directories below it");
    for typed in ["../alias", "../.config/../.config", "../alias/sbx", "../project/../.config/sbx/profiles"] {
        refused(
            user,
            user.sbx().args(["--cwd=none", "--rw", typed]).args(TOUCH),
            125,
            "to decide what the next",
            hint,
        )?;
    }
    let config = user.dir().join("elsewhere");
    let mut command = user.sbx();
    command.env("XDG_CONFIG_HOME", &config).arg("--rw").arg(&config).args(TOUCH);
    refused(user, &mut command, 125, "to decide what the next", hint)?;
    Ok(())
}
