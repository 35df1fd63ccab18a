//! A payload that may make cgroups itself: below its limits, never above them.

use crate::common::{Case, Need, User, Verdict, case};
use crate::stage::{Box, no_group_is_left, sh, verb};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(cgroups_inside),
        case!(limits_are_out_of_reach),
        case!(so_many_and_no_more),
        case!(nothing_without_the_key),
        case!(ends_with_cgroups_inside),
    ];
    cases.into_iter().map(|case| case.needs(Need::Delegation)).collect()
}

const DELEGATE: [&str; 4] = ["--set", "limits.delegate=true", "--memory", "64M"];

/// What a service manager in a sandbox does first.
const DIVIDE: &str = "cd /sys/fs/cgroup && mkdir inner && for p in $(cat cgroup.procs); do echo $p >inner/cgroup.procs || :; done 2>/dev/null
    echo '+memory +pids' >cgroup.subtree_control && mkdir own && echo 16M >own/memory.max && cat own/memory.max";

fn cgroups_inside(user: &User) -> Verdict {
    sh(user, &DELEGATE, DIVIDE)?.exits(0)?.stdout_is("16777216\n")?.stderr_is("")?;
    no_group_is_left(user)
}

fn limits_are_out_of_reach(user: &User) -> Verdict {
    let raise =
        "echo max >/sys/fs/cgroup/memory.max; head -c 300M /dev/zero | tail -c 300M >/dev/null; echo lived";
    sh(user, &DELEGATE, raise)?
        .exits(137)?
        .stdout_lacks("lived")?
        .stderr_has("killed by the memory limit: 64 MiB")?;
    let above = sh(user, &DELEGATE, "ls -d /sys/fs/cgroup/../cgroup.procs; cat /proc/self/cgroup")?;
    above.stdout_is("0::/\n")?;
    Ok(())
}

fn so_many_and_no_more(user: &User) -> Verdict {
    let make = "cd /sys/fs/cgroup; i=0; while mkdir c$i 2>/dev/null; do i=$((i+1)); [ $i -lt 5000 ] || break; done; echo $i";
    let options = [&DELEGATE[..], &["--set", "limits.cgroups=5"]].concat();
    sh(user, &options, make)?.exits(0)?.stdout_is("5\n")?;
    sh(user, &DELEGATE, make)?.exits(0)?.stdout_is("1024\n")?;
    let deep = "cd /sys/fs/cgroup; i=0; while mkdir d 2>/dev/null; do cd d; i=$((i+1)); done; echo $i";
    let options = [&DELEGATE[..], &["--set", "limits.cgroup-depth=3"]].concat();
    sh(user, &options, deep)?.exits(0)?.stdout_is("3\n")?;
    no_group_is_left(user)
}

fn nothing_without_the_key(user: &User) -> Verdict {
    sh(user, &["--memory", "64M"], "ls /sys; grep ' - cgroup2* ' /proc/self/mountinfo")?
        .exits(1)?
        .stdout_is("")?;
    Ok(())
}

/// Processes in cgroups of its own go with it, and `exec` finds its way in.
fn ends_with_cgroups_inside(user: &User) -> Verdict {
    let busy = format!("{DIVIDE}; sh -c 'echo $$ >own/cgroup.procs; exec sleep 325' & sleep 325");
    let sandbox = Box::start(user, &DELEGATE, &busy)?;
    verb(user, &["pause", &sandbox.name])?.exits(0)?;
    verb(user, &["resume", &sandbox.name])?.exits(0)?;
    sandbox.end(user)?;
    no_group_is_left(user)
}
