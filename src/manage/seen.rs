//! What is seen of a sandbox from outside.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cgroup::Usage;
use crate::registry::Live;

/// What a sandbox does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is being set up.
    Starting,
    /// Its command runs.
    Running,
    /// `sbx pause` has stopped it.
    Paused,
    /// A signal has stopped it, as Ctrl-Z does.
    Stopped,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A sandbox, as `sbx ps` lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its profile.
    pub profile: String,
    /// Its sbx.
    pub pid: i32,
    /// Its PID 1, as a process outside.
    pub init: Option<i32>,
    /// What it does.
    pub state: State,
    /// Seconds since its start.
    pub age_seconds: Option<u64>,
    /// Its command.
    pub command: Vec<String>,
    /// The rung of the ladder that its cgroup is from.
    pub rung: Option<String>,
    /// Its cgroup.
    pub cgroup: Option<PathBuf>,
    /// What it uses; without a cgroup only what its processes add up to.
    pub usage: Usage,
    /// The limits of its cgroup.
    pub limits: Limits,
}

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Processors.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Seen {
    /// Looks at a sandbox.
    pub fn of(live: &Live) -> Self {
        let info = live.info.as_ref();
        let group = live.group();
        let init = info.map(|info| info.init);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let state = match (&group, info) {
            (_, None) => State::Starting,
            (Some(group), _) if group.has("frozen") => State::Paused,
            _ if is_stopped(live.pid) => State::Stopped,
            _ => State::Running,
        };
        let limits = group.as_ref().map(|group| Limits {
            memory: group.number("memory.max"),
            cpus: group.read("cpu.max").ok().and_then(|text| cpus(&text)),
            pids: group.number("pids.max"),
        });
        Self {
            name: live.name.clone(),
            profile: info.map(|info| info.profile.clone()).unwrap_or_default(),
            pid: live.pid,
            init,
            state,
            age_seconds: info.map(|info| now.saturating_sub(info.started)),
            command: info.map(|info| info.command.clone()).unwrap_or_default(),
            rung: info.and_then(|info| info.rung.clone()),
            cgroup: info.and_then(|info| info.cgroup.clone()),
            usage: match (&group, init) {
                (Some(group), _) => Usage::of(group),
                (None, Some(init)) => of_processes(init),
                (None, None) => Usage::default(),
            },
            limits: limits.unwrap_or_default(),
        }
    }

    /// Microseconds of processors.
    pub fn processor_time(&self) -> Option<u64> {
        Some(self.usage.user? + self.usage.system?)
    }
}

/// `cpu.max` as processors.
fn cpus(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// Whether a process is stopped by a signal (proc_pid_stat(5)).
fn is_stopped(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "T"))
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// What PID 1 and all that descends from it use: in a PID namespace everything does.
fn of_processes(init: i32) -> Usage {
    /// Places in [`stat`]: ticks of the process and of the children that it has waited for, threads, pages.
    const TIMES: [usize; 4] = [11, 12, 13, 14];
    const THREADS: usize = 17;
    const PAGES: usize = 21;
    /// Ticks a second, and bytes of a page, on the machines that sbx runs on.
    const TICK: u64 = 10_000;
    const PAGE: u64 = 4096;
    let mut usage =
        Usage { memory: Some(0), user: Some(0), system: Some(0), processes: Some(0), ..Usage::default() };
    let mut open = vec![init];
    while let Some(pid) = open.pop() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        open.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        let Some(fields) = stat(pid) else { continue };
        let number =
            |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let [user, system, waited_user, waited_system] = TIMES.map(number);
        let add = |sum: &mut Option<u64>, more: u64| *sum = sum.map(|sum| sum + more);
        add(&mut usage.user, (user + waited_user) * TICK);
        add(&mut usage.system, (system + waited_system) * TICK);
        add(&mut usage.processes, number(THREADS));
        add(&mut usage.memory, number(PAGES) * PAGE);
    }
    usage
}
