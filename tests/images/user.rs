//! With subordinate ids an image runs as its own user: who that is, what it owns, and that it is nobody more.

use crate::common::process::{Status, descendants};
use crate::common::{
    Case, Need, Output, Running, User, Verdict, case, first_id, output, output_within, wait_for,
};
use crate::owned::{DISTRO, owned};
use crate::stage::{busybox, import, layout, run};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;
use tar::EntryType;

pub(crate) fn cases() -> Vec<Case> {
    let mapped = |case: Case| case.only_as_user().needs(Need::SubordinateIds).needs(Need::Program("busybox"));
    vec![
        mapped(case!(is_who_the_image_says)),
        mapped(case!(every_spelling)),
        mapped(case!(has_what_is_made_for_it)),
        mapped(case!(is_nobody_more)),
        mapped(case!(what_it_leaves_is_its_own_outside)),
        mapped(case!(ends_with_sbx)),
        mapped(case!(is_reached_by_signals_and_programs)),
        mapped(case!(refused)),
        mapped(case!(has_its_terminal)).needs(Need::Program("python3")),
    ]
}

const GROUPS: &str = "root:x:0:\napp:x:1001:\nextra:x:77:other,app\nmore:x:5:app\nbad:x:y:app\n";
const USERS: &str =
    "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nodd name:x:8:8::/:/bin/sh\n";

/// An image `name` with files that root and others have for themselves, and this user.
fn stage(user: &User, name: &str, of: &str) -> Verdict {
    let first = owned(busybox()?.file("etc/group", GROUPS), "0", "0").file("etc/passwd", USERS);
    let first = owned(first, "0", "42").member(EntryType::Regular, b"shadow", b"", 0o640, b"secret");
    let first = owned(first, "0", "77").member(EntryType::Regular, b"of-a-group", b"", 0o640, b"shared");
    let first = owned(first, "1000", "1001").dir("srv/", 0o700).file("srv/own", "mine");
    let path = layout(user, &format!("{name}-layout"), vec![first.into()], &format!("\"User\": \"{of}\""))?;
    import(user, &path, &[name])?.exits(0)?;
    Ok(())
}

fn inside(user: &User, name: &str, text: &str) -> Result<Output, Failed> {
    run(user, name, &[&DISTRO[..], &["/bin/sh", "-c", text]].concat())
}

fn is_who_the_image_says(user: &User) -> Verdict {
    stage(user, "x", "app")?;
    let out = inside(user, "x", "id -u; id -g; id -G; echo $USER; cat /srv/own")?;
    out.exits(0)?.stderr_is("")?.stdout_is("1000\n1001\n1001 5 77\napp\nmine")?;
    // PID 1 is nobody else, and neither can do anything that the user couldn't.
    for who in ["self", "1"] {
        let out = inside(user, "x", &format!("cat /proc/{who}/status"))?;
        out.stdout_has("Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\n")?;
        out.stdout_has("Groups:\t5 77 \n")?.stdout_has("NoNewPrivs:\t1\nSeccomp:\t2\n").or_else(|other| {
            // The filter of calls is the program's.
            if who == "1" { out.stdout_has("NoNewPrivs:\t1\n") } else { Err(other) }
        })?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            out.stdout_has(&format!("{set}:\t0000000000000000\n"))?;
        }
    }
    // Outside it is the subordinate id.
    let explained = output(user.sbx().args(["explain", "--profile", "distro", "--root", "image:x", "true"]))?;
    explained.exits(0)?.stdout_has("the command has uid 1000 and gid 1001, and the groups 5 77")?;
    explained.stdout_has("none")?;
    Ok(())
}

fn every_spelling(user: &User) -> Verdict {
    for (of, wanted) in [
        ("1000", "1000 1001 1001 5 77 app"),
        ("app:extra", "1000 77 77 app"),
        ("app:0", "1000 0 0 app"),
        ("1000:5", "1000 5 5 app"),
        ("3", "3 0 0 user"),
        ("3:4", "3 4 4 user"),
        ("odd name", "8 8 8 user"),
        ("65536:65536", "65536 65536 65536 user"),
        ("", "0 0 0 root"),
        ("root:root", "0 0 0 root"),
    ] {
        stage(user, "x", of)?;
        let out = inside(user, "x", "echo $(id -u) $(id -g) $(id -G) $USER")?;
        out.exits(0)?.stdout_is(&format!("{wanted}\n"))?;
    }
    // Root in another group keeps what the profile gives to root.
    stage(user, "x", "0:77")?;
    let out = inside(user, "x", "id -u; id -g; cat /shadow; cat /proc/self/status")?;
    out.stdout_has("0\n77\nsecret")?.stdout_has("CapEff:\t00000000a00405fb\n")?;
    Ok(())
}

