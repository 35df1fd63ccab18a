//! What a sandbox may use at most: what resource limits hold, and what takes a cgroup.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use super::cgroup::{self, of_flag, pids_max};
use super::entries::Tokens;
use super::error::PlanError;
use super::{Cgroup, Knob, Limits, Watches};
use crate::host::{Host, WantedCgroups};
use crate::invocation::Invocation;
use crate::profile::limits::{IoLimit, Optional};
use crate::profile::value::{ByteSize, in_units};
use crate::profile::{Level, Limit, Origin, Profile, Setting};

/// The period of `cpu.max`, in microseconds: the kernel's own default.
const PERIOD: f64 = 100_000.0;

/// A limit that a cgroup holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// What is limited.
    pub(super) what: &'static str,
    /// The controller that holds it; nothing for what every cgroup has.
    pub(super) controller: Option<&'static str>,
    /// Files and what is written there.
    pub(super) knobs: Vec<(&'static str, String)>,
    /// A number that may not be above that of a cgroup above, and the file.
    pub(super) most: Option<(&'static str, f64)>,
    pub(super) origin: Origin,
    pub(super) level: Level,
}

/// What was asked for, what can't be held, and what stands in for it.
pub(super) struct Limiter {
    pub(super) asked: Vec<Asked>,
    /// Processes and threads.
    pub(super) processes: u64,
    /// Whether [`Limiter::processes`] is held without a cgroup.
    processes_are_held: bool,
    /// The limit of memory, for each process's own where no cgroup holds it.
    memory: Option<Setting<u64>>,
    /// That is needed.
    stand_in: bool,
    /// A line for each reason.
    misses: Vec<String>,
}

impl Limiter {
    /// Takes out what can't be held, and tells of it, all for one reason in one line.
    pub(super) fn hold(
        &mut self,
        test: impl Fn(&Asked) -> Result<(), (String, String)>,
    ) -> Result<(), PlanError> {
        let mut told: Vec<(String, Vec<&'static str>)> = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            let Err((why, remedy)) = test(&asked) else {
                self.asked.push(asked);
                continue;
            };
            let remedy = match asked.what {
                "processes" if self.processes_are_held => continue,
                "processes" => format!("{remedy}; or run sbx as an ordinary user"),
                _ => remedy,
            };
            match asked.level {
                Level::Require => {
                    let why = format!("cannot limit {}: {why}", asked.what);
                    return Err(PlanError::Conflict { why, origin: asked.origin, hint: remedy });
                }
                Level::Prefer => match told.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, what)) => what.push(asked.what),
                    None => told.push((why, vec![asked.what])),
                },
                Level::Available | Level::Off => {}
            }
            self.stand_in |= asked.what == "memory";
        }
        for (why, mut what) in told {
            what.dedup();
            let instead = self.stand_in_words(&what);
            self.misses.push(format!("cannot limit {}: {why}; {instead}", in_words(&what)));
        }
        Ok(())
    }

    fn stand_in_words(&self, what: &[&str]) -> String {
        match self.memory.as_ref().filter(|_| what.contains(&"memory")) {
            Some(memory) => {
                format!("each process alone is held to {} of data (RLIMIT_DATA)", in_units(memory.value))
            }
            None => "running without that limit".to_owned(),
        }
    }

    /// Something other than a limit can't be had.
    pub(super) fn unmet(
        &mut self,
        what: &str,
        why: &str,
        remedy: &str,
        origin: &Origin,
        level: Level,
    ) -> Result<(), PlanError> {
        let why = format!("cannot {what}: {why}");
        match level {
            Level::Require => {
                Err(PlanError::Conflict { why, origin: origin.clone(), hint: remedy.to_owned() })
            }
            Level::Prefer => {
                self.misses.push(format!("{why}; running without"));
                Ok(())
            }
            Level::Available | Level::Off => Ok(()),
        }
    }
}

/// `memory, cpus and io`.
fn in_words(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What has to be known of the machine's cgroups, if anything.
pub(super) fn wanted(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
) -> Result<Option<WantedCgroups>, PlanError> {
    let asked = asked(profile, invocation, &[])?;
    let processes_need_it = asked.iter().any(|asked| asked.what == "processes");
    if !cgroup::is_wanted(profile, invocation, &asked) && !processes_need_it {
        return Ok(None);
    }
    let tokens = tokens(host);
    let parent = profile.limits.cgroup_parent.as_ref();
    let parent = parent.map(|parent| tokens.expand(&parent.value, &parent.origin)).transpose()?;
    let disks = profile.limits.io.iter().map(|limit| disk(&tokens, limit)).collect::<Result<_, _>>()?;
    let ceilings = asked.iter().filter_map(|asked| asked.most).map(|(file, _)| file).collect();
    Ok(Some(WantedCgroups { parent, disks, ceilings }))
}

fn tokens(host: &Host) -> Tokens<'_> {
    let home = host.home.as_deref().unwrap_or(std::path::Path::new("/"));
    Tokens { host, home, uid: host.uid.to_string() }
}

