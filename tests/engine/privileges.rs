//! What the payload and PID 1 may do: capabilities, set-id programs, limits, and what passes from the caller.

use crate::common::edited::Edit;
use crate::common::{Case, Need, Running, User, Verdict, case, output, process, wait_for};
use crate::probe::{append, edited_sh, sh};
use libtest_mimic::Failed;
use sbx::profile::Level;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

pub(crate) const EDITS: &[Edit] = &[
    ("capable", |plan| {
        plan.privileges.drop_capabilities = false;
        plan.seccomp = None;
    }),
    ("new-privileges", |plan| {
        plan.privileges.no_new_privs = false;
        // Installing the filter sets it, and so does Landlock.
        plan.seccomp = None;
        plan.landlock_scope.clear();
    }),
    ("unfiltered", |plan| plan.seccomp = None),
    ("callers-keyring", |plan| {
        plan.seccomp = None;
        plan.privileges.session_keyring = Level::Off;
    }),
    ("readable-init", |plan| plan.privileges.hide_init = false),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case!(no_capability_anywhere),
        case!(root_inside_has_no_capability),
        case!(without_the_drop_there_are_some),
        case!(programs_of_another_architecture_are_told).needs(Need::Program("gcc")),
        case!(the_callers_keyring_stays_outside),
        case!(securebits_are_locked),
        case!(pid_1_is_closed),
        case!(signals_are_reset),
        case!(umask_nice_and_affinity_pass),
        case!(limits_are_set_and_pass),
        case!(processes_are_limited).only_as_user(),
        case!(root_is_told_that_processes_are_not_limited).only_as_root(),
    ];
    if nix::unistd::geteuid().is_root() {
        // Nobody else can give a file away. CI runs the cases of the ordinary user from root as well.
        cases.push(case!(set_user_id_gives_nothing));
    }
    cases
}

/// The status of PID 1 and of the payload, seen from outside.
fn statuses(mut command: Command) -> Result<[process::Status; 2], Failed> {
    let running = Running::start(command.args(["sleep", "1000"]))?;
    let [init, payload] = wait_for("the payload", || {
        let found = process::descendants(running.pid());
        let [init, payload] = [*found.first()?, *found.get(1)?];
        (fs::read_to_string(format!("/proc/{payload}/comm")).ok()? == "sleep\n").then_some([init, payload])
    })?;
    Ok([process::Status::of(init)?, process::Status::of(payload)?])
}

fn no_capability_anywhere(user: &User) -> Verdict {
    for options in [
        &[][..],
        &["--set", "privileges.uid=root"],
        &["--net", "host"],
        &["--set", "namespaces.nested=browser"],
    ] {
        let mut command = user.sbx();
        command.args(options);
        for status in statuses(command)? {
            let own = [u64::from(user.uid()); 4];
            let fine = status.capabilities()? == [0; 5] && status.number("NoNewPrivs")? == 1;
            if !fine || status.numbers("Uid")? != own {
                return Err(format!("with {options:?}: {status:?}").into());
            }
        }
    }
    let [init, payload] = statuses(user.edited("new-privileges"))?;
    let both = [init.number("NoNewPrivs")?, payload.number("NoNewPrivs")?];
    if both == [0, 0] { Ok(()) } else { Err(format!("edited off: {both:?}").into()) }
}

const AS_ROOT: [&str; 2] = ["--set", "privileges.uid=root"];

fn root_inside_has_no_capability(user: &User) -> Verdict {
    let script = "id -u; id -g; grep ^Cap /proc/self/status; sh -c 'exec grep ^CapEff /proc/self/status'
        mount -t tmpfs t /tmp; chown 0:1 $HOME; hostname x; chroot / true; mknod /tmp/d c 1 3; echo end";
    let out = sh(user, &AS_ROOT, script)?;
    out.stdout_has("0\n0\n")?.stdout_has("end\n")?;
    let sets: Vec<_> =
        out.text().lines().filter_map(|line| line.strip_prefix("Cap").map(str::to_owned)).collect();
    let empty = sets.iter().all(|set| set.ends_with(":\t0000000000000000"));
    out.check(sets.len() == 6 && empty, || "six empty sets".to_owned())?;
    Ok(())
}

fn without_the_drop_there_are_some(user: &User) -> Verdict {
    let mut command = user.edited("capable");
    let out = output(command.args(AS_ROOT).args(["sh", "-c", "mount -t tmpfs t /tmp && echo got through"]))?;
    out.exits(0)?.stdout_is("got through\n")?;
    Ok(())
}