fn has_what_is_made_for_it(user: &User) -> Verdict {
    stage(user, "x", "app")?;
    let text = "cd; touch a && touch $XDG_RUNTIME_DIR/b /tmp/c /dev/shm/d && mkdir /scratch/e; echo $?; echo $XDG_RUNTIME_DIR
        stat -c '%u:%g %a' $HOME $XDG_RUNTIME_DIR /scratch /tmp /run; cat /etc/passwd";
    let words = ["--tmpfs", "/scratch", "--set", "filesystem.accounts=true", "/bin/sh", "-c", text];
    let out = run(user, "x", &[&DISTRO[..2], &words].concat())?;
    let home = user.home();
    out.exits(0)?.stderr_is("")?.stdout_is(&format!(
        "0\n/run/user/1000\n1000:1001 700\n1000:1001 700\n1000:1001 755\n0:0 1777\n0:0 755\n\
         root:x:0:0:root:/:/bin/sh\napp:x:1000:1001:app:{}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        home.display()
    ))?;
    Ok(())
}

/// What root of the image can do, which is the control, its user can't; and what is the host's stays the caller's.
fn is_nobody_more(user: &User) -> Verdict {
    let host = user.put(user.project().join("host-file"), "x")?;
    fs::set_permissions(&host, fs::Permissions::from_mode(0o600))?;
    let probes = [
        ("reads what is root's", "cat /shadow"),
        ("writes what is root's", "echo x >/etc/group"),
        ("makes files of another", "touch /tmp/f && /bin/busybox chown 7 /tmp/f"),
        ("has another root", "/bin/busybox chroot / /bin/id"),
        ("reads the caller's file", "cat host-file"),
        ("renames in the root", "/bin/busybox mv /etc/group /etc/groups"),
    ];
    stage(user, "root", "")?;
    stage(user, "app", "app")?;
    for (what, text) in probes {
        let text = format!("{text} && echo through");
        let words = ["--cwd", "ro", "/bin/sh", "-c", &text];
        let attempt = |image: &str| run(user, image, &[&DISTRO[..2], &words].concat());
        let through = |out: &Output| out.text().contains("through");
        let (control, held) = (attempt("root")?, attempt("app")?);
        if !through(&control) {
            return Err(control.failure(&format!("root of the image {what}")));
        }
        held.check(!through(&held), || format!("the image's user {what}"))?;
    }
    // Its groups count.
    inside(user, "app", "cat /of-a-group")?.exits(0)?.stdout_is("shared")?;
    Ok(())
}

fn what_it_leaves_is_its_own_outside(user: &User) -> Verdict {
    stage(user, "x", "app")?;
    let kept = ["--set", "filesystem.writable=layer:mine"];
    let run_kept = |text: &str| run(user, "x", &[&DISTRO[..2], &kept, &["/bin/sh", "-c", text]].concat());
    run_kept("echo x >/srv/new")?.exits(0)?.stderr_is("")?;
    let new = user.home().join(".local/state/sbx/layers/mine/upper/srv/new");
    let (uid, gid) = (first_id("/etc/subuid", user.uid()), first_id("/etc/subgid", user.uid()));
    let (uid, gid) = (uid.ok_or("no uids")? + 999, gid.ok_or("no gids")? + 1000);
    let found = fs::symlink_metadata(&new).map(|found| (found.uid(), found.gid()));
    // The directory above is the user's alone: seen from outside it is closed, which tells the same.
    let closed = found.as_ref().is_err_and(|error| error.raw_os_error() == Some(13));
    let above = fs::symlink_metadata(new.parent().ok_or("no parent")?)?;
    if !(closed || found.is_ok_and(|found| found == (uid, gid))) || (above.uid(), above.gid()) != (uid, gid) {
        return Err(format!("the directory is {}:{}'s, not {uid}:{gid}'s", above.uid(), above.gid()).into());
    }
    run_kept("cat /srv/new")?.exits(0)?.stdout_is("x\n")?;
    output(user.sbx().args(["discard", "mine"]))?.exits(0)?;
    Ok(())
}