fn disk(tokens: &Tokens<'_>, limit: &Setting<IoLimit>) -> Result<PathBuf, PlanError> {
    match &limit.value.path {
        Some(path) => tokens.expand(path, &limit.origin),
        None => Ok(PathBuf::from("/")),
    }
}

/// What [`limit_knobs`] has to know of the machine.
///
/// # Errors
/// [`PlanError`]: a path that has no value here.
pub fn wanted_for_limits(profile: &Profile, host: &Host) -> Result<Option<WantedCgroups>, PlanError> {
    wanted(profile, &Invocation::default(), host)
}

/// What a profile's limits write into a cgroup that is there already.
///
/// # Errors
/// [`PlanError`]: a disk that can't be limited.
pub fn limit_knobs(profile: &Profile, host: &Host) -> Result<Vec<Knob>, PlanError> {
    let asked = asked(profile, &Invocation::default(), &io(profile, host)?)?;
    let knobs = asked.into_iter().flat_map(|asked| {
        let (what, origin) = (asked.what, asked.origin);
        let knob = move |(file, value)| Knob { file, value, what, required: true, origin: origin.clone() };
        asked.knobs.into_iter().map(knob)
    });
    Ok(knobs.collect())
}

/// All limits of a plan.
pub(super) fn resolve(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
) -> Result<(Limits, Option<Cgroup>, Vec<String>), PlanError> {
    let limits = &profile.limits;
    let processes = over(Some(&limits.pids), &invocation.pids, "--pids")
        .unwrap_or_else(|| Setting::default_value(Limit::new(4096)));
    let io = io(profile, host)?;
    let mut limiter = Limiter {
        asked: asked(profile, invocation, &io)?,
        processes: processes.value.value,
        // RLIMIT_NPROC binds every user but kernel uid 0 (fork's check in kernel/fork.c).
        processes_are_held: host.uid != 0,
        memory: over(limits.memory.as_ref(), &invocation.memory, "--memory")
            .filter(|memory| memory.value.level.unwrap_or(limits.level.value) != Level::Off)
            .map(|memory| Setting::new(memory.value.value.0, memory.origin)),
        stand_in: false,
        misses: Vec::new(),
    };
    let cgroup = cgroup::resolve(profile, invocation, host, &mut limiter)?;
    let memory = limiter.memory.filter(|_| limiter.stand_in || cgroup.is_some());
    let flag = |duration: &Duration| Origin::Flag(format!("--timeout {}s", duration.as_secs_f64()));
    let plain = Limits {
        core: Setting::default_value(0),
        processes: Setting::new(processes.value.value, processes.origin),
        open_files: limits.open_files.clone(),
        data: memory,
        nice: limits.nice.clone(),
        io_priority: limits.io_priority.clone(),
        watches: host
            .watches
            .map(|(instances, files)| Watches { instances: half(instances), files: half(files) }),
        timeout: match &invocation.timeout {
            Some(timeout) => Some(Setting::new(*timeout, flag(timeout))),
            None => limits.timeout.clone(),
        },
    };
    Ok((plain, cgroup, limiter.misses))
}

/// What one sandbox gets of something that all programs of a user share.
fn half(all: u64) -> u64 {
    all.div_ceil(2)
}

/// The option's value, which is required, or else the profile's.
fn over<T: Clone>(
    setting: Option<&Setting<Limit<T>>>,
    flag: &Option<T>,
    name: &str,
) -> Option<Setting<Limit<T>>> {
    match flag {
        Some(value) => Some(of_flag(value.clone(), name.to_owned())),
        None => setting.cloned(),
    }
}

/// What is asked of a cgroup. `io` is what `limits.io` comes to here.
fn asked(
    profile: &Profile,
    invocation: &Invocation,
    io: &[(Setting<IoLimit>, String)],
) -> Result<Vec<Asked>, PlanError> {
    let limits = &profile.limits;
    let mut list = List { strict: invocation.strict, level: limits.level.value, asked: Vec::new() };
    list.memory(profile, invocation);
    if let Some(cpus) = over(limits.cpus.as_ref(), &invocation.cpus, "--cpus") {
        let most = Some(("cpu.max", cpus.value.value));
        list.add("processors", Some("cpu"), &cpus, &[("cpu.max", cpu_max(cpus.value.value))], most);
    }
    let inside = |count: u64| if limits.delegate.value { cgroup::below_payload(count) } else { count };
    list.number("the share of processors", Some("cpu"), &limits.cpu_weight, "cpu.weight", |n| n.to_string());
    list.number("the share of disks", Some("io"), &limits.io_weight, "io.weight", |n| format!("default {n}"));
    list.number("cgroups inside", None, &limits.cgroups, "cgroup.max.descendants", |n| inside(n).to_string());
    list.number("the depth of cgroups inside", None, &limits.cgroup_depth, "cgroup.max.depth", |n| {
        inside(n).to_string()
    });
    if let Some(cpuset) = &limits.cpuset {
        let knobs = [("cpuset.cpus", cpuset.value.value.clone())];
        list.add("the choice of processors", Some("cpuset"), cpuset, &knobs, None);
    }
    let processes = over(Some(&limits.pids), &invocation.pids, "--pids");
    if let Some(pids) = processes.filter(|processes| !processes.is_default()) {
        let most = Some(("pids.max", pids.value.value as f64));
        list.add("processes", Some("pids"), &pids, &[("pids.max", pids_max(pids.value.value))], most);
    }
    for (limit, line) in io {
        let own = Setting::new(Limit { value: (), level: limit.value.level }, limit.origin.clone());
        list.add("disks", Some("io"), &own, &[("io.max", line.clone())], None);
    }
    // Before it is known which disks those are.
    if let (true, Some(first)) = (io.is_empty(), limits.io.first()) {
        let own = Setting::new(Limit { value: (), level: first.value.level }, first.origin.clone());
        list.add("disks", Some("io"), &own, &[], None);
    }
    Ok(list.asked)
}

