//! Many starts at a time, a quarter of them ended by a signal at a random moment: none fails, nothing is left.
//!
//! 200 starts at 8 at a time. `SBX_STARTS=2000` (or `100000`) makes that many, more than 200 at 16 at a time, and
//! `cargo test --test supervision starts -- --nocapture` shows the figures.

use crate::common::{Case, User, Verdict, case, output_within};
use crate::driver::{self, Done, Footprint};
use nix::sys::signal::{Signal, kill};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(starts_leave_nothing_behind)]
}

fn starts_leave_nothing_behind(user: &User) -> Verdict {
    let asked = std::env::var("SBX_STARTS").ok().and_then(|text| text.parse::<u32>().ok());
    let (count, together) = asked.map_or((200, "8"), |count| (count, if count > 200 { "16" } else { "8" }));
    // As slow as an emulated processor makes them.
    let limit = Duration::from_secs(60 + u64::from(count) / 2);
    let out = output_within(limit, &mut driver::command(user, "starts", &[&count.to_string(), together]))?;
    out.exits(0)?;
    std::io::stdout().write_all(&out.stdout)?;
    Ok(())
}

/// The driver's side.
pub(crate) fn work(arguments: &[String]) -> Done {
    let (count, together) = (driver::number(arguments, 0), driver::number(arguments, 1));
    driver::make_repository()?;
    batch(together * 2, together)?;
    driver::wait_until_alone()?;
    let (before, start) = (Footprint::now(), Instant::now());
    batch(count, together)?;
    let seconds = start.elapsed().as_secs_f32();
    driver::wait_until_alone()?;
    driver::is_without_placeholders()?;
    let after = Footprint::now();
    let figures = format!(
        "{count} starts at {together} at a time in {seconds:.1} s ({:.0}/s)\n  before {before:?}\n  after  {after:?}\n",
        count as f32 / seconds
    );
    let _ = std::io::stdout().write_all(figures.as_bytes());
    after.is_no_more_than(&before)
}

fn batch(count: u32, together: u32) -> Done {
    let next = AtomicU32::new(0);
    let one_after_another = || -> Done {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            start(number).map_err(|what| format!("start {number}: {what}"))?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..together).map(|_| scope.spawn(one_after_another)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err("a thread panicked".into())))
    })
}

/// One start; three in four run to their end.
fn start(number: u32) -> Done {
    let signal = [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGHUP][number as usize / 4 % 3];
    let signal = (number % 4 == 3).then_some(signal);
    let mut sbx = driver::sbx();
    match signal {
        None => sbx.args(["sh", "-c", "exit 7"]),
        Some(_) => sbx.args(["sh", "-c", "(setsid sleep 60 &); sleep 60"]),
    };
    let child = sbx.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| error.to_string())?;
    let mut told = String::new();
    if let Some(signal) = signal {
        let moment = driver::moment(40);
        told = format!("{signal} after {moment:?}: ");
        sleep(moment);
        kill(driver::pid_of(&child), signal).map_err(|errno| errno.to_string())?;
    }
    let out = child.wait_with_output().map_err(|error| error.to_string())?;
    let fine = match signal {
        None => out.status.code() == Some(7),
        Some(signal) => out.status.signal() == Some(signal as i32),
    };
    if fine && out.stderr.is_empty() && out.stdout.is_empty() {
        return Ok(());
    }
    Err(format!("{told}{} {}", out.status, String::from_utf8_lossy(&out.stderr)))
}
