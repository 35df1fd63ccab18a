//! Calls that the filter refuses, without ever making one of them: see the probe's `past-the-filter`.

use crate::common::{Account, process};
use crate::probe;
use crate::row::{Attempt, Reach};
use libtest_mimic::Failed;
use std::process::{Command, Stdio};

/// A call, and what the filter answers to it.
pub(crate) struct Listed {
    name: String,
    arguments: String,
    refusal: &'static str,
}

impl Listed {
    /// The arguments are worded as the probe reads them.
    pub(crate) fn new(name: &str, arguments: impl Into<String>, refusal: &'static str) -> Self {
        Self { name: name.to_owned(), arguments: arguments.into(), refusal }
    }

    /// A call without a name, by its number.
    pub(crate) fn numbered(number: u32, refusal: &'static str) -> Self {
        Self::new(&number.to_string(), "0", refusal)
    }

    /// How a tracer calls it.
    fn traced_as(&self) -> String {
        self.name.parse().map_or_else(|_| self.name.clone(), |number: u32| format!("syscall_{number:#x}"))
    }
}

/// What came past the filter in the probe's own listener answers.
const PASSED: &str = "ENOTUNIQ";

/// Whether all of these calls come past the filter, or are all refused as they should be.
pub(crate) fn sweep(attempt: &Attempt<'_>, calls: &[Listed]) -> Result<Reach, Failed> {
    let words: Vec<_> = calls.iter().map(|call| format!("{}:{}", call.name, call.arguments)).collect();
    let mut arguments = vec!["past-the-filter"];
    arguments.extend(words.iter().map(String::as_str));
    let mut names: Vec<_> = calls.iter().map(Listed::traced_as).collect();
    names.sort_unstable();
    names.dedup();
    // Only a tracer that traces everything shows what it has no name for.
    let unknown = names.iter().any(|name| name.starts_with("syscall_"));
    let traced = if unknown { "all".to_owned() } else { names.join(",") };
    let ended = attempt.traced_all(&traced, &[], &arguments)?;
    // None of them can succeed, as what comes past the filter is answered too; what does is the listener's own.
    let ended: Vec<_> = ended.iter().filter(|(name, result)| names.contains(name) && result != "0").collect();
    // In order, the calls of the list are what was made last: the program may have used some of them before.
    let ended = ended.get(ended.len().saturating_sub(calls.len())..).unwrap_or_default();
    if ended.len() != calls.len() {
        return Err(format!("{} of {} calls were made", ended.len(), calls.len()).into());
    }
    let mut passed = Vec::new();
    for (call, (name, result)) in calls.iter().zip(ended) {
        match result == PASSED {
            _ if *name != call.traced_as() => return Err(format!("{name} came for {}", call.name).into()),
            false if result != call.refusal => {
                return Err(format!("{}:{} is answered {result}", call.name, call.arguments).into());
            }
            came_past => passed.push((call.arguments.as_str(), came_past)),
        }
    }
    Reach::of_all(passed)
}

/// A filter around the test itself, as a container has it, would refuse where this one's absence is to be seen.
pub(crate) fn no_other_filter(_: &Account) -> Option<String> {
    let status = process::Status::of(process::own_pid()).ok()?;
    (status.number("Seccomp").ok()? != 0).then(|| "a filter of system calls around the test".to_owned())
}

/// Why an attack of the probe can't be had on this machine, if it fails outside too.
pub(crate) fn works_outside(word: &str, argument: &str) -> Option<String> {
    let mut probe = Command::new(std::env::current_exe().ok()?);
    probe.args([probe::WORD, word, argument]).stdout(Stdio::null()).stderr(Stdio::null());
    let works = probe.status().is_ok_and(|status| status.success());
    (!works).then(|| format!("{word} {argument} does not work on this machine"))
}
