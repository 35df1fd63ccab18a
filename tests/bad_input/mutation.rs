//! A hundred thousand mutations of profiles and command lines, in this process: none panics, and every message about one could be
//! printed as it is.

mod random;
mod seeds;

use crate::common::{Case, User, Verdict, case};
use crate::support::unclean;
use libtest_mimic::Failed;
use random::Random;
use sbx::cli::{self, Action, UsageError};
use sbx::diag::{Diagnose, Severity, render};
use sbx::explain;
use sbx::invocation::Invocation;
use sbx::plan;
use sbx::profile::search::SearchPath;
use sbx::profile::{Profile, load};
use seeds::{TEXT_PIECES, TEXTS, WORD_PIECES, WORDS, bare_host, host};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

pub(crate) fn cases() -> Vec<Case> {
    // Nothing here runs a sandbox, so once will do. What takes longest begins first, in two parts: a processor for each.
    let part = |seed| Case::new(&format!("command_lines_{seed}"), move |user| command_lines(user, seed));
    [part(1), part(3), case!(profiles)].map(Case::only_as_user).into()
}

/// In each part.
const COMMAND_LINES: u32 = 30_000;
const PROFILES: u32 = 40_000;

/// Counts of what the mutations came to.
#[derive(Default)]
struct Tally {
    done: u32,
    refused: u32,
}

impl Tally {
    fn say(&self, what: &str, wanted: u32) -> Verdict {
        let _ = writeln!(std::io::stderr(), "{} mutated {what}: {} refused", self.done, self.refused);
        // Neither all nor none, or the mutations test nothing.
        let odd = self.done != wanted || self.refused < wanted / 10 || self.refused > wanted - wanted / 20;
        if odd { Err(format!("{} of {} refused", self.refused, self.done).into()) } else { Ok(()) }
    }

    /// The message must be fit to print.
    fn told(&mut self, what: &dyn Diagnose, severity: Severity) -> Verdict {
        let text = render(severity, what, false);
        if severity == Severity::Error {
            self.refused += 1;
        }
        let own = |line: &str| ["sbx: ", "  hint: ", "  | "].iter().any(|own| line.starts_with(own));
        match unclean(text.as_bytes()) {
            Some(found) => Err(format!("the message holds {found}: {text:?}").into()),
            None if text.lines().all(own) => Ok(()),
            None => Err(format!("a line is not the message's own: {text:?}").into()),
        }
    }

    /// What a profile and an invocation come to on both machines.
    fn plan(&mut self, profile: &Profile, invocation: &Invocation) -> Verdict {
        let good = plan::resolve(profile, invocation, &host());
        // The bare machine refuses most; only whether it holds counts.
        if let Err(error) = plan::resolve(profile, invocation, &bare_host()) {
            Self::default().told(&error, Severity::Error)?;
        }
        let plan = match good {
            Err(error) => return self.told(&error, Severity::Error),
            Ok(plan) => plan,
        };
        if self.done % 8 == 0 {
            let text = explain::text(&plan);
            explain::json(&plan).map_err(|error| format!("no JSON: {error}"))?;
            if let Some(found) = unclean(text.as_bytes()) {
                return Err(format!("the explanation holds {found}: {text:?}").into());
            }
        }
        Ok(())
    }
}

/// Does it, and says for which input it failed or panicked.
fn guarded(input: &dyn std::fmt::Debug, body: impl FnOnce() -> Verdict) -> Verdict {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => {
            Err(format!("{}\n  input: {input:?}", failure.message().unwrap_or_default()).into())
        }
        Err(_) => Err(format!("a panic\n  input: {input:?}").into()),
    }
}

fn command_lines(user: &User, seed: u64) -> Verdict {
    let mut random = Random::new(0x5eed_0000 + seed);
    let mut tally = Tally::default();
    // Profiles come compiled in only: a mutated name must not open this machine's files.
    let search = SearchPath::from_directories(vec![user.dir().join("none")]);
    for _ in 0..COMMAND_LINES {
        let count = random.below(9);
        let words: Vec<OsString> = (0..count).map(|_| word(&mut random)).collect();
        guarded(&words, || command_line(&words, &search, user.uid(), &mut tally))?;
        tally.done += 1;
    }
    tally.say("command lines", COMMAND_LINES)
}

/// A word of a command line, most often as it should be, and never with a NUL byte, which none can have.
fn word(random: &mut Random) -> OsString {
    let words: Vec<_> = WORDS.split(' ').collect();
    let word = random.one_of(&words).as_bytes();
    let mut word = if random.below(4) == 0 { random.mutate(word, WORD_PIECES) } else { word.to_vec() };
    word.retain(|byte| *byte != 0);
    OsString::from_vec(word)
}

fn command_line(words: &[OsString], search: &SearchPath, uid: u32, tally: &mut Tally) -> Verdict {
    match cli::parse(words) {
        Err(UsageError::Bare(_)) => Ok(()),
        Err(error) => tally.told(&error, Severity::Error),
        Ok(Action::Run(invocation, _) | Action::Explain(invocation, ..)) => {
            let plain = |name: &&OsString| !name.as_bytes().contains(&b'/');
            let names: Vec<_> = invocation.profiles.iter().filter(plain).cloned().collect();
            match load::load(&names, &invocation.set, search, uid) {
                Ok(profile) => tally.plan(&profile, &invocation),
                Err(error) => tally.told(&error, Severity::Error),
            }
        }
        Ok(
            Action::Check { .. }
            | Action::Profiles(..)
            | Action::Doctor(..)
            | Action::Manage(..)
            | Action::Changes(..)
            | Action::Image(..)
            | Action::Print(_),
        ) => Ok(()),
    }
}

fn profiles(user: &User) -> Verdict {
    let mut random = Random::new(0x5eed_0002);
    let mut tally = Tally::default();
    let directory = user.mkdir("profiles")?;
    user.put(directory.join("own.toml"), "schema = 1\nextends = [\"shell\"]\n")?;
    let path = user.put(directory.join("x.toml"), "")?;
    let search = SearchPath::from_directories(vec![directory]);
    for _ in 0..PROFILES {
        let seed = random.one_of(TEXTS);
        let text = match random.below(3) {
            0 => random.mutate(seed.as_bytes(), TEXT_PIECES),
            _ => random.rearrange(seed),
        };
        let line = seed.lines().nth(random.below(8)).unwrap_or("limits.pids = 3");
        let set = String::from_utf8_lossy(&random.mutate(line.as_bytes(), TEXT_PIECES)).into_owned();
        let with_set = random.below(4) == 0;
        guarded(&(OsStr::from_bytes(&text), &set), || {
            profile_text(&path, &text, with_set.then_some(&set), &search, user.uid(), &mut tally)
        })?;
        tally.done += 1;
    }
    tally.say("profiles", PROFILES)
}

fn profile_text(
    path: &PathBuf,
    text: &[u8],
    set: Option<&String>,
    search: &SearchPath,
    uid: u32,
    tally: &mut Tally,
) -> Result<(), Failed> {
    fs::write(path, text)?;
    match load::load_with_warnings(&["x".into()], set.map_or(&[], std::slice::from_ref), search, uid) {
        Err(error) => tally.told(&error, Severity::Error),
        Ok((profile, warnings)) => {
            for warning in &warnings {
                tally.told(warning, Severity::Warning)?;
            }
            tally.plan(&profile, &Invocation { command: vec!["true".into()], ..Invocation::default() })
        }
    }
}
