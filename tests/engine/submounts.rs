//! What is mounted below a source, and mounts that come or go while the sandbox runs. Each run lies in a mount namespace of
//! the test's own.

use crate::common::edited::Edit;
use crate::common::{Case, User, Verdict, case, output, process};
use crate::probe::{add, outer, user_dir};
use sbx::plan::{Access, BindSource, MountOp};
use std::fs;

pub(crate) const EDITS: &[Edit] = &[("device-bind", |plan| {
    let source = BindSource::Path(user_dir().join("src"));
    let op = MountOp::Bind { source, access: Access::Writable, devices: true, optional: false, create: None };
    add(plan, "/e", op);
})];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(read_only_holds_below),
        case!(the_hosts_flags_survive),
        case!(device_nodes_below_do_not_work).only_as_root(),
        case!(nothing_of_the_sandbox_shows_outside),
        case!(later_mounts_of_the_host_do_not_show_inside),
    ]
}

/// A source with two levels of mounts below it.
const TREE: &str = "mount -t tmpfs one $DIR/src/sub; mkdir $DIR/src/sub/deep; echo 1 >$DIR/src/sub/file
    mount -t tmpfs two $DIR/src/sub/deep; echo 2 >$DIR/src/sub/deep/file; ";

const PROBE: &str = "cd /e; cat sub/file sub/deep/file
    for f in new sub/new sub/file sub/deep/new sub/deep/file; do (echo x >$f) 2>&1 && echo wrote; done; cat /proc/self/mountinfo >&2";

fn read_only_holds_below(user: &User) -> Verdict {
    user.mkdir("src/sub")?;
    let run = |access: &str| {
        let script = format!("{TREE} exec $SBX --{access} $DIR/src:/e sh -c '{PROBE}'");
        output(&mut outer(user, &[], &script))
    };
    let out = run("ro")?;
    out.exits(0)?.stdout_has("1\n2\n")?.stdout_lacks("wrote")?;
    out.check(out.text().matches("Read-only file system").count() == 5, || "five refusals".to_owned())?;
    let below = |out: &crate::common::Output, flags: &[&str]| -> Verdict {
        let mounts = process::Mount::parse(&out.errors())?;
        let targets: Vec<_> = mounts.iter().filter(|mount| mount.target.starts_with("/e")).collect();
        let fine = targets.len() == 3 && targets.iter().all(|mount| flags.iter().all(|flag| mount.has(flag)));
        out.check(fine, || format!("three mounts, all {flags:?}")).map(drop)
    };
    below(&out, &["ro", "nosuid", "nodev"])?;
    let out = run("rw")?;
    out.check(out.text().matches("wrote").count() == 5, || "five writes".to_owned())?;
    below(&out, &["rw", "nosuid", "nodev"])
}

/// What the host made read-only or noexec stays so, also when it is given writable.
fn the_hosts_flags_survive(user: &User) -> Verdict {
    user.mkdir("src/sub")?;
    user.mkdir("src/plain")?;
    let program = "printf '#!/bin/sh\\necho executed\\n' >$DIR/src/sub/x; cp $DIR/src/sub/x $DIR/src/plain/x
        chmod 755 $DIR/src/*/x; ";
    for (option, refusal) in [("noexec", "Permission denied"), ("ro", "Read-only file system")] {
        let script = format!(
            "mount -t tmpfs one $DIR/src/sub; {program} mount -o remount,bind,{option} $DIR/src/sub
             exec $SBX --rw $DIR/src:/e sh -c 'cd /e; plain/x; sub/x; echo new >sub/new && echo wrote'"
        );
        let out = output(&mut outer(user, &[], &script))?;
        let wanted = if option == "ro" { "executed\nexecuted\n" } else { "executed\nwrote\n" };
        out.stdout_is(wanted)?.stderr_has(refusal)?;
    }
    Ok(())
}

fn device_nodes_below_do_not_work(user: &User) -> Verdict {
    user.mkdir("src/sub")?;
    let make =
        "mount -t tmpfs one $DIR/src/sub; for d in src src/sub; do mknod -m 666 $DIR/$d/zero c 1 5; done; ";
    let probe = "sh -c 'head -c 2 /e/zero | wc -c; head -c 2 /e/sub/zero | wc -c'";
    let out = output(&mut outer(user, &[], &format!("{make} exec $SBX --rw $DIR/src:/e {probe}")))?;
    out.stdout_is("0\n0\n")?;
    out.check(out.errors().matches("Permission denied").count() == 2, || "two refusals".to_owned())?;
    fs::remove_file(user.dir().join("src/zero"))?;
    let script = format!("{make} cd $DIR/home/project; exec $EDITED --edited device-bind {probe}");
    output(&mut outer(user, &[], &script))?.stdout_is("2\n2\n")?;
    Ok(())
}

/// Makes the mounts of a namespace shared that was private: as `unshare --propagation shared` they would still be the
/// host's peers, and another case's mounts appear.
const SHARED: &str = "mount --make-rshared /; ";

/// While the sandbox runs, the namespace around it shows the same mounts as before.
fn nothing_of_the_sandbox_shows_outside(user: &User) -> Verdict {
    user.mkdir("ctl")?;
    let script = "cat /proc/self/mountinfo >$DIR/before
        $SBX --rw $DIR/ctl:/ctl --tmpfs /a/b sh -c ': >/ctl/ready; while [ ! -e /ctl/go ]; do sleep 0.01; done' &
        while [ ! -e $DIR/ctl/ready ]; do sleep 0.01; done
        cat /proc/self/mountinfo >$DIR/during; : >$DIR/ctl/go; wait $!; cat /proc/self/mountinfo >$DIR/after";
    output(&mut outer(user, &[], &format!("{SHARED}{script}")))?.exits(0)?;
    let read = |name: &str| fs::read_to_string(user.dir().join(name));
    let before = read("before")?;
    if before == read("during")? && before == read("after")? && before.contains("shared:") {
        Ok(())
    } else {
        Err(format!("the mounts outside changed:\n{before}\n{}\n{}", read("during")?, read("after")?).into())
    }
}

fn later_mounts_of_the_host_do_not_show_inside(user: &User) -> Verdict {
    for dir in ["ctl", "src/late"] {
        user.mkdir(dir)?;
    }
    // The same wait and look, in the sandbox and in a namespace that receives mounts.
    let wait = ": >$0/ready; while [ ! -e $0/go ]; do sleep 0.01; done; ls $1/late; grep -E \"shared:|master:\" /proc/self/mountinfo";
    let run = |what: &str, ctl: &str, src: &str| {
        let script = format!(
            "{SHARED}rm -f $DIR/ctl/*; {what} sh -c '{wait}; true' {ctl} {src} &
             while [ ! -e $DIR/ctl/ready ]; do sleep 0.01; done
             mount -t tmpfs late $DIR/src/late; : >$DIR/src/late/marker; : >$DIR/ctl/go; wait $!"
        );
        output(&mut outer(user, &[], &script))
    };
    run("$SBX --rw $DIR/ctl:/ctl --ro $DIR/src:/src", "/ctl", "/src")?.exits(0)?.stdout_is("")?;
    let control = run("unshare -m --propagation slave", "$DIR/ctl", "$DIR/src")?;
    control.exits(0)?.stdout_has("marker\n")?.stdout_has("master:")?;
    Ok(())
}
