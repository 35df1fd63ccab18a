//! `--die-with-parent`: the end of the process that started sbx ends everything, the end of a thread of its doesn't.

use crate::common::{Case, User, Verdict, case, output};
use crate::driver::{self, Done};
use crate::stage::{bash, in_own_pid_namespace};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(the_end_of_the_starting_thread_is_no_end),
        case!(by_default_sbx_outlives_its_parent),
        case!(with_the_option_the_parents_exit_ends_everything),
        case!(with_the_option_the_parents_death_ends_everything),
        case!(a_parent_that_is_gone_leaves_sbx_to_the_next),
        case!(a_parent_out_of_sight),
    ]
}

/// How long sbx is seen to live.
const LIVES: Duration = Duration::from_millis(700);

fn the_end_of_the_starting_thread_is_no_end(user: &User) -> Verdict {
    for option in ["--die-with-parent", "--quiet"] {
        output(&mut driver::command(user, "thread", &[option]))?.exits(0)?;
    }
    Ok(())
}

fn by_default_sbx_outlives_its_parent(user: &User) -> Verdict {
    for way in ["exit", "kill"] {
        output(&mut driver::command(user, "orphan", &["--quiet", way]))?.exits(0)?.stdout_is("lives\n")?;
    }
    Ok(())
}

fn with_the_option_the_parents_exit_ends_everything(user: &User) -> Verdict {
    output(&mut driver::command(user, "orphan", &["--die-with-parent", "exit"]))?
        .exits(0)?
        .stdout_is("gone\n")?;
    Ok(())
}

fn with_the_option_the_parents_death_ends_everything(user: &User) -> Verdict {
    output(&mut driver::command(user, "orphan", &["--die-with-parent", "kill"]))?
        .exits(0)?
        .stdout_is("gone\n")?;
    Ok(())
}

/// Who starts late has whoever adopts orphans for a parent, and lives as long as that.
fn a_parent_that_is_gone_leaves_sbx_to_the_next(user: &User) -> Verdict {
    let script =
        "(while [ -d /proc/$$ ] && grep -q '^State:.[RSD]' /proc/$$/status; do sleep 0.05; done 2>/dev/null
        \"$SBX\" --die-with-parent sh -c 'sleep 0.5; echo ran') & exit 3";
    let mut command = bash(user, "bash -c \"$SCRIPT\"; sleep 5");
    output(command.env("SCRIPT", script))?.exits(0)?.stdout_is("ran\n")?.stderr_is("")?;
    Ok(())
}

/// A parent outside of sbx's PID namespace, as that of the first program in a container, has no number there.
fn a_parent_out_of_sight(user: &User) -> Verdict {
    let mut command = in_own_pid_namespace(user);
    command.arg(user.sbx_path());
    let out = output(command.args(["--die-with-parent", "sh", "-c", "echo ran; exit 3"]))?;
    let ran = out.status.code() == Some(3) && out.stdout == b"ran\n";
    let refused = out.status.code() == Some(125) && out.stdout.is_empty() && out.errors().contains("hint: ");
    out.check(ran || refused, || "should run, or say what to do".to_owned())?;
    Ok(())
}

fn spawn(option: &str) -> Result<Child, String> {
    let mut sbx = driver::sbx();
    sbx.args([option, "sh", "-c", "(setsid sleep 60 &); sleep 60"]).stdin(Stdio::null());
    sbx.spawn().map_err(|error| error.to_string())
}

/// The driver's side of [`the_end_of_the_starting_thread_is_no_end`].
pub(crate) fn starts_from_a_thread(arguments: &[String]) -> Done {
    let option = arguments.first().cloned().unwrap_or_default();
    let started = thread::spawn(move || spawn(&option)).join();
    let mut child = started.map_err(|_| "the thread panicked")??;
    sleep(LIVES);
    if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
        return Err(format!("ended with the thread: {status}"));
    }
    kill(driver::pid_of(&child), Signal::SIGTERM).map_err(|errno| errno.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.signal() != Some(15) {
        return Err(format!("TERM: {status}"));
    }
    driver::wait_until_alone()
}

/// Starts sbx, says its number, and lives until it is told otherwise.
pub(crate) fn launch(arguments: &[String]) -> Done {
    let child = spawn(arguments.first().map_or("", String::as_str))?;
    let _ = writeln!(std::io::stdout(), "{}", child.id());
    let _ = std::io::read_to_string(std::io::stdin());
    Ok(())
}

/// The driver's side of the cases where a launcher ends: says whether sbx lives after that.
pub(crate) fn ends_before_sbx(arguments: &[String]) -> Done {
    let [option, way] = arguments else { return Err("two arguments".to_owned()) };
    let mut launcher = driver::again("launch");
    launcher.arg(option).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut launcher = launcher.spawn().map_err(|error| error.to_string())?;
    let mut output = std::io::BufReader::new(launcher.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).map_err(|error| error.to_string())?;
    let sbx: i32 = line.trim().parse().map_err(|_| format!("said {line:?}"))?;
    sleep(LIVES);
    if !driver::others().contains(&sbx) {
        return Err("ended before its parent".to_owned());
    }
    match way.as_str() {
        "kill" => launcher.kill().map_err(|error| error.to_string())?,
        _ => drop(launcher.stdin.take()),
    }
    launcher.wait().map_err(|error| error.to_string())?;
    let (start, mut lives) = (Instant::now(), true);
    let patience = if option == "--die-with-parent" { Duration::from_secs(10) } else { LIVES };
    while lives && start.elapsed() < patience {
        sleep(Duration::from_millis(5));
        lives = driver::others().contains(&sbx);
    }
    let _ = writeln!(std::io::stdout(), "{}", if lives { "lives" } else { "gone" });
    if lives {
        kill(Pid::from_raw(sbx), Signal::SIGTERM).map_err(|errno| errno.to_string())?;
    }
    driver::wait_until_alone()
}
