//! What a start costs, against bubblewrap and against the least that the kernel asks for; what each wall adds to it; what
//! system calls cost inside; what stays in memory.
//!
//! `BWRAP=path cargo bench`, with the shipped binary of `.ci/release`. `SBX=path` measures another one, `ROUNDS=N`
//! takes more or fewer runs of each than 400, `QUICK=1` only shows that everything runs, `ONLY=limits` measures what limits
//! cost and nothing else, as a guest does, `ONLY=layers` what root filesystems of layers do, `ONLY=changes` what showing
//! changes does, and `ONLY=images` what an import does. Prints Markdown.
//!
//! The machine is never quiet enough for numbers that stand alone, so what is compared runs in turns, and the ratio of
//! the medians is what counts. Started as root, it measures as an ordinary user.

mod calls;
mod changes;
#[path = "../common/mod.rs"]
mod common;
mod contender;
mod images;
mod layered;
mod limited;
mod memory;
mod sections;
mod table;
mod timing;
mod walls;
mod workplace;

use std::io::Write as _;
use std::process::ExitCode;

/// What went wrong, for people.
pub(crate) type Problem = String;

fn main() -> ExitCode {
    if let Some(code) = walls::answer() {
        return code;
    }
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Problem> {
    let plan = Effort::from_environment()?;
    if let Some(place) = workplace::Workplace::inherited() {
        return sections::timed(&place, plan);
    }
    let place = workplace::Workplace::new()?;
    say(&place.machine()?);
    place.as_ordinary_user(|place| sections::timed(place, plan))?;
    sections::memory(&place)
}

/// Prints a part of the report.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Runs of each contender in a section of cheap runs.
    pub(crate) rounds: usize,
    /// Only what shows that everything works.
    pub(crate) quick: bool,
}

impl Effort {
    fn from_environment() -> Result<Self, Problem> {
        let quick = std::env::var_os("QUICK").is_some_and(|value| value == "1");
        let usual = if quick { 5 } else { 400 };
        let rounds = match std::env::var("ROUNDS") {
            Ok(text) => text.parse().map_err(|_| format!("ROUNDS is {text}, not a number"))?,
            Err(_) => usual,
        };
        if rounds == 0 { Err("ROUNDS is 0".into()) } else { Ok(Self { rounds, quick }) }
    }
}
