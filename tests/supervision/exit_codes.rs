//! The exit status in every case: the command's own, a signal's, and 124 to 127 and 137.

use crate::common::{Case, Need, Output, Running, User, Verdict, case, output, process, wait_for};
use crate::stage::{bash, in_own_pid_namespace, sh, wait_until_gone};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(every_code_passes),
        case!(sbx_dies_of_the_commands_signal),
        case!(a_shell_sees_128_and_more),
        case!(as_pid_1_a_signal_is_128_and_more).needs(Need::Program("unshare")),
        case!(a_command_that_ends_on_time),
        case!(a_command_that_ignores_its_time),
        case!(a_time_that_is_not_up),
        case!(refusals),
        case!(not_executable),
        case!(not_found),
        case!(a_killed_pid_1),
    ]
}

/// Signals that kill whoever has no handler, real-time ones at both ends among them.
const DEADLY: [i32; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 31, 34, 64];

fn every_code_passes(user: &User) -> Verdict {
    for code in 0..=255 {
        sh(user, &[], &format!("exit {code}"))?.exits(code)?.stdout_is("")?.stderr_is("")?;
    }
    Ok(())
}

fn sbx_dies_of_the_commands_signal(user: &User) -> Verdict {
    for signal in DEADLY {
        let out = output(&mut bash(
            user,
            &format!("ulimit -c unlimited; exec $SBX sh -c 'kill -{signal} $$; sleep 9'"),
        ))?;
        out.check(out.status.signal() == Some(signal), || format!("should die of signal {signal}"))?;
        out.check(!out.status.core_dumped(), || "no core".to_owned())?.stderr_is("")?;
    }
    if let Some(core) = std::fs::read_dir(user.project())?.next() {
        return Err(format!("a core: {core:?}").into());
    }
    Ok(())
}

fn a_shell_sees_128_and_more(user: &User) -> Verdict {
    let script = "for n in 1 2 3 6 9 11 13 15 31 34 64; do $SBX sh -c \"kill -$n \\$\\$; sleep 9\"; echo $n $?; done 2>/dev/null";
    let wanted: String =
        [1, 2, 3, 6, 9, 11, 13, 15, 31, 34, 64].iter().map(|n| format!("{n} {}\n", 128 + n)).collect();
    output(&mut bash(user, script))?.exits(0)?.stdout_is(&wanted)?;
    Ok(())
}

/// No signal without a handler kills PID 1 of a namespace, so the code has to say it.
fn as_pid_1_a_signal_is_128_and_more(user: &User) -> Verdict {
    for signal in [2, 9, 15, 34] {
        let mut command = in_own_pid_namespace(user);
        command.arg(user.sbx_path());
        output(command.args(["sh", "-c", &format!("kill -{signal} $$; sleep 9")]))?.exits(128 + signal)?;
    }
    Ok(())
}

fn a_command_that_ends_on_time(user: &User) -> Verdict {
    let out = output(user.sbx().args(["--timeout", "1s", "sleep", "60"]))?;
    out.exits(124)?.stdout_is("")?.stderr_has("its time of 1s was up")?;
    // Its own last words are heard, its own code isn't.
    let script = "trap 'echo bye; exit 3' TERM; sleep 60 & wait";
    sh(user, &["--timeout", "1s"], script)?.exits(124)?.stdout_is("bye\n")?;
    Ok(())
}

/// Killed after ten seconds of grace, with all that it started.
fn a_command_that_ignores_its_time(user: &User) -> Verdict {
    let out = sh(user, &["--timeout", "1s"], "trap '' TERM; (setsid sleep 60 &); sleep 60; sleep 60")?;
    out.exits(124)?.check(out.took.as_secs() >= 10, || "ten seconds of grace".to_owned())?;
    Ok(())
}

fn a_time_that_is_not_up(user: &User) -> Verdict {
    sh(user, &["--timeout", "50s"], "exit 5")?.exits(5)?.stderr_is("")?;
    Ok(())
}

/// One line that says what can't be done, no output of the command's, 125.
fn refused(output: &Output) -> Result<(), Failed> {
    output.exits(125)?.stdout_is("")?.stderr_has("sbx: error: ")?.stderr_lacks("bug of its own")?;
    Ok(())
}

fn refusals(user: &User) -> Verdict {
    let broken = user.put("broken.toml", "schema = 1\n[filesystem\n")?;
    let broken = broken.to_string_lossy().into_owned();
    let runs: [&[&str]; 12] = [
        &["--nonsense", "echo", "ran"],
        &["--memory"],
        &["--timeout", "soon", "echo", "ran"],
        &["--profile", "no-such-profile", "echo", "ran"],
        &["--profile", &broken, "echo", "ran"],
        &["--set", "no.such=key", "echo", "ran"],
        &["--ro", "/nonexistent/source", "echo", "ran"],
        &["--rw", "/nonexistent/source:/mnt", "echo", "ran"],
        &["--chdir", "/nonexistent", "echo", "ran"],
        &["--status-fd", "77", "echo", "ran"],
        &["--status-fd", "x", "echo", "ran"],
        &["--keep-fd", "77", "echo", "ran"],
    ];
    for arguments in runs {
        refused(&output(user.sbx().args(arguments))?)?;
    }
    output(&mut user.sbx())?.exits(125)?.stdout_is("")?.stderr_has("Usage")?;
    Ok(())
}

fn not_executable(user: &User) -> Verdict {
    let file = user.put("home/project/plain", "text\n")?;
    // As a shell has it.
    let script = user.put_program("home/project/script", "#!/no/such/interpreter\n")?;
    output(user.sbx().arg(script))?.exits(126)?.stderr_has("/no/such/interpreter")?;
    let garbage = user.put_program("home/project/garbage", [0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0])?;
    for path in [file.as_path(), garbage.as_path(), user.project().as_path(), "/etc/passwd".as_ref()] {
        output(user.sbx().arg(path))?.exits(126)?.stdout_is("")?.stderr_has("sbx: error: cannot ")?;
    }
    Ok(())
}

fn not_found(user: &User) -> Verdict {
    for name in ["no-such-program", "/usr/bin/no-such-program", "./no-such-program"] {
        output(user.sbx().arg(name))?.exits(127)?.stdout_is("")?.stderr_has("sbx: error: cannot ")?;
    }
    // It exists, but only outside.
    let outside = user.put_program("tools/only-outside", "#!/bin/sh\necho ran\n")?;
    output(user.sbx().arg(&outside))?.exits(127)?.stderr_has("not visible")?.stderr_has("hint: add --ro ")?;
    let tools = user.dir().join("tools").to_string_lossy().into_owned();
    output(user.sbx().args(["--ro", &tools]).arg(&outside))?.exits(0)?.stdout_is("ran\n")?;
    Ok(())
}

fn a_killed_pid_1(user: &User) -> Verdict {
    let running = Running::start(sleeping(&mut user.sbx()))?;
    let tree = wait_for("the command", || {
        let tree = process::descendants(running.pid());
        tree.iter().any(|pid| crate::stage::comm(*pid) == "sleep").then_some(tree)
    })?;
    let init = tree.iter().find(|pid| crate::stage::comm(**pid) == "sbx-init").ok_or("no PID 1")?;
    kill(Pid::from_raw(*init), Signal::SIGKILL)?;
    running.finish()?.exits(137)?.stderr_has("sbx: error: ")?.stderr_has("PID 1 was killed from outside")?;
    wait_until_gone(&tree)
}

fn sleeping(sbx: &mut Command) -> &mut Command {
    sbx.args(["sleep", "60"])
}