/// What ties PID 1 to sbx is taken away by the kernel with the ids, and must be there again.
fn ends_with_sbx(user: &User) -> Verdict {
    stage(user, "x", "app")?;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut command = user.sbx();
        command.args(["--quiet", "--root", "image:x", "--profile", "distro", "--", "/bin/sleep", "1000"]);
        let running = Running::start(&mut command)?;
        let sleeps = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.ends_with(b"1000\0") && line.starts_with(b"/bin"))
        };
        let payload = wait_for("the payload", || descendants(running.pid()).into_iter().find(sleeps))?;
        let first = first_id("/etc/subuid", user.uid()).unwrap_or(0);
        let uid = Status::of(payload)?.number("Uid")?;
        if uid != u64::from(first + 999) {
            return Err(format!("the payload is {uid}'s, not the subordinate id's").into());
        }
        running.signal(signal)?;
        drop(running.finish()?);
        wait_for("the payload's end", || Status::of(payload).is_err().then_some(()))?;
    }
    Ok(())
}

fn is_reached_by_signals_and_programs(user: &User) -> Verdict {
    stage(user, "x", "app")?;
    let text = "trap 'echo got; exit 3' TERM; echo ready >/tmp/ready; while :; do sleep 0.1; done";
    let mut command = user.sbx();
    command.args(["--quiet", "--root", "image:x", "--profile", "distro", "--", "/bin/sh", "-c", text]);
    let running = Running::start(&mut command)?;
    let caught = |pid| u64::from_str_radix(Status::of(pid)?.field("SigCgt")?, 16).map_err(Failed::from);
    // PID 1 has no name of its own to go by: the payload is the one that catches the signal, and ignores nothing.
    let traps = |pid: &i32| caught(*pid).is_ok_and(|set| set & 1 << (Signal::SIGTERM as u32 - 1) != 0);
    wait_for("the trap", || descendants(running.pid()).into_iter().find(traps).map(drop))?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?.exits(3)?.stdout_is("got\n")?;
    let words = ["--root", "image:x", "--profile", "distro", "--timeout", "1s", "--", "/bin/sleep", "1000"];
    output_within(Duration::from_secs(30), user.sbx().arg("--quiet").args(words))?.exits(124)?;
    Ok(())
}

fn refused(user: &User) -> Verdict {
    for (of, why) in [
        ("65537", "no subordinate id is its uid 65537"),
        ("4294967295", "no subordinate id is its uid 4294967295"),
        ("app:65537", "no subordinate id is its gid 65537"),
        ("strangers", "its /etc/passwd has no such user"),
    ] {
        stage(user, "x", of)?;
        inside(user, "x", "id")?.exits(125)?.stdout_is("")?.stderr_has(why)?;
    }
    stage(user, "x", "app")?;
    for (set, why) in [
        ("home.mode=private", "a private home is the caller's"),
        ("display.x11=host", "the X11 display is the caller's"),
        ("audio.playback=true", "the sound server is the caller's"),
    ] {
        let out = run(user, "x", &[&DISTRO[..2], &["--set", set, "/bin/id"]].concat())?;
        out.exits(125)?.stdout_is("")?.stderr_has(why)?.stderr_has("hint: ")?;
    }
    Ok(())
}

/// A terminal of the sandbox's own is its user's: it can be opened by its name.
fn has_its_terminal(user: &User) -> Verdict {
    stage(user, "x", "app")?;
    let text = "exec 3<>$(/bin/busybox tty) && stat -c %u $(/bin/busybox tty) && echo opened >&3";
    let mut command = user.command("python3");
    command.arg("-c").arg("import os,pty,sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))");
    command.arg(user.sbx().get_program());
    command.args(["--quiet", "--root", "image:x", "--profile", "distro", "--", "/bin/sh", "-c", text]);
    output(&mut command)?.exits(0)?.stdout_has("1000")?.stdout_has("opened")?;
    Ok(())
}
