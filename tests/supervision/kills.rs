//! `SIGKILL` at any moment to any of sbx's processes: nothing of the sandbox is left.
//!
//! `SBX_KILLS=200` sets how many moments are tried for each of them.

use crate::common::{Case, User, Verdict, case, output_within};
use crate::driver::{self, Done, Footprint};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(kills_of_sbx), case!(kills_of_pid_1), case!(kills_of_the_janitor)]
}

fn kills_of_sbx(user: &User) -> Verdict {
    kills_of(user, "sbx")
}

fn kills_of_pid_1(user: &User) -> Verdict {
    kills_of(user, "init")
}

fn kills_of_the_janitor(user: &User) -> Verdict {
    kills_of(user, "janitor")
}

fn kills_of(user: &User, whose: &str) -> Verdict {
    let rounds = std::env::var("SBX_KILLS").unwrap_or_else(|_| "60".to_owned());
    output_within(Duration::from_secs(400), &mut driver::command(user, "kills", &[whose, &rounds]))?
        .exits(0)?;
    Ok(())
}

/// The driver's side.
pub(crate) fn work(arguments: &[String]) -> Done {
    let whose = arguments.first().map_or("", String::as_str);
    driver::make_repository()?;
    let mut before = None;
    for round in 0..driver::number(arguments, 1) {
        let moment = driver::moment(40);
        let say = |what: String| format!("{whose} killed after {moment:?}, round {round}: {what}");
        round_of(whose, moment).map_err(say)?;
        // What a killed janitor leaves, the next one takes away.
        if whose == "janitor" {
            let status = driver::sbx().arg("true").status().map_err(|error| say(error.to_string()))?;
            if !status.success() {
                return Err(say(format!("the next run: {status}")));
            }
        }
        driver::is_without_placeholders().map_err(say)?;
        before.get_or_insert_with(Footprint::now);
    }
    before.map_or(Ok(()), |before| Footprint::now().is_no_more_than(&before))
}

fn round_of(whose: &str, moment: Duration) -> Done {
    let busy = "(setsid sleep 60 &); sleep 60 & sleep 60";
    let child = driver::sbx().args(["sh", "-c", busy]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| error.to_string())?;
    let pid = driver::pid_of(&child).as_raw();
    sleep(moment);
    let target = match whose {
        "sbx" => Some(pid),
        // In this order they are started.
        "janitor" => children(pid).first().copied(),
        _ => children(pid).get(1).copied(),
    };
    match target.map(|target| kill(Pid::from_raw(target), Signal::SIGKILL)) {
        Some(Ok(()) | Err(Errno::ESRCH)) => {}
        Some(Err(errno)) => return Err(format!("cannot kill it: {errno}")),
        // It isn't there yet.
        None => return end(child).and_then(|_| driver::wait_until_alone()),
    }
    let out = match whose {
        "janitor" => end(child)?,
        _ => child.wait_with_output().map_err(|error| error.to_string())?,
    };
    let errors = String::from_utf8_lossy(&out.stderr);
    let fine = match whose {
        "sbx" => out.status.signal() == Some(9),
        // Nothing ran, or it was ended.
        "init" => matches!(out.status.code(), Some(125 | 137)) && errors.contains("PID 1 was killed"),
        _ => out.status.signal() == Some(15) || out.status.code() == Some(125),
    };
    if !fine {
        return Err(format!("{} {errors}", out.status));
    }
    driver::wait_until_alone()
}

/// Ends a run that lives.
fn end(child: Child) -> Result<Output, String> {
    let _ = kill(driver::pid_of(&child), Signal::SIGTERM);
    child.wait_with_output().map_err(|error| error.to_string())
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