fn securebits_are_locked(user: &User) -> Verdict {
    let bits = "Securebits: noroot,noroot_locked,no_setuid_fixup,no_setuid_fixup_locked,keep_caps_locked,\
                no_cap_ambient_raise,no_cap_ambient_raise_locked";
    for options in [&[][..], &AS_ROOT] {
        let out = output(user.sbx().args(options).args(["setpriv", "--dump"]))?;
        // An older setpriv has no name for the last two.
        let text = out.exits(0)?.text().replace("0xc0", "no_cap_ambient_raise,no_cap_ambient_raise_locked");
        let mut found: Vec<_> = text
            .lines()
            .find(|line| line.starts_with("Securebits"))
            .unwrap_or_default()
            .split([' ', ','])
            .collect();
        let mut wanted: Vec<_> = bits.split([' ', ',']).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        out.check(found == wanted, || format!("{wanted:?}"))?;
    }
    Ok(())
}

fn set_user_id_gives_nothing(user: &User) -> Verdict {
    let (owner, program) = (if user.is_root() { 1 } else { 0 }, user.project().join("id"));
    output(Command::new("install").arg("/usr/bin/id").arg(&program))?.exits(0)?;
    chown(&program, Some(owner), Some(owner))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755))?;
    // Outside it works, unless the file system forbids it.
    output(user.command(&program).arg("-u"))?.exits(0)?.stdout_is(&format!("{owner}\n"))?;
    let wanted = format!("{0}\n{0}\n", user.uid());
    output(user.sbx().args(["sh", "-c", "./id -u; ./id -ru"]))?.exits(0)?.stdout_is(&wanted)?;
    let gid = format!("{0}\n{0}\n", user.gid());
    output(user.sbx().args(["sh", "-c", "./id -g; ./id -rg"]))?.exits(0)?.stdout_is(&gid)?;
    Ok(())
}

fn pid_1_is_closed(user: &User) -> Verdict {
    let script = "cd /proc/1; for f in exe cwd root; do readlink $f && echo read $f; done
        for f in mem environ maps auxv; do head -c 1 $f >/dev/null && echo read $f; done
        readlink fd/0 && echo read fd; readlink ns/mnt && echo read ns; (exec 7>mem) && echo write mem; tr -d '\\0' <cmdline; cat comm";
    for options in [&[][..], &AS_ROOT] {
        let out = output(user.sbx().args(options).args(["sh", "-c", script, "an-argument"]))?;
        out.stdout_is("sbx-init\n")?;
        out.check(out.errors().matches("ermission denied").count() >= 5, || "five refusals".to_owned())?;
    }
    let open = edited_sh(user, "readable-init", script)?;
    open.stdout_has("read exe\n")?
        .stdout_has("read environ\n")?
        .stdout_has("read fd\n")?
        .stdout_has("--edited")?;
    Ok(())
}

fn signals_are_reset(user: &User) -> Verdict {
    let mut command = user.command("sh");
    command.args([
        "-c",
        "trap '' CHLD INT PIPE HUP TERM USR1; exec \"$@\"",
        "sh",
        "env",
        "--block-signal=USR2",
    ]);
    command.args(["--block-signal=CHLD", "--block-signal=TERM"]);
    append(&mut command, user.sbx().args(["cat", "/proc/self/status"]));
    let status = process::Status::parse(&output(&mut command)?.exits(0)?.text());
    for key in ["SigIgn", "SigBlk", "SigCgt", "SigPnd"] {
        // The C library's own 32 and 33 are ignored in whatever posix_spawn(3) starts, this command too.
        let set = u64::from_str_radix(status.field(key)?, 16).unwrap_or(u64::MAX) & !(0b11 << 31);
        if set != 0 {
            return Err(format!("{key} {set:x}").into());
        }
    }
    Ok(())
}

fn umask_nice_and_affinity_pass(user: &User) -> Verdict {
    let script = "umask; nice; grep Cpus_allowed_list /proc/self/status; : >made; umask 027; mkdir /tmp/d; stat -c %a made /tmp /tmp/d";
    for (mask, mode) in [("0027", "640"), ("0077", "600"), ("0000", "666")] {
        let mut command = user.command("sh");
        command.args(["-c", &format!("umask {mask}; exec nice -n 5 taskset -c 0 \"$@\""), "sh"]);
        append(&mut command, user.sbx().args(["sh", "-c", script]));
        let wanted = format!("{mask}\n5\nCpus_allowed_list:\t0\n{mode}\n1777\n750\n");
        output(&mut command)?.exits(0)?.stdout_is(&wanted)?;
        fs::remove_file(user.project().join("made"))?;
    }
    Ok(())
}

