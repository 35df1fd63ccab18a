//! Working directories that are too much to give away, gone, or closed; and homes that are nowhere.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::support::{prepare, refused, shell};
use std::fs;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(too_wide),
        case!(too_wide_by_another_name),
        case!(the_home_of_the_user_database).needs(Need::Other(|account| home_on_file(account.uid()).err())),
        case!(too_wide_is_fine_without_it),
        case!(a_removed_directory),
        case!(an_unreadable_directory).only_as_user(),
        case!(homes_that_are_nowhere),
        case!(nobody_knows_the_home),
        case!(relative_directories_are_ignored),
    ]
}

const HINT: Option<&str> = Some("--cwd none");

/// A run in this directory, which the shell expands, is refused for this reason.
fn refuses_in(user: &User, directory: &str, home: Option<&str>, why: &str) -> Verdict {
    let mut command =
        shell(user, "cd $1 && exec \"$SBX\" touch \"$2/it-ran\"", &[Path::new(directory), &user.project()]);
    if let Some(home) = home {
        command.env("HOME", home);
    }
    let error = "cannot give the working directory to the sandbox: ";
    refused(user, &mut command, 125, error, HINT)?.stderr_has(why)?;
    Ok(())
}

fn too_wide(user: &User) -> Verdict {
    let home = user.home().display().to_string();
    refuses_in(user, "/", None, "`/` is the root directory")?;
    refuses_in(user, &home, None, &format!("`{home}` is your home directory"))?;
    refuses_in(user, &format!("{home}/.."), None, "contains your home directory")?;
    refuses_in(user, "/var/tmp", None, "`/var/tmp` contains your home directory")?;
    for shared in ["/tmp", "/usr", "/etc", "/dev/shm", "/proc/self", "/run", "/opt", "/mnt", "/sys/kernel"] {
        if Path::new(shared).exists() {
            refuses_in(user, shared, None, "is shared by the whole system")?;
        }
    }
    for options in ["--cwd=rw", "--cwd=ro", "-p build"] {
        let mut command = shell(user, "cd && exec $SBX $1 touch it-ran", &[options]);
        refused(user, &mut command, 125, "is your home directory", HINT)?;
    }
    Ok(())
}

fn too_wide_by_another_name(user: &User) -> Verdict {
    prepare(
        user,
        "ln -s $HOME ../../link; ln -s / ../../root; ln -s ../../home/project ../../home/project/here",
    )?;
    let (link, root) =
        (user.dir().join("link").display().to_string(), user.dir().join("root").display().to_string());
    refuses_in(user, &link, None, "is your home directory")?;
    refuses_in(user, &root, None, "is the root directory")?;
    refuses_in(user, &format!("{root}/tmp/../usr"), None, "is shared by the whole system")?;
    refuses_in(user, &user.home().display().to_string(), Some(&link), "is your home directory")?;
    refuses_in(user, &link, Some(&format!("{link}/../home/./")), "is your home directory")?;
    refuses_in(user, &user.dir().display().to_string(), Some(&link), "contains your home directory")
}

/// What the user database has for this user, if that is a directory of its own.
fn home_on_file(uid: u32) -> Result<String, String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let home = line.and_then(|line| line.split(':').nth(5)).filter(|home| Path::new(home).is_dir());
    home.map(str::to_owned).ok_or_else(|| format!("no home directory for uid {uid} in /etc/passwd"))
}

/// HOME says something else: the home that the machine knows is no less private for that.
fn the_home_of_the_user_database(user: &User) -> Verdict {
    let home = home_on_file(user.uid())?;
    for said in [user.home().display().to_string().as_str(), "/nonexistent", ""] {
        refuses_in(user, &home, Some(said), "is your home directory")?;
        let above = Path::new(&home).parent().unwrap_or(Path::new("/")).display().to_string();
        refuses_in(
            user,
            &above,
            Some(said),
            if above == "/" { "is the root" } else { "contains your home directory" },
        )?;
    }
    Ok(())
}

