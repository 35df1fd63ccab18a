//! The faults, each in a run of its own.

use crate::common::{User, Verdict};
use crate::fault::{Effect, Fault, Reaches, Tried};
use crate::judge::{Judge, Outcome};
use crate::scenario::{AS_PLANNED, Scenario};
use crate::trace::{self, Call, Process};
use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// What a call fails with.
const ERRORS: [&str; 4] = ["EPERM", "ENOSYS", "ENOMEM", "EINTR"];

/// How many errors the sample has for each account.
const ERRORS_TRIED: usize = 120;

/// How many false successes.
const SUCCESSES_TRIED: usize = 450;

/// How the faults ended.
#[derive(Debug, Default)]
struct Figures {
    points: usize,
    shadowed: usize,
    refused: usize,
    harmless: usize,
    missed: Vec<String>,
    bad: Vec<String>,
}

/// A sweep is in parts, as strace and what it traces wait for each other: a processor each.
pub(crate) const PARTS: usize = 2;

/// A part of a sample of the errors at every call of the set-up, or of all of them.
pub(crate) fn errors(user: &User, part: usize) -> Verdict {
    sweep(user, "errors", (ERRORS_TRIED, part), |call, _| {
        // A close that fails has closed all the same (close(2)); one that is never made keeps pipes open that nobody could. The
        // kernel's brk fails by the old break, and has no errors that the C library could be told.
        let errors = if matches!(call.name.as_str(), "close" | "brk") { &[][..] } else { &ERRORS[..] };
        let possible = errors.iter().copied().filter(|error| !is_by_design(call, error));
        possible.map(Effect::Error).collect()
    })
}

/// A part of a sample of calls that confine, skipped, and the caller told that it went well. What the payload can't see is harmless
/// here: the signal at sbx's death, which counts only when sbx is killed, and the session keyring, which is replaced where that is
/// available and out of reach by the filter in any case.
pub(crate) fn false_successes(user: &User, part: usize) -> Verdict {
    sweep(user, "false successes", (SUCCESSES_TRIED, part), |call, calls| {
        trace::false_success(call, calls).map(Effect::Value).into_iter().collect()
    })
}

/// Without Landlock in the kernel there are no scopes, which are used where they are available. And no unlock fails.
fn is_by_design(call: &Call, error: &str) -> bool {
    let is_outside = call.process == Process::Outside;
    is_outside
        && (call.name == "landlock_create_ruleset" && error == "ENOSYS" || call.text.contains("LOCK_UN"))
}

fn sweep(
    user: &User,
    what: &str,
    (sample, part): (usize, usize),
    effects: impl Fn(&Call, &[Call]) -> Vec<Effect>,
) -> Verdict {
    let start = Instant::now();
    let scenarios = Scenario::all(user)?;
    let mut figures = Figures::default();
    let mut faults = Vec::new();
    let mut judges = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        judges.push(Judge::new(user, &mut scenario.traced(&["-f"], &scenario.sbx()))?);
        let calls = trace::calls(&scenario.trace());
        Judge::new(user, &mut scenario.traced(&["-f"], &scenario.edited(AS_PLANNED.0)))?;
        let reaches = Reaches::new(&calls, &trace::calls(&scenario.trace()));
        for call in trace::of_set_up(&calls) {
            // A layer that could not be removed goes with the next run that makes one.
            let only_tidies = scenario.name == "kept" && call.name == "unlinkat";
            let effects = if only_tidies { Vec::new() } else { effects(call, &calls) };
            figures.points += usize::from(!effects.is_empty());
            faults.extend(effects.into_iter().map(|effect| Fault {
                scenario: index,
                call: call.clone(),
                effect,
                reach: reaches.of(call),
            }));
        }
    }
    for fault in chosen(faults, &scenarios, sample).into_iter().skip(part).step_by(PARTS) {
        let (scenario, judge) = (&scenarios[fault.scenario], &judges[fault.scenario]);
        figures.count(fault.name(scenario), fault.run(scenario, judge)?);
    }
    figures.say(user, what, start.elapsed());
    figures.verdict()
}

/// The faults to try: those that the environment asks for, and else a sample that is the same each time.
fn chosen(mut faults: Vec<Fault>, scenarios: &[Scenario<'_>], sample: usize) -> Vec<Fault> {
    let asked = std::env::var("SBX_FAULTS").unwrap_or_default();
    match asked.as_str() {
        "" => spread(faults, sample),
        "all" => faults,
        part => {
            faults.retain(|fault| fault.name(&scenarios[fault.scenario]).contains(part));
            faults
        }
    }
}

/// Some of each kind of call in each process before more of any.
fn spread(mut faults: Vec<Fault>, count: usize) -> Vec<Fault> {
    // Any numbers will do, as long as they stay the same.
    let mut state: u64 = 0x5b_78;
    for at in (1..faults.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        faults.swap(at, (state >> 33) as usize % (at + 1));
    }
    let mut ranks: HashMap<(Process, String), usize> = HashMap::new();
    let mut ranked: Vec<(usize, Fault)> = faults
        .into_iter()
        .map(|fault| {
            let rank = ranks.entry((fault.call.process, fault.call.name.clone())).or_default();
            *rank += 1;
            (*rank, fault)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(count).map(|(_, fault)| fault).collect()
}

impl Figures {
    fn count(&mut self, fault: String, tried: Tried) {
        match tried {
            Tried::Missed => self.missed.push(fault),
            Tried::Shadowed => self.shadowed += 1,
            Tried::Ended(Outcome::Refused) => self.refused += 1,
            Tried::Ended(Outcome::Harmless) => self.harmless += 1,
            Tried::Ended(Outcome::Bad(why)) => self.bad.push(format!("{fault}: {why}")),
        }
    }

    fn say(&self, user: &User, what: &str, took: Duration) {
        let account = if user.is_root() { "root" } else { "user" };
        let (refused, harmless, bad, missed) =
            (self.refused, self.harmless, self.bad.len(), self.missed.len());
        let (points, shadowed) = (self.points, self.shadowed);
        let tried = refused + harmless + bad + missed + shadowed;
        let line = format!(
            "FAULTS {what}, as {account}: {tried} faults at {points} points: {refused} refused, {harmless} harmless, \
             {bad} bad, {shadowed} shadowed, {missed} missed, in {} s\n",
            took.as_secs()
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn verdict(self) -> Verdict {
        let tried = self.refused + self.harmless + self.bad.len();
        // A call that was not made again was in the way of nothing; but when many are missed the faults are not where they should be.
        if self.missed.len() * 20 > tried {
            return Err(format!("no such call: {}\n{}", self.missed.join(", "), self.bad.join("\n")).into());
        }
        if self.bad.is_empty() { Ok(()) } else { Err(self.bad.join("\n").into()) }
    }
}