fn limits_are_set_and_pass(user: &User) -> Verdict {
    let mut command = user.command("prlimit");
    command.args([
        "--fsize=1000000:2000000",
        "--stack=4000000",
        "--nofile=300:400",
        "--core=1000",
        "--memlock=65536",
        "--",
    ]);
    append(&mut command, user.sbx().args(["cat", "/proc/self/limits"]));
    let limits = process::parse_limits(&output(&mut command)?.exits(0)?.text());
    let is = |name: &str, soft, hard| -> Verdict {
        let found = limits.get(name).copied();
        if found == Some((Some(soft), Some(hard))) {
            Ok(())
        } else {
            Err(format!("{name}: {found:?}").into())
        }
    };
    is("Max core file size", 0, 0)?;
    is("Max processes", 4096, 4096)?;
    is("Max open files", 300, 400)?;
    is("Max file size", 1_000_000, 2_000_000)?;
    is("Max stack size", 4_000_000, 4_000_000)?;
    is("Max locked memory", 65536, 65536)?;
    sh(user, &["--set", "limits.open-files=77"], "ulimit -Sn; ulimit -Hn; ulimit -n 78")?
        .stdout_is("77\n77\n")?;
    Ok(())
}

/// Counted in the user namespace, so that what the user runs elsewhere doesn't matter.
fn processes_are_limited(user: &User) -> Verdict {
    let script = "i=0; while [ $i -lt 60 ]; do sleep 50 & i=$((i+1)); done; echo all";
    let out = sh(user, &["--pids", "20"], script)?;
    out.stdout_lacks("all")?.stderr_has("annot fork")?;
    sh(user, &["--pids", "100"], script)?.stdout_is("all\n")?;
    Ok(())
}

fn root_is_told_that_processes_are_not_limited(user: &User) -> Verdict {
    let out = sh(user, &["--pids", "20"], "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("cannot limit processes: ")?;
    Ok(())
}

/// The filter would kill it at its first system call, with no word about why.
fn programs_of_another_architecture_are_told(user: &User) -> Verdict {
    let source =
        user.put("home/project/a.s", ".globl _start\n_start: mov $1, %eax\nmov $7, %ebx\nint $0x80\n")?;
    let mut gcc = user.command("gcc");
    output(gcc.args(["-m32", "-nostdlib", "-static", "-o", "a32"]).arg(source))?.exits(0)?;
    output(user.sbx().arg("./a32"))?.exits(126)?.stderr_has("it is a program for 32-bit x86")?;
    // A script of its own can still start it; then the filter is what holds it.
    output(user.sbx().args(["sh", "-c", "./a32"]))?.exits(159)?;
    let out = output(user.edited("unfiltered").arg("./a32"))?;
    out.check(matches!(out.status.code(), Some(7 | 126)), || {
        "exits with 7, or the kernel has no 32-bit calls".to_owned()
    })?;
    Ok(())
}

/// Keyrings have no namespace. A session keyring of the caller's with a key in it, as a login makes one, and who finds the key:
/// the filter is one wall, the empty keyring the other.
fn the_callers_keyring_stays_outside(user: &User) -> Verdict {
    // KEYCTL_JOIN_SESSION_KEYRING, add_key(2) into it, then the program; KEYCTL_SEARCH of the session keyring.
    let with_key = "($t, $d, $s) = ('user', 'sbx-canary', 'secret'); syscall(250, 1, 0) > 0 or die 'join'; \
                    syscall(248, $t, $d, $s, 6, -3) > 0 or die 'add'; exec @ARGV";
    let search = "($t, $d) = ('user', 'sbx-canary'); print syscall(250, 10, -3, $t, $d, 0) > 0 ? 'found' : 'not found'";
    let found = |command: &mut Command| -> Result<String, Failed> {
        let mut caller = user.command("perl");
        caller.args(["-e", with_key, "--"]).arg(command.get_program()).args(command.get_args());
        Ok(output(caller.args(["perl", "-e", search]))?.exits(0)?.text())
    };
    let answers = [
        found(&mut user.sbx())?,
        found(&mut user.edited("unfiltered"))?,
        found(&mut user.edited("callers-keyring"))?,
    ];
    if answers == ["not found", "not found", "found"] { Ok(()) } else { Err(format!("{answers:?}").into()) }
}
