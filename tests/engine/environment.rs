//! What the payload is told: variables, users, names.

use crate::common::edited::Edit;
use crate::common::{Case, Running, Snapshot, User, Verdict, case, output, process, wait_for};
use crate::probe::{edited_sh, sh};
use std::fs;
use std::process::Command;

pub(crate) const EDITS: &[Edit] = &[("open-environment", |plan| plan.privileges.hide_init = false)];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(only_listed_variables),
        case!(secrets_are_nowhere),
        case!(variables_from_the_command_line),
        case!(the_home_is_private_and_empty),
        case!(the_user_database_holds_two),
        case!(the_host_is_not_named),
    ]
}

const SECRETS: [(&str, &str); 8] = [
    ("AWS_SECRET_ACCESS_KEY", "s3cret"),
    ("GITHUB_TOKEN", "s3cret"),
    ("SSH_AUTH_SOCK", "/s3cret"),
    ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/s3cret"),
    ("BASH_ENV", "/s3cret"),
    ("XDG_CONFIG_DIRS", "/s3cret"),
    ("MAKEFLAGS", "s3cret"),
    ("LD_LIBRARY_PATH", "/s3cret"),
];

fn only_listed_variables(user: &User) -> Verdict {
    let out = output(user.sbx().env("TERM", "vt100").env("ODD", "1").args(["env", "-0"]))?;
    let text = out.exits(0)?.text();
    let mut names: Vec<_> =
        text.split_terminator('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    names.sort_unstable();
    let wanted = ["HOME", "LANG", "LOGNAME", "PATH", "PWD", "TERM", "USER", "XDG_RUNTIME_DIR", "container"];
    out.check(names == wanted, || format!("just {wanted:?}"))?;
    out.stdout_has(&format!("HOME={}\0", user.home().display()))?.stdout_has("container=sbx\0")?;
    Ok(())
}

fn secretive(mut command: Command, script: &str) -> Command {
    command.envs(SECRETS).args(["sh", "-c", script]);
    command
}

fn secrets_are_nowhere(user: &User) -> Verdict {
    let script =
        "env; cat /proc/self/environ /proc/$$/environ; cat /proc/1/environ 2>&1; cat /proc/1/cmdline";
    let out = output(&mut secretive(user.sbx(), script))?;
    out.stdout_lacks("s3cret")?.stdout_has("/proc/1/environ: Permission denied")?;
    // With PID 1 readable, the same look finds them: it is a copy of sbx, with the caller's environment.
    output(&mut secretive(user.edited("open-environment"), script))?.stdout_has("s3cret")?;
    // Seen from outside, too.
    let running = Running::start(&mut secretive(user.sbx(), "exec sleep 1000"))?;
    let payload = wait_for("the payload", || {
        let pid = *process::descendants(running.pid()).get(1)?;
        (fs::read_to_string(format!("/proc/{pid}/comm")).ok()? == "sleep\n").then_some(pid)
    })?;
    let environment = process::environ(payload)?;
    match environment.values().any(|value| value.to_string_lossy().contains("s3cret")) {
        true => Err(format!("{environment:?}").into()),
        false => Ok(()),
    }
}

fn variables_from_the_command_line(user: &User) -> Verdict {
    let mut command = user.sbx();
    command.env("GIVEN", "from outside").env("EMPTY", "");
    command.args([
        "--env",
        "GIVEN",
        "--env",
        "EMPTY",
        "--env",
        "SET=a=b c",
        "--env",
        "BARE=",
        "--env",
        "LANG=C",
    ]);
    let out = output(command.args(["sh", "-c", "echo \"$GIVEN|${EMPTY-unset}|$SET|${BARE-unset}|$LANG\""]))?;
    out.exits(0)?.stdout_is("from outside||a=b c||C\n")?;
    output(user.sbx().args(["--env", "MISSING", "true"]))?.exits(125)?.stderr_has("it is not set")?;
    output(user.sbx().args(["--env", "=x", "true"]))?.exits(125)?;
    Ok(())
}

fn the_home_is_private_and_empty(user: &User) -> Verdict {
    for file in ["home/.ssh/id", "home/.bashrc", "home/project/.env", "home/other/file"] {
        user.put(file, "s3cret\n")?;
    }
    let before = Snapshot::of(user.home())?;
    let script =
        "ls -A $HOME; stat -c %a $HOME; echo x >$HOME/.bashrc && mkdir $HOME/.ssh && cat $HOME/.bashrc";
    sh(user, &["--cwd", "none"], script)?.exits(0)?.stdout_is("700\nx\n")?;
    sh(user, &[], script)?.exits(0)?.stdout_is("project\n700\nx\n")?;
    before.same_as(&Snapshot::of(user.home())?)?;
    edited_sh(user, "open-environment", "cat $HOME/.ssh/id 2>/dev/null; cat .env")?.stdout_is("s3cret\n")?;
    Ok(())
}

fn the_user_database_holds_two(user: &User) -> Verdict {
    let script = "cut -d: -f3 /etc/passwd; id -un; id -Gn; ls /etc/shadow /etc/gshadow /etc/sudoers /etc/fstab /etc/ssh 2>/dev/null
        wc -l </etc/group";
    let out = sh(user, &[], script)?;
    let text = out.text();
    let lines: Vec<_> = text.lines().collect();
    let uid = user.uid().to_string();
    out.check(lines.len() == 5 && lines[..2] == [uid.as_str(), "65534"] && lines[4] == "2", || {
        "two users".to_owned()
    })?;
    out.check(!user.is_root() || lines[2] == "root", || "root is called root".to_owned())?;
    Ok(())
}

fn the_host_is_not_named(user: &User) -> Verdict {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let out = sh(
        user,
        &[],
        "cat /etc/hostname /proc/sys/kernel/hostname; uname -n; cat /etc/machine-id /etc/hosts",
    )?;
    out.exits(0)?.stdout_has("sandbox\nsandbox\nsandbox\n")?;
    let mut names = vec![host];
    names.extend(fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()));
    for name in names.iter().filter(|name| name.len() > 3 && *name != "localhost" && *name != "sandbox") {
        out.stdout_lacks(name)?;
    }
    sh(user, &["--hostname", "else-where"], "uname -n; cat /etc/hostname")?
        .stdout_is("else-where\nelse-where\n")?;
    Ok(())
}
