//! A signal at any moment of a start.

use crate::driver::{self, Done};
use nix::sys::signal::{Signal, kill};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::thread::sleep;

/// The driver's side: so many starts, each with TERM, INT or HUP in its first 30 ms.
pub(crate) fn work(arguments: &[String]) -> Done {
    driver::make_repository()?;
    for round in 0..driver::number(arguments, 0) {
        let signal = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP][round as usize % 3];
        let moment = driver::moment(30);
        let say = |what: String| format!("{signal} after {moment:?}: {what}");
        let child = driver::sbx().args(["sleep", "60"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.map_err(|error| say(error.to_string()))?;
        sleep(moment);
        kill(driver::pid_of(&child), signal).map_err(|errno| say(errno.to_string()))?;
        let out = child.wait_with_output().map_err(|error| say(error.to_string()))?;
        if out.status.signal() != Some(signal as i32) || !out.stderr.is_empty() {
            return Err(say(format!("{} {}", out.status, String::from_utf8_lossy(&out.stderr))));
        }
        driver::wait_until_alone().map_err(say)?;
        driver::is_without_placeholders().map_err(say)?;
    }
    Ok(())
}