/// Puts together what is asked.
struct List {
    strict: bool,
    /// The level of a limit that has none of its own.
    level: Level,
    asked: Vec<Asked>,
}

impl List {
    fn add<T>(
        &mut self,
        what: &'static str,
        controller: Option<&'static str>,
        limit: &Setting<Limit<T>>,
        knobs: &[(&'static str, String)],
        most: Option<(&'static str, f64)>,
    ) {
        let level = match limit.value.level.unwrap_or(self.level) {
            Level::Prefer | Level::Available if self.strict => Level::Require,
            Level::Off => return,
            level => level,
        };
        let (knobs, origin) = (knobs.to_vec(), limit.origin.clone());
        self.asked.push(Asked { what, controller, knobs, most, origin, level });
    }

    fn number(
        &mut self,
        what: &'static str,
        controller: Option<&'static str>,
        limit: &Optional<u64>,
        file: &'static str,
        spelling: impl Fn(u64) -> String,
    ) {
        if let Some(limit) = limit {
            self.add(what, controller, limit, &[(file, spelling(limit.value.value))], None);
        }
    }

    fn memory(&mut self, profile: &Profile, invocation: &Invocation) {
        let limits = &profile.limits;
        let swap = over(limits.swap.as_ref(), &invocation.swap, "--swap");
        if let Some(memory) = over(limits.memory.as_ref(), &invocation.memory, "--memory") {
            let bytes = pages(memory.value.value);
            let mut knobs = vec![("memory.max", bytes.to_string()), ("memory.oom.group", "1".to_owned())];
            // Without it the limit would only be where swapping begins.
            if swap.is_none() {
                knobs.push(("memory.swap.max", "0".to_owned()));
            }
            self.add("memory", Some("memory"), &memory, &knobs, Some(("memory.max", bytes as f64)));
        }
        if let Some(high) = &limits.memory_high {
            let knobs = [("memory.high", pages(high.value.value).to_string())];
            self.add("memory", Some("memory"), high, &knobs, None);
        }
        if let Some(swap) = swap {
            let bytes = pages(swap.value.value);
            let most = Some(("memory.swap.max", bytes as f64));
            self.add("swap", Some("memory"), &swap, &[("memory.swap.max", bytes.to_string())], most);
        }
    }
}

/// The kernel counts in pages; what is less than one is none.
fn pages(size: ByteSize) -> u64 {
    size.0 & !4095
}

pub(super) fn cpu_max(cpus: f64) -> String {
    format!("{} {PERIOD}", (cpus * PERIOD).round())
}

/// Each entry of `limits.io` with its line for `io.max`. A later entry for the same disk wins in what it says.
fn io(profile: &Profile, host: &Host) -> Result<Vec<(Setting<IoLimit>, String)>, PlanError> {
    let tokens = tokens(host);
    let mut lines = Vec::new();
    for limit in &profile.limits.io {
        let path = disk(&tokens, limit)?;
        let conflict = |why: String, hint: &str| PlanError::Conflict {
            why,
            origin: limit.origin.clone(),
            hint: hint.to_owned(),
        };
        let IoLimit { read, write, read_operations, write_operations, .. } = &limit.value;
        let words = [
            ("rbps", read.map(|size| size.0)),
            ("wbps", write.map(|size| size.0)),
            ("riops", *read_operations),
            ("wiops", *write_operations),
        ];
        let words: Vec<String> =
            words.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect();
        if words.is_empty() {
            return Err(conflict(
                format!("cannot limit {}: the entry names no limit", crate::diag::quote(&path)),
                "give it read, write, read-operations or write-operations",
            ));
        }
        let Some(cgroups) = &host.cgroups else { continue };
        let device = match cgroups.devices.iter().find(|(known, _)| *known == path) {
            Some((_, Ok(device))) => device,
            Some((_, Err(why))) => {
                return Err(conflict(
                    format!("cannot limit disks: {why}"),
                    "name a path on a disk, or a disk's device",
                ));
            }
            None => continue,
        };
        lines.push((limit.clone(), format!("{}:{} {}", device.major, device.minor, words.join(" "))));
    }
    Ok(lines)
}
