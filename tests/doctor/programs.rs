//! Programs that sandboxes can use: absent, old, silent, slow.

use crate::common::{Case, User, Verdict, case, output};
use crate::report::{Expected, compare, finds, parse, plain};
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(pasta),
        case!(dbus_proxy),
        case!(a_proxy_that_hangs),
        case!(a_proxy_where_everybody_writes),
        case!(runtime_directory),
    ]
}

fn pasta(user: &User) -> Verdict {
    user.put_program("with/pasta", "#!/bin/sh\n")?;
    let (with, without) = (user.dir().join("with"), user.mkdir("without")?);
    let run = |path: &std::path::Path| -> Result<_, libtest_mimic::Failed> {
        parse(&output(user.sbx().env("PATH", path).args(["doctor", "--format", "json"]))?)
    };
    let (with, without) = (run(&with)?, run(&without)?);
    let expected = ("pasta", "info", "it is not in PATH", "install the package passt");
    compare(&with, &without, &[expected], &[])?;
    compare(&without, &with, &[("pasta", "ok", "", "")], &[])?;
    Ok(())
}

/// The start of a command with this program first in PATH.
fn with_proxy(user: &User, script: &str) -> Result<String, libtest_mimic::Failed> {
    user.put_program("own/xdg-dbus-proxy", format!("#!/bin/sh\n{script}\n"))?;
    Ok(format!("PATH={}:$PATH exec", user.dir().join("own").display()))
}

fn dbus_proxy(user: &User) -> Verdict {
    let old = "lets a program listen in on the bus";
    let newer = "install xdg-dbus-proxy 0.1.7 or later";
    for (script, status, cause, remedy) in [
        ("echo xdg-dbus-proxy 0.1.6", "degraded", old, newer),
        ("echo 0.0.99", "degraded", old, newer),
        ("echo xdg-dbus-proxy 0.1.7", "ok", "", ""),
        ("echo 0.2", "ok", "", ""),
        ("echo what; exit 3", "degraded", "does not tell its version", newer),
        ("kill -9 $$", "degraded", "does not tell its version", newer),
        ("env >&2; [ $# = 1 ] && [ -z \"$HOME\" ] && echo 0.1.8", "ok", "", ""),
    ] {
        let expected: Expected<'_> = ("dbus-proxy", status, cause, remedy);
        finds(user, plain, &with_proxy(user, script)?, &[expected], &[])?;
    }
    Ok(())
}

fn a_proxy_that_hangs(user: &User) -> Verdict {
    let start = with_proxy(user, "exec /bin/sleep 60")?;
    let output = output(&mut plain(user, &format!("{start} $SBX doctor --format json")))?;
    output.exits(0)?;
    let told = parse(&output)?["dbus-proxy"].clone();
    output.check(told.status == "degraded", || format!("{told:?}"))?;
    output.check(output.took < Duration::from_secs(20), || "it should be given up".to_owned())?;
    Ok(())
}

/// A program that anybody may have put there is not run.
fn a_proxy_where_everybody_writes(user: &User) -> Verdict {
    use std::os::unix::fs::PermissionsExt as _;
    let start = with_proxy(user, "echo 0.1.9; touch ../it-ran")?;
    std::fs::set_permissions(user.dir().join("own"), std::fs::Permissions::from_mode(0o777))?;
    finds(user, plain, &start, &[], &[])?;
    match user.home().join("it-ran").exists() {
        true => Err("it was run".into()),
        false => Ok(()),
    }
}

fn runtime_directory(user: &User) -> Verdict {
    let dir = user.mkdir("run")?;
    let fault = format!("XDG_RUNTIME_DIR={} exec", dir.display());
    finds(user, plain, &fault, &[("runtime-directory", "ok", "", "")], &[])?;
    for odd in ["run", "/nonexistent", "/etc/passwd"] {
        let expected = ("runtime-directory", "info", "it is not set to a directory", "pam_systemd");
        finds(user, plain, &format!("XDG_RUNTIME_DIR={odd} exec"), &[expected], &[])?;
    }
    Ok(())
}
