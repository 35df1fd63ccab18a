//! The keeper ends, is killed or starts anew: the sandboxes that run keep running, with their limits.

use crate::common::{Case, Need, User, Verdict, case, output, wait_for};
use crate::stage::{Box, keeper, no_keeper, systemctl, verb};
use std::fs;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let with_keeper =
        [case!(a_restart), case!(a_stop), case!(a_kill), case!(no_call_for_the_second).only_as_user()];
    let cases = with_keeper.into_iter().map(|case| case.needs(Need::Other(no_keeper)));
    cases.chain([case!(a_scope_by_its_name)]).map(|case| case.needs(Need::Delegation)).collect()
}

/// The sandbox lives and is still held to its limits, and a further one can be started.
fn lives_through(user: &User, event: &dyn Fn() -> Verdict) -> Verdict {
    let mut sandbox = Box::start(user, &["--memory", "64M", "--cpus", "0.5"], "while :; do :; done")?;
    event()?;
    sandbox.has(&[("memory.max", "67108864"), ("memory.oom.group", "1"), ("cpu.max", "50000 100000")])?;
    let processors = sandbox.processors(Duration::from_secs(3))?;
    if !(0.4..=0.6).contains(&processors) {
        return Err(format!("{processors} processors").into());
    }
    output(user.sbx().args(["--memory", "64M", "true"]))?.exits(0)?.stderr_is("")?;
    sandbox.seen = sandbox.look(user)?;
    sandbox.end(user)?;
    output(user.sbx().args(["--memory", "64M", "true"]))?.exits(0)?.stderr_is("")?;
    Ok(())
}

fn a_restart(user: &User) -> Verdict {
    lives_through(user, &|| {
        // Before systemd 254 it can't start in a cgroup that is divided: then it fails, and nobody needs it.
        systemctl(user, &["restart", "sbx-keeper.service"]).map(drop)?;
        systemctl(user, &["daemon-reload"]).map(drop)
    })
}

fn a_stop(user: &User) -> Verdict {
    lives_through(user, &|| {
        systemctl(user, &["stop", "sbx-keeper.service"])?.exits(0)?;
        Ok(())
    })
}

fn a_kill(user: &User) -> Verdict {
    lives_through(user, &|| {
        systemctl(user, &["kill", "--signal=KILL", "--kill-whom=main", "sbx-keeper.service"])?;
        let procs = keeper(user).join("keeper/cgroup.procs");
        wait_for("the keeper's end", || {
            fs::read_to_string(&procs).unwrap_or_default().is_empty().then_some(())
        })
    })
}

/// Where the keeper is ready nobody is asked: the bus may be gone.
fn no_call_for_the_second(user: &User) -> Verdict {
    output(user.sbx().args(["--memory", "64M", "true"]))?.exits(0)?;
    // A runtime directory without a bus, but with what tells of a manager.
    let dir = user.mkdir("run/systemd")?;
    let manager = std::os::unix::net::UnixListener::bind(dir.join("private"))?;
    let run = user.dir().join("run");
    fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let out = output(user.sbx().env("XDG_RUNTIME_DIR", &run).args(["--memory", "64M", "true"]))?;
    drop(manager);
    out.exits(0)?.stderr_is("")?;
    Ok(())
}

/// A profile with an application's id has a scope called after it, in any session.
fn a_scope_by_its_name(user: &User) -> Verdict {
    let sandbox =
        Box::start(user, &["--set", "app-id=org.example.Some-Build", "--memory", "64M"], "sleep 100")?;
    let cgroup = sandbox.cgroup()?;
    let scope =
        cgroup.parent().and_then(|path| path.file_name()).unwrap_or_default().to_string_lossy().into_owned();
    if !scope.starts_with("app-sbx-org.example.Some\\x2dBuild-") || !scope.ends_with(".scope") {
        return Err(format!("its scope is {scope}").into());
    }
    let listed = systemctl(user, &["show", "--property=ActiveState,Delegate", &scope])?;
    listed.stdout_has("ActiveState=active")?.stdout_has("Delegate=yes")?;
    sandbox.has(&[("memory.max", "67108864")])?;
    verb(user, &["exec", &sandbox.name, "cat", "/proc/self/cgroup"])?.stdout_is("0::/\n")?;
    sandbox.end(user)
}
