//! What the processes around a sandbox's payload keep in memory.

use crate::Problem;
use crate::common::process::descendants;
use crate::contender::Contender;
use crate::workplace::Workplace;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

/// The memory of all processes of one sandbox but the payload, in KiB.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) processes: usize,
    pub(crate) rss: u64,
    /// Only root may ask for this of a process that guards itself.
    pub(crate) pss: Option<u64>,
}

impl Resident {
    /// Starts a sandbox that sleeps, looks, and ends it.
    pub(crate) fn of(place: &Workplace, contender: &Contender) -> Result<Self, Problem> {
        let contender = contender.clone().running(&["/usr/bin/sleep", "100"]);
        let child = contender.command(place)?.spawn();
        let mut child = child.map_err(|error| format!("cannot start {}: {error}", contender.name))?;
        let resident = Self::around(&mut child);
        end(child);
        resident.map_err(|problem| format!("{}: {problem}", contender.name))
    }

    fn around(child: &mut Child) -> Result<Self, Problem> {
        let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        let start = Instant::now();
        let payload = loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status} and should sleep"));
            }
            if start.elapsed() > Duration::from_secs(10) {
                return Err("its payload did not start".into());
            }
            if let Some(pid) = descendants(pid).into_iter().find(|pid| name(*pid) == "sleep") {
                break pid;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // What happens right after exec is over by then.
        std::thread::sleep(Duration::from_millis(100));
        let own: Vec<_> =
            std::iter::once(pid).chain(descendants(pid)).filter(|pid| *pid != payload).collect();
        let rss = own
            .iter()
            .filter_map(|pid| rollup(*pid, "Rss:").or_else(|| field(*pid, "status", "VmRSS:")))
            .sum();
        let pss = own.iter().map(|pid| rollup(*pid, "Pss:")).sum();
        Ok(Self { processes: own.len(), rss, pss })
    }
}

/// Ends a sandbox with everything in it: bubblewrap's processes outlive their parent.
fn end(mut child: Child) {
    let pid = i32::try_from(child.id()).unwrap_or_default();
    for pid in descendants(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn rollup(pid: i32, key: &str) -> Option<u64> {
    field(pid, "smaps_rollup", key)
}

fn field(pid: i32, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse().ok()
}
