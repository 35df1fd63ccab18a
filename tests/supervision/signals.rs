//! Signals sent to sbx arrive at the command, once; stops and continuations carry over.

use crate::common::{Case, Need, Output, Running, User, Verdict, case, output_within, process, wait_for};
use crate::driver;
use crate::stage::{bash, comm, descendant, state, text, wait_for_state, wait_for_text, wait_until_gone};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(each_arrives_once).needs(Need::Program("perl")),
        case!(of_the_group_each_arrives_once).needs(Need::Program("perl")),
        case!(the_second_term_kills).needs(Need::Program("perl")),
        case!(ten_seconds_after_the_first_term_it_is_killed).needs(Need::Program("perl")),
        case!(without_a_handler_each_kills),
        case!(a_stop_stops_both_and_continues_both),
        case!(a_command_that_stops_itself),
        case!(a_stopped_sandbox_can_be_ended),
        case!(term_before_the_command_runs),
        case!(what_the_caller_ignores_is_not_passed_on),
        case!(the_command_starts_with_no_signal_ignored_or_blocked),
    ]
}

/// Writes each signal that comes, with its count, into a file.
const COUNTER: &str = "open my $log, '>>', 'log'; select $log; $| = 1; my %n;
    for my $s (qw(INT TERM HUP QUIT USR1 USR2 WINCH CONT TSTP)) { $SIG{$s} = sub { $n{$s}++; print \"$s $n{$s}\\n\" } }
    print \"ready\\n\"; select undef, undef, undef, 60 while 1;";

/// A command that counts, once it is ready, and where it writes.
fn counter(user: &User) -> Result<(Running, PathBuf), Failed> {
    let log = user.project().join("log");
    let running = Running::start(user.sbx().args(["perl", "-e", COUNTER]))?;
    wait_for_text(&log, "ready\n")?;
    Ok((running, log))
}

const ALL_BUT_TERM: [(Signal, &str); 8] = [
    (Signal::SIGINT, "INT"),
    (Signal::SIGHUP, "HUP"),
    (Signal::SIGQUIT, "QUIT"),
    (Signal::SIGUSR1, "USR1"),
    (Signal::SIGUSR2, "USR2"),
    (Signal::SIGWINCH, "WINCH"),
    (Signal::SIGCONT, "CONT"),
    (Signal::SIGTSTP, "TSTP"),
];

/// Whatever would come twice has come by now.
const SETTLE: Duration = Duration::from_millis(300);

fn each_arrives_once(user: &User) -> Verdict {
    once_each(user, &|running, signal| running.signal(signal))
}

/// The command is in a group of its own: only sbx gets what the shell sends to the job.
fn of_the_group_each_arrives_once(user: &User) -> Verdict {
    once_each(user, &|running, signal| Ok(killpg(Pid::from_raw(running.pid()), signal)?))
}

type Send<'a> = &'a dyn Fn(&Running, Signal) -> Result<(), Failed>;

fn once_each(user: &User, send: Send<'_>) -> Verdict {
    let (running, log) = counter(user)?;
    let mut wanted = "ready\n".to_owned();
    for round in 1..=2 {
        for (signal, name) in ALL_BUT_TERM {
            send(&running, signal)?;
            wanted += &format!("{name} {round}\n");
            wait_for_text(&log, &wanted)
                .map_err(|_| format!("{signal} in round {round}: {:?}", text(&log)))?;
        }
    }
    sleep(SETTLE);
    send(&running, Signal::SIGTERM)?;
    wanted += "TERM 1\n";
    wait_for_text(&log, &wanted)?;
    sleep(SETTLE);
    if text(&log) != wanted {
        return Err(format!("more than once: {:?}", text(&log)).into());
    }
    if state(running.pid()) == Some('T') {
        return Err("sbx stopped though its command did not".into());
    }
    Ok(())
}

fn the_second_term_kills(user: &User) -> Verdict {
    let (running, log) = counter(user)?;
    running.signal(Signal::SIGTERM)?;
    wait_for_text(&log, "TERM 1\n")?;
    running.signal(Signal::SIGTERM)?;
    let out = running.finish()?;
    out.killed_by(Signal::SIGKILL)?.check(out.took.as_secs() < 9, || "at once".to_owned())?;
    out.check(!text(&log).contains("TERM 2"), || "the second one is not for the command".to_owned())?;
    Ok(())
}

fn ten_seconds_after_the_first_term_it_is_killed(user: &User) -> Verdict {
    let (running, log) = counter(user)?;
    running.signal(Signal::SIGTERM)?;
    wait_for_text(&log, "TERM 1\n")?;
    let out = running.finish()?;
    out.killed_by(Signal::SIGKILL)?.check(out.took.as_secs() >= 10, || "after the grace".to_owned())?;
    Ok(())
}

fn without_a_handler_each_kills(user: &User) -> Verdict {
    let deadly =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
    for signal in deadly {
        let running = Running::start(user.sbx().args(["sleep", "60"]))?;
        descendant(&running, "sleep")?;
        running.signal(signal)?;
        running.finish()?.killed_by(signal)?.stderr_is("")?;
    }
    Ok(())
}

fn a_stop_stops_both_and_continues_both(user: &User) -> Verdict {
    let running = Running::start(user.sbx().args(["sleep", "60"]))?;
    let command = descendant(&running, "sleep")?;
    for _ in 0..3 {
        running.signal(Signal::SIGTSTP)?;
        wait_for_state(command, "T")?;
        wait_for_state(running.pid(), "T")?;
        sleep(SETTLE / 3);
        running.signal(Signal::SIGCONT)?;
        wait_for_state(running.pid(), "SR")?;
        wait_for_state(command, "SR")?;
    }
    running.signal(Signal::SIGTERM)?;
    running.finish()?.killed_by(Signal::SIGTERM)?;
    Ok(())
}

/// Sbx stops as well, so that the shell sees the job stop, and both go on.
fn a_command_that_stops_itself(user: &User) -> Verdict {
    for signal in ["STOP", "TSTP"] {
        let script = format!("kill -{signal} $$; exit 6");
        let running = Running::start(user.sbx().args(["sh", "-c", &script]))?;
        wait_for_state(running.pid(), "T")?;
        running.signal(Signal::SIGCONT)?;
        running.finish()?.exits(6)?;
    }
    Ok(())
}

/// By TERM and CONT, as a shell does it, and by KILL.
fn a_stopped_sandbox_can_be_ended(user: &User) -> Verdict {
    let ways: [&[Signal]; 2] = [&[Signal::SIGTERM, Signal::SIGCONT], &[Signal::SIGKILL]];
    for way in ways {
        let running = Running::start(user.sbx().args(["sh", "-c", "(setsid sleep 60 &); sleep 60; :"]))?;
        // Both: a shell that waits in vfork for a child that was stopped before its execve can't stop.
        wait_for("two processes sleep", || {
            let names = process::descendants(running.pid()).into_iter().map(comm);
            (names.filter(|name| name == "sleep").count() == 2).then_some(())
        })?;
        running.signal(Signal::SIGTSTP)?;
        wait_for_state(running.pid(), "T")?;
        let tree = process::descendants(running.pid());
        for signal in way {
            running.signal(*signal)?;
        }
        running.finish()?.killed_by(way[0])?;
        wait_until_gone(&tree)?;
    }
    Ok(())
}

/// At random moments of the start: sbx ends by the signal and nothing survives.
fn term_before_the_command_runs(user: &User) -> Verdict {
    let limit = Duration::from_secs(150);
    let out: Output = output_within(limit, &mut driver::command(user, "early-signals", &["90"]))?;
    out.exits(0)?;
    Ok(())
}

/// As `nohup` has it.
fn what_the_caller_ignores_is_not_passed_on(user: &User) -> Verdict {
    let script = "trap '' HUP INT; exec \"$SBX\" sh -c 'echo ready >ready; sleep 2; exit 4'";
    let running = Running::start(&mut bash(user, script))?;
    wait_for_text(&user.project().join("ready"), "ready\n")?;
    running.signal(Signal::SIGHUP)?;
    running.signal(Signal::SIGINT)?;
    running.finish()?.exits(4)?;
    Ok(())
}

fn the_command_starts_with_no_signal_ignored_or_blocked(user: &User) -> Verdict {
    let script = "trap '' TERM CHLD USR1 PIPE; exec \"$SBX\" sed -En '/^Sig(Blk|Ign|Cgt|Pnd)|^ShdPnd/p' /proc/self/status";
    let none = "0000000000000000";
    let wanted: String = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"]
        .iter()
        .map(|name| format!("{name}:\t{none}\n"))
        .collect();
    crate::common::output(&mut bash(user, script))?.exits(0)?.stdout_is(&wanted)?;
    Ok(())
}
