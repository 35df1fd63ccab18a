//! Limits that only a cgroup can hold: what is written where, and which place on this machine the sandbox's cgroup has.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

use super::bytes;
use super::error::PlanError;
use super::limits::{Asked, Limiter};
use crate::host::{Ceiling, Cgroups, Host, Manager};
use crate::invocation::Invocation;
use crate::profile::value::in_units;
use crate::profile::{Level, Origin, Profile, Setting};

/// The controllers that limits need.
pub const CONTROLLERS: [&str; 5] = ["memory", "cpu", "cpuset", "pids", "io"];

/// The sandbox's own cgroup.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cgroup {
    /// Where it is made.
    pub place: CgroupPlace,
    /// What is written in it, in order.
    pub knobs: Vec<Knob>,
    /// Controllers that it needs, for all of that.
    pub controllers: Vec<&'static str>,
    /// The payload may make cgroups of its own below it.
    pub delegate: bool,
    /// Nothing runs without it; else it is left out, with a warning where somebody asked for it.
    pub level: Level,
}

/// Where a cgroup is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "rung")]
pub enum CgroupPlace {
    /// In the cgroup of a unit that all sandboxes of a login share; it is started for the first.
    Keeper {
        /// Whom to ask for the unit.
        service: Service,
        /// The unit's cgroup.
        #[serde(serialize_with = "bytes::path")]
        path: PathBuf,
    },
    /// In a scope of the sandbox's own.
    Scope {
        /// Whom to ask for it.
        service: Service,
        /// What it is called after, where that is not the sandbox's name.
        application: Option<String>,
    },
    /// In a directory, without anybody to ask.
    Directory {
        /// Its path.
        #[serde(serialize_with = "bytes::path")]
        path: PathBuf,
    },
}

impl CgroupPlace {
    /// The word for it in messages and `explain`.
    pub fn word(&self) -> &'static str {
        match self {
            CgroupPlace::Keeper { .. } => "keeper",
            CgroupPlace::Scope { .. } => "scope",
            CgroupPlace::Directory { .. } => "directory",
        }
    }
}

/// A service manager, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// The machine's own; else the user's.
    pub is_system: bool,
    /// The socket of the bus that it listens on.
    #[serde(serialize_with = "bytes::path")]
    pub bus: PathBuf,
    /// `busctl`.
    #[serde(serialize_with = "bytes::path")]
    pub program: PathBuf,
}

impl Service {
    fn of(manager: &Manager) -> Self {
        let Manager { is_system, bus, program, .. } = manager.clone();
        Self { is_system, bus, program }
    }
}

/// A file of the cgroup, and what is written there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Knob {
    /// Its name.
    pub file: &'static str,
    /// What is written.
    pub value: String,
    /// What is limited, in words: `memory`.
    pub what: &'static str,
    /// Nothing runs without it.
    pub required: bool,
    /// Who asked for it.
    #[serde(rename = "set-by", serialize_with = "bytes::display")]
    pub origin: Origin,
}

/// How many cgroups a payload may make that may make any, where nobody says.
const DELEGATED: u64 = 1024;

/// A bound on cgroups inside as the kernel counts: the payload's own is one of them.
pub(super) fn below_payload(count: u64) -> u64 {
    count.saturating_add(1)
}

/// What `sbx` writes into every cgroup of a sandbox's, asked or not.
fn of_every_sandbox(delegate: bool, processes: u64, controllers: &[String]) -> Vec<Knob> {
    let knob =
        |file, value: String, what| Knob { file, value, what, required: true, origin: Origin::Default };
    let inside = if delegate { below_payload(DELEGATED) } else { 0 };
    let mut knobs = vec![knob("cgroup.max.descendants", inside.to_string(), "cgroups inside")];
    if controllers.iter().any(|controller| controller == "pids") {
        knobs.push(knob("pids.max", pids_max(processes), "processes"));
    }
    knobs
}

/// PID 1 is one of them, and needs another one to be the payload: what is less is for `RLIMIT_NPROC` alone to hold.
pub(super) fn pids_max(processes: u64) -> String {
    processes.max(2).to_string()
}

/// Whether a plan has to know of cgroups.
pub(super) fn is_wanted(profile: &Profile, invocation: &Invocation, asked: &[Asked]) -> bool {
    let limits = &profile.limits;
    !asked.is_empty()
        || limits.cgroup.value != Level::Off
        || limits.delegate.value
        || profile.app_id.is_some()
        || invocation.report
}

