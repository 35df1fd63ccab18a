//! A cgroup without a service manager to ask: one that the profile names, and that of a container.

use crate::common::{Case, Need, User, Verdict, case, output, wait_for};
use crate::stage::{Box, no_keeper, rung, slice, systemctl, verb, wait_for_cgroup};
use std::fs;
use std::path::PathBuf;

pub(crate) fn cases() -> Vec<Case> {
    let with_keeper = [case!(one_that_is_named), case!(a_containers)];
    let cases = with_keeper.into_iter().map(|case| case.needs(Need::Other(no_keeper)));
    let cases = cases.chain([case!(one_out_of_reach)]);
    cases.map(|case| case.needs(Need::Delegation).only_as_user()).collect()
}

/// A unit with a cgroup that is delegated to this user, and a process in it.
fn lab(user: &User) -> Result<PathBuf, libtest_mimic::Failed> {
    systemctl(user, &["stop", "sbx-lab.service"])?;
    let mut command = user.command("systemd-run");
    command.env("XDG_RUNTIME_DIR", user.runtime_dir());
    command.args([
        "--user",
        "--quiet",
        "--unit=sbx-lab",
        "--property=Delegate=yes",
        "--property=MemoryMax=100M",
        "--property=TasksMax=60",
        "--collect",
        "sleep",
        "1000",
    ]);
    output(&mut command)?.exits(0)?;
    let dir = slice(user).join("sbx-lab.service");
    // Before that systemd moves it once more, which fails in a cgroup that is divided.
    wait_for("the unit's program", || {
        let pids = fs::read_to_string(dir.join("cgroup.procs")).ok()?;
        let name = fs::read_to_string(format!("/proc/{}/comm", pids.lines().next()?)).ok()?;
        (name == "sleep\n").then_some(())
    })?;
    wait_for_cgroup(&dir)?;
    Ok(dir)
}

fn one_that_is_named(user: &User) -> Verdict {
    let dir = lab(user)?;
    let set = format!("limits.cgroup-parent={}", dir.display());
    // Twice: the first divides it, the second finds it divided.
    for _ in 0..2 {
        let sandbox = Box::start(user, &["--memory", "64M", "--pids", "30", "--set", &set], "sleep 100")?;
        if sandbox.seen["rung"] != "directory" || !sandbox.cgroup()?.starts_with(&dir) {
            return Err(format!("{}", sandbox.seen).into());
        }
        sandbox.has(&[("memory.max", "67108864"), ("pids.max", "30")])?;
        sandbox.end(user)?;
    }
    let hog = "head -c 300M /dev/zero | tail -c 300M | cat >/dev/null";
    let out = output(user.sbx().args(["--memory", "32M", "--set", &set, "sh", "-c", hog]))?;
    out.exits(137)?.stderr_has("killed by the memory limit: 32 MiB")?;
    more_than_above(user, &set)?;
    systemctl(user, &["stop", "sbx-lab.service"])?;
    Ok(())
}

/// A limit above the parent's would say what is not so: one that somebody insists on is refused, at the start and later.
fn more_than_above(user: &User, set: &str) -> Verdict {
    let run =
        |options: &[&str]| output(user.sbx().args(options).args(["--set", set, "sh", "-c", "echo ran"]));
    for (option, most) in [(["--memory", "101M"], "100 MiB"), (["--pids", "61"], "60")] {
        let out = run(&option)?;
        out.exits(125)?.stdout_is("")?.stderr_has(&format!("above allows {most}"))?;
        out.stderr_has(&format!("hint: ask for at most {most}"))?;
    }
    run(&["--memory", "100M", "--pids", "60"])?.exits(0)?.stdout_is("ran\n")?;
    run(&["--set", "limits.memory=101M"])?.exits(0)?.stdout_is("ran\n")?;
    let sandbox = Box::start(user, &["--memory", "64M", "--set", set], "sleep 100")?;
    let out = verb(user, &["limit", &sandbox.name, "memory=101M"])?;
    out.exits(125)?.stderr_has("above allows 100 MiB")?;
    sandbox.has(&[("memory.max", "67108864")])?;
    verb(user, &["limit", &sandbox.name, "memory=100M"])?.exits(0)?;
    sandbox.has(&[("memory.max", "104857600")])?;
    sandbox.end(user)
}

/// From a login's scope nobody may start a process there; somebody else's is refused before that.
fn one_out_of_reach(user: &User) -> Verdict {
    let set = "limits.cgroup-parent=/sys/fs/cgroup/system.slice";
    let out = output(user.sbx().args(["--memory", "64M", "--set", set, "sh", "-c", "echo ran"]))?;
    out.exits(125)?
        .stdout_is("")?
        .stderr_has("is not this user's")?
        .stderr_has("hint: give this user a cgroup")?;
    for path in ["/tmp", "/nonexistent"] {
        let set = format!("limits.cgroup-parent={path}");
        output(user.sbx().args(["--memory", "64M", "--set", &set, "true"]))?.exits(125)?.stderr_has(path)?;
    }
    if rung(user) == "scope" {
        let dir = lab(user)?;
        let set = format!("limits.cgroup-parent={}", dir.display());
        let out = output(user.sbx().args(["--memory", "64M", "--set", &set, "sh", "-c", "echo ran"]))?;
        out.exits(125)?.stdout_is("")?.stderr_has("cannot start the sandbox in its cgroup")?;
        out.stderr_has("hint: start sbx from a process below the same delegated cgroup")?;
        systemctl(user, &["stop", "sbx-lab.service"])?;
    }
    Ok(())
}

/// The root of a cgroup namespace, with its own processes in it, and no systemd. Bound, because mount(2) takes no filesystem
/// where the same one is.
fn a_containers(user: &User) -> Verdict {
    let script = "mount -t tmpfs own-run /run; mkdir /run/own /run/user-dir; chmod 700 /run/user-dir
        mount -t cgroup2 own-cgroup /run/own; mount --bind /run/own /sys/fs/cgroup
        export XDG_RUNTIME_DIR=/run/user-dir
        \"$SBX\" --memory 64M --pids 30 --status-fd 3 sh -c 'cat /proc/self/cgroup' 3>&1
        \"$SBX\" --memory 32M sh -c 'head -c 300M /dev/zero | tail -c 300M | cat >/dev/null'; echo $?
        ls -d /sys/fs/cgroup/sandbox* /sys/fs/cgroup/sh* 2>/dev/null; cat /sys/fs/cgroup/cgroup.subtree_control";
    let mut command = user.command("systemd-run");
    command.env("XDG_RUNTIME_DIR", user.runtime_dir());
    command.args(["--user", "--quiet", "--pipe", "--wait", "--collect", "--property=Delegate=yes"]);
    command.arg(format!("--working-directory={}", user.project().display()));
    command.arg(format!("--setenv=SBX={}", user.sbx_path().display()));
    command.args(["unshare", "-UrmC", "sh", "-c", script]);
    let out = output(&mut command)?;
    out.exits(0)?.stdout_has("\"rung\":\"directory\"")?.stdout_has("0::/\n")?.stdout_has("\n137\n")?;
    out.stderr_has("killed by the memory limit: 32 MiB")?;
    let left = out.text().lines().any(|line| line.starts_with("/sys/fs/cgroup/"));
    out.check(!left, || "no cgroup should be left".to_owned())?;
    Ok(())
}
