//! Whoever is killed, and whenever: the sandbox ends, and its placeholders go.

use crate::common::{Case, Snapshot, User, Verdict, case, process};
use crate::stage::{PLACED, Stay, gone, janitors, placed, repository, sh};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::process::Stdio;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(sbx_at_any_moment),
        case!(sbx_while_the_command_runs),
        case!(its_process_group),
        case!(pid_1),
        case!(the_janitor),
        case!(both_of_two),
    ]
}

fn send(signal: Signal, pid: i32) -> Verdict {
    kill(Pid::from_raw(pid), signal).map_err(|errno| format!("cannot signal {pid}: {errno}").into())
}

/// What the one that stays should be killed by, and the tree afterwards.
fn killed_by(user: &User, act: &dyn Fn(&Stay) -> Verdict) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    placed(user.project(), &PLACED)?;
    act(&stay)?;
    stay.finish()?;
    gone(user)?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn sbx_at_any_moment(user: &User) -> Verdict {
    const ROUNDS: u64 = 150;
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let script = "while :; do for m in .vscode .git/hooks .envrc .cargo; do mkdir -p $m; echo evil >$m/x; echo evil >$m
        done; echo evil >.git/commondir; echo evil >.git/config; done";
    for round in 0..ROUNDS {
        let mut command = user.sbx();
        command.args(["sh", "-c", script]).arg(user.project()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        // Spread over 30 ms, more than a start takes, each moment once.
        std::thread::sleep(Duration::from_micros(round * 37 % ROUNDS * 200));
        child.kill()?;
        child.wait()?;
        gone(user)?;
        before.same_as(&Snapshot::of(user.project())?)?;
    }
    Ok(())
}

fn sbx_while_the_command_runs(user: &User) -> Verdict {
    killed_by(user, &|stay| send(Signal::SIGKILL, stay.pid()))
}

fn its_process_group(user: &User) -> Verdict {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let _ = std::fs::remove_dir_all(user.dir().join("control"));
        killed_by(user, &|stay| Ok(killpg(Pid::from_raw(stay.pid()), signal)?))?;
    }
    Ok(())
}

fn pid_1(user: &User) -> Verdict {
    killed_by(user, &|stay| {
        let janitors = janitors(user);
        let init = process::descendants(stay.pid()).into_iter().find(|pid| !janitors.contains(pid));
        send(Signal::SIGKILL, init.ok_or("no PID 1")?)
    })
}

/// Nobody is left to take its placeholders away. The next run does.
fn the_janitor(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let stay = Stay::start(user, "one")?;
    let [janitor] = janitors(user)[..] else { return Err("there should be one janitor".into()) };
    // Nothing else gets through to it.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1] {
        send(signal, janitor)?;
    }
    if janitors(user) != [janitor] {
        return Err("a signal ended the janitor".into());
    }
    send(Signal::SIGKILL, janitor)?;
    sh(user, &[], "true").and_then(|out| out.exits(0).map(drop))?;
    placed(user.project(), &[])?;
    stay.end()?.exits(0)?;
    gone(user)?;
    before.same_as(&Snapshot::of(user.project())?)?;
    left_by_the_janitor(user, &before)
}

fn left_by_the_janitor(user: &User, before: &Snapshot) -> Result<(), Failed> {
    let stay = Stay::start(user, "two")?;
    let [janitor] = janitors(user)[..] else { return Err("there should be one janitor".into()) };
    send(Signal::SIGKILL, janitor)?;
    stay.end()?.exits(0)?;
    gone(user)?;
    placed(user.project(), &PLACED)?;
    // What is left behind protects like any other.
    let script = "echo evil >.vscode/x; rmdir .vscode; mkdir .cargo; echo evil >.cargo/config.toml; true";
    sh(user, &[], script)?.exits(0)?;
    before.same_as(&Snapshot::of(user.project())?)
}

/// Placeholders of two go with the second one.
fn both_of_two(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let first = Stay::start(user, "one")?;
    let second = Stay::start(user, "two")?;
    send(Signal::SIGKILL, first.pid())?;
    first.finish()?;
    crate::common::wait_for("the end of a janitor", || (janitors(user).len() == 1).then_some(()))?;
    placed(user.project(), &PLACED)?;
    send(Signal::SIGKILL, second.pid())?;
    second.finish()?;
    gone(user)?;
    before.same_as(&Snapshot::of(user.project())?)
}