/// The cgroup that holds what was asked for. What can't be held is taken out of `asked` and told.
pub(super) fn resolve(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    limiter: &mut Limiter,
) -> Result<Option<Cgroup>, PlanError> {
    let Some(cgroups) = &host.cgroups else { return Ok(None) };
    let place = place(cgroups, profile);
    let (why, remedy) = match &place {
        Ok(_) => Default::default(),
        Err(obstacle) => obstacle.clone(),
    };
    // What stands for the sandbox's cgroup as such: a key, or what can't be had without.
    let own = wish(profile, invocation);
    if let (Err(_), Some((what, origin, level))) = (&place, &own) {
        limiter.unmet(what, &why, &remedy, origin, *level)?;
    }
    let controllers = cgroups.controllers();
    limiter.hold(|asked| {
        if place.is_err() {
            return Err((why.clone(), remedy.clone()));
        }
        let lacks = |controller: &&str| !controllers.iter().any(|known| known == controller);
        if let Some(controller) = asked.controller.filter(lacks) {
            let why = format!("the controller {controller} is not there for this user's cgroups");
            return Err((why, cgroups.remedy_for_controllers()));
        }
        Ok(())
    })?;
    let Ok(place) = place else { return Ok(None) };
    for asked in &limiter.asked {
        above_ceiling(cgroups, asked)?;
    }
    let levels = limiter.asked.iter().map(|asked| asked.level).chain(own.map(|(_, _, level)| level));
    let Some(level) = levels.min_by_key(|level| *level as u8) else { return Ok(None) };
    let there = |name: &&str| controllers.iter().any(|known| known == name);
    Ok(Some(Cgroup {
        place,
        knobs: knobs(profile, limiter, controllers),
        controllers: CONTROLLERS.into_iter().filter(there).collect(),
        delegate: profile.limits.delegate.value,
        level,
    }))
}

/// What is written: what every sandbox has, and what was asked for in its place.
fn knobs(profile: &Profile, limiter: &Limiter, controllers: &[String]) -> Vec<Knob> {
    let mut knobs = of_every_sandbox(profile.limits.delegate.value, limiter.processes, controllers);
    for asked in &limiter.asked {
        let again = |file| asked.knobs.iter().any(|(known, _)| *known == file);
        // A line for each disk.
        knobs.retain(|knob| knob.file == "io.max" || !again(knob.file));
        knobs.extend(asked.knobs.iter().map(|(file, value)| Knob {
            file,
            value: value.clone(),
            what: if *file == "memory.swap.max" { "swap" } else { asked.what },
            required: asked.level == Level::Require,
            origin: asked.origin.clone(),
        }));
    }
    knobs
}

/// Who wants a cgroup without a limit that needs one: what for, who says so, how much.
fn wish(profile: &Profile, invocation: &Invocation) -> Option<(&'static str, Origin, Level)> {
    let limits = &profile.limits;
    let strict = |level: Level| match level {
        Level::Prefer | Level::Available if invocation.strict => Level::Require,
        level => level,
    };
    if limits.delegate.value {
        return Some(("delegate cgroups", limits.delegate.origin.clone(), Level::Require));
    }
    if limits.cgroup.value != Level::Off {
        let what = "give the sandbox a cgroup of its own";
        return Some((what, limits.cgroup.origin.clone(), strict(limits.cgroup.value)));
    }
    if let Some(app_id) = &profile.app_id {
        return Some(("make a scope for the app-id", app_id.origin.clone(), strict(limits.level.value)));
    }
    let origin = Origin::Flag("--report".to_owned());
    invocation.report.then_some(("measure what the sandbox uses", origin, Level::Available))
}

/// The first rung of the ladder that holds.
fn place(cgroups: &Cgroups, profile: &Profile) -> Result<CgroupPlace, (String, String)> {
    if let Some(obstacle) = cgroups.obstacle() {
        return Err(obstacle);
    }
    if let Some(Ok(given)) = &cgroups.given {
        return Ok(CgroupPlace::Directory { path: given.path.clone() });
    }
    let application = profile.app_id.as_ref().map(|app_id| app_id.value.clone());
    match (&cgroups.manager, &cgroups.own) {
        (Ok(manager), _) if manager.is_above && application.is_none() => {
            Ok(CgroupPlace::Keeper { service: Service::of(manager), path: manager.keeper.clone() })
        }
        (Ok(manager), _) => Ok(CgroupPlace::Scope { service: Service::of(manager), application }),
        (Err(_), Some(own)) => Ok(CgroupPlace::Directory { path: own.path.clone() }),
        // No obstacle was found, so this is not reached.
        (Err(_), None) => Err((String::new(), String::new())),
    }
}

/// What a cgroup above allows, as a person would write it.
pub fn most_in_words(ceiling: &Ceiling) -> String {
    match ceiling.file {
        "memory.max" | "memory.swap.max" => in_units(ceiling.most as u64),
        _ => ceiling.most.to_string(),
    }
}

/// A limit that somebody insists on, and that a cgroup above makes meaningless, is a mistake.
fn above_ceiling(cgroups: &Cgroups, asked: &Asked) -> Result<(), PlanError> {
    let Some((file, value)) = asked.most.filter(|_| asked.level == Level::Require) else { return Ok(()) };
    let ceiling = cgroups.ceilings.iter().find(|ceiling| ceiling.file == file && ceiling.most < value);
    let Some(ceiling) = ceiling else { return Ok(()) };
    let most = most_in_words(ceiling);
    Err(PlanError::Conflict {
        why: format!(
            "cannot limit {} to that much: the cgroup {} above allows {most}",
            asked.what,
            crate::diag::quote(&ceiling.path)
        ),
        origin: asked.origin.clone(),
        hint: format!("ask for at most {most}"),
    })
}

/// A setting that came from an option is required.
pub(super) fn of_flag<T>(value: T, origin: String) -> Setting<crate::profile::Limit<T>> {
    Setting::new(crate::profile::Limit { value, level: Some(Level::Require) }, Origin::Flag(origin))
}
