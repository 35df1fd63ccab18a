//! One fault, and how strace is made to hit one process with it.

use crate::judge::{Judge, LIMIT, Outcome};
use crate::scenario::{AS_PLANNED, Scenario};
use crate::trace::{self, Call, Process};
use crate::worn;
use libtest_mimic::Failed;
use std::collections::HashMap;
use std::fmt;

/// What a call does instead of its work.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// It fails.
    Error(&'static str),
    /// It returns this.
    Value(i64),
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(name) => write!(out, "{name}"),
            Self::Value(value) => write!(out, "{value}"),
        }
    }
}

/// How strace hits the right process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It traces sbx alone.
    Alone,
    /// sbx itself doesn't make so many of these calls.
    Followed,
    /// sbx's calls are worn.
    Worn,
    /// The fault hits sbx as well, or the loader, and may end it there.
    Shared,
}

/// One fault in one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Which scenario, by number.
    pub(crate) scenario: usize,
    pub(crate) call: Call,
    pub(crate) effect: Effect,
    pub(crate) reach: Reach,
}

impl Fault {
    pub(crate) fn name(&self, scenario: &Scenario<'_>) -> String {
        let (process, call, nth) = (self.call.process.word(), &self.call.name, self.call.nth);
        format!("{}/{process}/{call}#{nth}={}", scenario.name, self.effect)
    }

    /// Makes a run with it.
    pub(crate) fn run(&self, scenario: &Scenario<'_>, judge: &Judge<'_>) -> Result<Tried, Failed> {
        let (name, nth) = (&self.call.name, self.call.nth);
        let effect = match self.effect {
            Effect::Error(error) => format!("error={error}"),
            Effect::Value(value) => format!("retval={value}"),
        };
        let (trace, inject) = (format!("trace={name},clone3"), format!("inject={name}:{effect}:when={nth}"));
        let mut options = vec!["-e", &trace, "-e", &inject];
        let mut command = scenario.sbx();
        if self.reach != Reach::Alone {
            options.push("-f");
        }
        if self.reach == Reach::Worn {
            command = scenario.edited(AS_PLANNED.0);
            worn::ask(&mut command, name, nth);
        }
        let outcome = judge.run(&mut scenario.traced(&options, &command), self.call.late, LIMIT)?;
        let not_by_sbx_alone = matches!(self.reach, Reach::Worn | Reach::Shared);
        Ok(match (trace::was_hit(&scenario.trace(), not_by_sbx_alone), outcome) {
            (true, outcome) => Tried::Ended(outcome),
            (false, _) if self.reach == Reach::Shared => Tried::Shadowed,
            (false, _) => Tried::Missed,
        })
    }
}

/// What became of a fault.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It hit the process that it was meant for.
    Ended(Outcome),
    /// It hit only sbx, which ended before there was that process.
    Shadowed,
    /// It hit no call.
    Missed,
}

/// How often calls are made where a fault must not hit.
#[derive(Debug)]
pub(crate) struct Reaches {
    /// By sbx itself.
    outside: HashMap<String, usize>,
    /// By this program before its `main`, when it stands in for sbx.
    loader: HashMap<String, usize>,
}

impl Reaches {
    pub(crate) fn new(calls: &[Call], stand_in: &[Call]) -> Self {
        Self { outside: counts(calls), loader: counts(&stand_in[..trace::before_main(stand_in)]) }
    }

    /// How a call can be reached.
    pub(crate) fn of(&self, call: &Call) -> Reach {
        let within =
            |counts: &HashMap<String, usize>| counts.get(&call.name).is_some_and(|count| call.nth <= *count);
        match call.process {
            Process::Outside => Reach::Alone,
            // Also where sbx makes no such call: it may when it has to say what failed.
            _ if worn::can_be(&call.name) && !within(&self.loader) => Reach::Worn,
            _ if !within(&self.outside) => Reach::Followed,
            _ => Reach::Shared,
        }
    }
}

/// How many calls of each name sbx itself makes.
fn counts(calls: &[Call]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for call in calls.iter().filter(|call| call.process == Process::Outside) {
        *counts.entry(call.name.clone()).or_default() += 1;
    }
    counts
}