fn too_wide_is_fine_without_it(user: &User) -> Verdict {
    for directory in ["/", "/tmp", "/usr", "$HOME", "$HOME/.."] {
        let script = format!("cd {directory} && $SBX --cwd none pwd && $SBX -p shell pwd");
        let home = user.home().display().to_string();
        output(&mut shell(user, &script, &[] as &[&str]))?
            .exits(0)?
            .stdout_is(&format!("{home}\n{home}\n"))?;
    }
    Ok(())
}

fn a_removed_directory(user: &User) -> Verdict {
    let script = "mkdir x && cd x && rmdir ../x && exec $SBX $1 touch it-ran";
    let hint = Some("change to a directory that exists, or give none with --cwd none");
    refused(user, &mut shell(user, script, &[""]), 125, "to the sandbox: it was removed", hint)?;
    refused(user, &mut shell(user, script, &["--cwd=none --chdir=y"]), 125, "it was removed", hint)?;
    refused(user, &mut shell(user, script, &["--cwd=none --ro=y"]), 125, "it was removed", hint)?;
    let script = "mkdir x && cd x && rmdir ../x && exec $SBX --cwd none pwd";
    output(&mut shell(user, script, &[] as &[&str]))?
        .exits(0)?
        .stdout_is(&format!("{}\n", user.home().display()))?;
    Ok(())
}

fn an_unreadable_directory(user: &User) -> Verdict {
    for closed in [".", "..", "../.."] {
        user.mkdir(user.project().join("a/b/c"))?;
        let script = "cd a/b/c && chmod 000 $1; $SBX touch $2/it-ran; code=$?; chmod -R 755 $2/a 2>/dev/null; \
                      chmod 755 $2/a; chmod -R 755 $2/a; exit $code";
        let mut command = shell(user, script, &[Path::new(closed), &user.project()]);
        refused(user, &mut command, 125, "it can't be reached: permission denied", HINT)?;
    }
    let script = "mkdir -p d && cd d && chmod 000 . && exec $SBX --cwd none pwd";
    output(&mut shell(user, script, &[] as &[&str]))?
        .exits(0)?
        .stdout_is(&format!("{}\n", user.home().display()))?;
    Ok(())
}

/// Without a usable HOME the user database says where home is.
fn homes_that_are_nowhere(user: &User) -> Verdict {
    let Ok(home) = home_on_file(user.uid()) else { return Ok(()) };
    for script in ["unset HOME", "HOME=", "HOME=relative", "HOME=./", "HOME=../home"] {
        let script = format!("{script}; $SBX sh -c 'echo $HOME; test -d $HOME && touch $HOME/x && pwd'");
        let expected = format!("{home}\n{}\n", user.project().display());
        output(&mut shell(user, &script, &[] as &[&str]))?.exits(0)?.stdout_is(&expected)?;
    }
    for (said, home) in [("/nonexistent", "/nonexistent"), ("/var/../nonexistent/.", "/nonexistent")] {
        let print = ["sh", "-c", "echo $HOME; touch $HOME/x"];
        output(user.sbx().env("HOME", said).args(print))?.exits(0)?.stdout_is(&format!("{home}\n"))?;
    }
    Ok(())
}

/// Neither HOME nor the user database: an outer user namespace makes the user a stranger.
fn nobody_knows_the_home(user: &User) -> Verdict {
    let script = "unset HOME; exec unshare --user --map-user=54321 --map-group=54321 $SBX touch it-ran";
    let error = "cannot find the home directory: HOME is not an absolute path and the user database has none";
    refused(
        user,
        &mut shell(user, script, &[] as &[&str]),
        125,
        error,
        Some("set HOME to an absolute path"),
    )?;
    Ok(())
}

fn relative_directories_are_ignored(user: &User) -> Verdict {
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
        user.put(user.project().join("sbx/profiles/default.toml"), "broken")?;
        for value in [".", "../project", ""] {
            output(user.sbx().env(name, value).arg("true"))?.exits(0)?.stderr_is("")?;
        }
    }
    Ok(())
}
