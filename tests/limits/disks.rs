//! Bytes a second of a disk: held where the controller is delegated, and else the way to get it.

use crate::common::{Case, Need, User, Verdict, case, output_within};
use crate::stage::{sh, systemctl};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(not_delegated).needs(Need::Delegation).only_as_user(),
        case!(held).needs(Need::Delegation).only_as_root(),
        case!(held_once_delegated).needs(Need::Delegation).needs(Need::Other(with_login)).only_as_root(),
    ]
}

/// Where there is an ordinary user with a systemd of their own.
fn with_login(_: &crate::common::Account) -> Option<String> {
    let (uid, _) = crate::common::Account::person();
    let there = fs::metadata(format!("/run/user/{uid}/systemd/private")).is_ok();
    (!there).then(|| "no user manager".to_owned())
}

const DD: &str = "dd if=/dev/zero of=written bs=256k count=16 oflag=direct 2>&1 | tail -n 1";

fn not_delegated(user: &User) -> Verdict {
    let limit = "limits.io=[{ path = \"${CWD}\", write = \"1M\", level = \"require\" }]";
    let out = sh(user, &["--set", limit], "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("cannot limit disks: the controller io is not there")?;
    out.stderr_has("/etc/systemd/system/user@.service.d/delegate.conf")?
        .stderr_has("systemctl daemon-reload")?;
    let preferred = "limits.io=[{ path = \"${CWD}\", write = \"1M\" }]";
    sh(user, &["--set", preferred], "echo ran")?
        .exits(0)?
        .stdout_is("ran\n")?
        .stderr_has("running without that limit")?;
    Ok(())
}

/// Four MiB at one MiB a second.
fn took_its_time(took: Duration) -> Verdict {
    if took < Duration::from_secs(3) { Err(format!("4 MiB were written in {took:?}").into()) } else { Ok(()) }
}

fn held(user: &User) -> Verdict {
    let limit =
        "limits.io=[{ path = \"${CWD}\", write = \"1M\", write-operations = 1000, level = \"require\" }]";
    let out = sh(user, &["--set", limit, "--report"], DD)?;
    out.exits(0)?.stderr_has("written        4")?;
    took_its_time(out.took)?;
    let free = sh(user, &["--cpus", "2"], DD)?;
    free.exits(0)?.check(free.took < out.took / 2, || "without the limit it is faster".to_owned())?;
    Ok(())
}

/// The remedy that sbx gives, done by root: then an ordinary user's disk is limited.
fn held_once_delegated(user: &User) -> Verdict {
    let dir = "/run/systemd/system/user@.service.d";
    fs::create_dir_all(dir)?;
    fs::write(format!("{dir}/delegate.conf"), "[Service]\nDelegate=cpu cpuset io memory pids\n")?;
    let held = as_person(user);
    fs::remove_file(format!("{dir}/delegate.conf"))?;
    systemctl(user, &["daemon-reload"])?.exits(0)?;
    held
}

fn as_person(user: &User) -> Verdict {
    let (uid, gid) = crate::common::Account::person();
    systemctl(user, &["daemon-reload"])?.exits(0)?;
    systemctl(user, &["restart", &format!("user@{uid}.service")])?.exits(0)?;
    let project = user.dir().join("theirs");
    fs::create_dir(&project)?;
    std::os::unix::fs::chown(&project, Some(uid), Some(gid))?;
    fs::set_permissions(user.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let run = |limit: &str, script: &str| -> Result<crate::common::Output, Failed> {
        let mut command = Command::new("systemd-run");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
        command.uid(uid).gid(gid).args(["--user", "--quiet", "--pipe", "--wait", "--collect"]);
        command.arg(format!("--working-directory={}", project.display())).arg(user.sbx_path());
        output_within(Duration::from_secs(60), command.args(["--set", limit, "sh", "-c", script]))
    };
    // systemd-run would put a variable's value in.
    let path = project.display();
    let limit = format!("limits.io=[{{ path = \"{path}\", write = \"1M\", level = \"require\" }}]");
    let out = run(&limit, DD)?;
    out.exits(0)?;
    took_its_time(out.took)?;
    // Processors by their numbers, too.
    let out = run(
        "limits.cpuset = { value = \"1\", level = \"require\" }",
        "grep Cpus_allowed_list /proc/self/status",
    )?;
    out.exits(0)?.stdout_is("Cpus_allowed_list:\t1\n")?;
    let out = run("limits.cpuset = { value = \"900\", level = \"require\" }", "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("cannot limit the choice of processors")?;
    Ok(())
}
