//! What the command leaves in the background: ended with it, or waited for (`lifecycle.background`).

use crate::common::{Case, Need, Running, User, Verdict, case, process, wait_for};
use crate::stage::{comm, descendant, sh, wait_for_text, wait_until_gone};
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt as _;

pub(crate) fn cases() -> Vec<Case> {
    let setsid = Need::Program("setsid");
    vec![
        case!(a_hundred_daemons_end_with_the_command).needs(setsid),
        case!(daemons_that_hold_the_output_end_with_the_command).needs(setsid),
        case!(daemons_are_waited_for).needs(setsid),
        case!(a_signal_is_still_the_commands).needs(setsid),
        case!(the_time_is_up_for_daemons_too).needs(setsid),
        case!(two_terms_end_the_wait).needs(setsid),
    ]
}

const WAIT: [&str; 2] = ["--set", "lifecycle.background=wait"];

/// Starts a hundred daemons, and ends when told by a file.
fn hundred(redirections: &str) -> String {
    format!(
        "i=0; while [ $i -lt 100 ]; do (setsid sh -c 'trap \"\" TERM HUP; sleep 61; :' {redirections} &); i=$((i+1)); done
        echo started >started; until [ -e end ]; do sleep 0.1; done; exit 3"
    )
}

fn ends_with(user: &User, redirections: &str) -> Verdict {
    let running = Running::start(user.sbx().args(["sh", "-c", &hundred(redirections)]))?;
    wait_for_text(&user.project().join("started"), "started")?;
    let tree = wait_for("a hundred daemons", || {
        let tree = process::descendants(running.pid());
        (tree.iter().filter(|pid| comm(**pid) == "sleep").count() >= 100).then_some(tree)
    })?;
    let start = std::time::Instant::now();
    user.put("home/project/end", "")?;
    running.finish()?.exits(3)?;
    if start.elapsed().as_secs() >= 20 {
        return Err(format!("it took {:?}", start.elapsed()).into());
    }
    // PID 1 is reaped after all others: nobody outlives sbx for a moment.
    let left: Vec<_> = tree.iter().filter(|pid| comm(**pid) == "sleep").collect();
    if left.is_empty() { wait_until_gone(&tree) } else { Err(format!("outlived sbx: {left:?}").into()) }
}

fn a_hundred_daemons_end_with_the_command(user: &User) -> Verdict {
    ends_with(user, "</dev/null >/dev/null 2>&1")
}

/// The harness fails a run whose output stays open.
fn daemons_that_hold_the_output_end_with_the_command(user: &User) -> Verdict {
    ends_with(user, "")
}

fn daemons_are_waited_for(user: &User) -> Verdict {
    let script = "(setsid sh -c 'sleep 1; echo late; exit 9' &); echo early; exit 5";
    sh(user, &WAIT, script)?.exits(5)?.stdout_is("early\nlate\n")?;
    // Its generations, too.
    let script = "(setsid sh -c '(sleep 1; (sleep 0.3; echo grandchild) &) &' &); exit 0";
    sh(user, &WAIT, script)?.exits(0)?.stdout_is("grandchild\n")?;
    sh(user, &WAIT, "exit 6")?.exits(6)?;
    // By default they aren't.
    sh(user, &[], "(setsid sh -c 'sleep 1; echo late' &); exit 5")?.exits(5)?.stdout_is("")?;
    Ok(())
}

fn a_signal_is_still_the_commands(user: &User) -> Verdict {
    let out = sh(user, &WAIT, "(setsid sh -c 'sleep 1; echo late' &); kill -9 $$")?;
    out.stdout_is("late\n")?.check(out.status.signal() == Some(9), || "should die of SIGKILL".to_owned())?;
    Ok(())
}

fn the_time_is_up_for_daemons_too(user: &User) -> Verdict {
    let options = [&WAIT[..], &["--timeout", "1s"]].concat();
    let out = sh(user, &options, "(setsid sleep 60 &); exit 0")?;
    out.exits(124)?.check(out.took.as_secs() < 30, || "after the grace at the latest".to_owned())?;
    Ok(())
}

fn two_terms_end_the_wait(user: &User) -> Verdict {
    let mut command = user.sbx();
    let script = "(setsid sleep 60 &); exit 3";
    let running = Running::start(command.args(WAIT).args(["sh", "-c", script]))?;
    let daemon = descendant(&running, "sleep")?;
    // The command itself is over once nobody else is left.
    wait_for("its end", || (process::descendants(running.pid()).len() == 2).then_some(()))?;
    running.signal(Signal::SIGTERM)?;
    // Two that wait are one.
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal(Signal::SIGTERM)?;
    running.finish()?.exits(3)?;
    wait_until_gone(&[daemon])
}
