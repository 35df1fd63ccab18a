//! Machines without cgroups for this user: what is required is refused with the way out, what is preferred becomes a resource
//! limit and one line.

use crate::common::{Case, Output, User, Verdict, case, output};
use crate::stage::sh;
use libtest_mimic::Failed;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(hierarchies),
        case!(a_resource_limit_instead),
        case!(each_limit_by_its_level),
        case!(priorities),
    ]
}

/// `sbx` where `/sys/fs/cgroup` holds these files instead.
fn with_hierarchy(user: &User, files: &str, arguments: &[&str]) -> Result<Output, Failed> {
    let mut command = user.command("unshare");
    command.arg(if user.is_root() { "-m" } else { "-Urm" }).env("SBX", user.sbx_path());
    let script =
        format!("mount -t tmpfs none /sys/fs/cgroup; top=/sys/fs/cgroup; {files}; exec \"$SBX\" \"$@\"");
    command.args(["sh", "-euc", &script, "sh"]).args(arguments);
    output(&mut command)
}

const HIERARCHIES: [(&str, &str, &str); 3] = [
    ("true", "no cgroups are mounted on /sys/fs/cgroup", "mount cgroup2 there"),
    ("mkdir $top/memory", "the machine uses version 1 of cgroups", "systemd.unified_cgroup_hierarchy=1"),
    (
        "mkdir -p $top/memory $top/unified; touch $top/unified/cgroup.procs",
        "with an almost empty version 2 beside it",
        "rc_cgroup_mode",
    ),
];

fn hierarchies(user: &User) -> Verdict {
    for (files, why, remedy) in HIERARCHIES {
        for limit in [["--memory", "64M"], ["--cpus", "1"], ["--set", "limits.cgroup=require"]] {
            let mut arguments = limit.to_vec();
            arguments.extend(["sh", "-c", "echo ran"]);
            let out = with_hierarchy(user, files, &arguments)?;
            out.exits(125)?.stdout_is("")?.stderr_has(why)?.stderr_has(remedy)?;
            out.check(out.errors().lines().count() == 2, || "a cause and a remedy".to_owned())?;
        }
        let preferred = ["--set", "limits.memory=64M", "--set", "limits.cpus=1", "sh", "-c", "ulimit -d"];
        let out = with_hierarchy(user, files, &preferred)?;
        out.exits(0)?
            .stdout_is("65536\n")?
            .stderr_has("cannot limit memory and processors: ")?
            .stderr_has(why)?;
        out.stderr_has("each process alone is held to 64 MiB of data (RLIMIT_DATA)")?;
        out.check(out.errors().lines().count() == 1, || "one line".to_owned())?;
        let quiet = with_hierarchy(user, files, &["--set", "limits.cgroup=available", "true"])?;
        quiet.exits(0)?.stderr_is("")?;
        let explained = with_hierarchy(user, files, &["explain", "--set", "limits.memory=64M", "true"])?;
        explained
            .exits(0)?
            .stdout_has("cgroup      none of its own")?
            .stdout_has("64 MiB for each process")?;
    }
    Ok(())
}

/// It is held.
fn a_resource_limit_instead(user: &User) -> Verdict {
    let hog = "head -c 300M /dev/zero | tail -c 300M | wc -c";
    let limited = ["--set", "limits.memory=32M", "sh", "-c", hog];
    let out = with_hierarchy(user, "true", &limited)?;
    out.stdout_lacks("314572800")?;
    let free = with_hierarchy(user, "true", &["sh", "-c", hog])?;
    free.exits(0)?.stdout_is("314572800\n")?;
    Ok(())
}

fn each_limit_by_its_level(user: &User) -> Verdict {
    for (set, code, lines) in [
        ("limits={ memory = '64M', level = 'require' }", 125, 2),
        ("limits={ memory = { value = '64M', level = 'require' } }", 125, 2),
        ("limits={ memory = { value = '64M', level = 'prefer' }, level = 'require' }", 0, 1),
        ("limits={ memory = { value = '64M', level = 'available' }, level = 'require' }", 0, 0),
        ("limits={ memory = { value = '64M', level = 'off' }, level = 'require' }", 0, 0),
        ("limits={ memory = '64M', cpus = { value = 1, level = 'require' } }", 125, 2),
    ] {
        let out = with_hierarchy(user, "true", &["--set", set, "true"])?;
        out.exits(code)?;
        out.check(out.errors().lines().count() == lines, || format!("{set}: {lines} lines"))?;
    }
    let strict = ["--strict", "--set", "limits.memory=64M", "true"];
    with_hierarchy(user, "true", &strict)?.exits(125)?.stderr_has("cannot limit memory")?;
    Ok(())
}

/// Nice values and I/O priorities need no cgroup.
fn priorities(user: &User) -> Verdict {
    sh(user, &["--set", "limits.nice=7"], "nice")?.exits(0)?.stdout_is("7\n")?;
    sh(user, &["--set", "limits.io-priority=idle"], "ionice")?.exits(0)?.stdout_is("idle\n")?;
    sh(user, &["--set", "limits.io-priority=best-effort:6"], "ionice")?.stdout_is("best-effort: prio 6\n")?;
    // A caller that steps back more goes on to.
    let mut nicer = user.command("nice");
    nicer.args(["-n", "12"]).arg(user.sbx_path()).args(["--set", "limits.nice=7", "nice"]);
    output(&mut nicer)?.exits(0)?.stdout_is("12\n")?;
    let out = sh(user, &["--set", "limits.nice=-3"], "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("takes privileges")?;
    Ok(())
}
