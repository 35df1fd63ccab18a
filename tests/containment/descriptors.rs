//! A1, A2: descriptors that the caller left open.

use crate::common::{Account, Need, output};
use crate::probe;
use crate::row::{Attempt, Reach, Row, canary, ran};
use crate::walls::Wall;
use libtest_mimic::Failed;
use std::fs;
use std::process::Command;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("A1 goes up from an inherited directory", [CLOSED], inherited_directory),
        Row::new("A3 opens its standard output anew", [FILE_RULES], opened_anew)
            .needs(Need::Other(no_landlock)),
        Row::new("A2 reads an inherited file that a loop would miss", [CLOSED], inherited_file),
    ]
}

/// What the caller leaves open is closed. Nobody can ask to keep a directory, but a socket in which one lies is not told
/// from others.
const CLOSED: Wall = Wall {
    name: "descriptors are closed",
    down: |plan| plan.keep_fds = vec![probe::SOCKET_WITH_DIRECTORY, probe::HIGH_FILE],
};

/// Landlock's rules about files, which a profile has to ask for.
const FILE_RULES: Wall = Wall { name: "landlock files", down: |plan| plan.landlock_files = None };

fn no_landlock(_: &Account) -> Option<String> {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_else(|_| "landlock".to_owned());
    (!modules.contains("landlock")).then(|| "Landlock is switched off".to_owned())
}

/// A log that the caller appends to, outside of what the sandbox has, is read through the descriptor.
fn opened_anew(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let log = attempt.user.put("log", format!("{canary}\n"))?;
    let mut caller = attempt.user.command("sh");
    let sandbox = attempt.sbx(&["--set", "landlock.files=true"]);
    caller.args(["-c", "log=$1; shift; exec \"$@\" >>\"$log\"", "sh"]).arg(&log);
    caller.arg(sandbox.get_program()).args(sandbox.get_args());
    caller.args(["sh", "-c", "head -n 1 </proc/self/fd/1 >&2; echo ran >&2"]);
    let out = ran(&mut caller)?;
    out.stderr_has("ran")?;
    Ok(Reach::through_if(out.errors().contains(&canary)))
}

/// A caller who has these open: a directory at several low and high numbers, a socket with the directory in a message, and
/// a file.
fn careless_caller(attempt: &Attempt<'_>, canary: &str, command: &Command) -> Result<Command, Failed> {
    let directory = attempt.user.mkdir("secrets/directory")?;
    let file = attempt.user.put("secrets/file", canary)?;
    let mut caller = attempt.user.command(attempt.user.edited_path());
    caller.args([probe::WORD, "leave-open"]).args([directory, file]);
    caller.arg(command.get_program()).args(command.get_args());
    Ok(caller)
}

/// The probe has to be good enough for a program that closes nothing.
fn finds_it_outside(attempt: &Attempt<'_>, word: &str, times: usize, canary: &str) -> Result<(), Failed> {
    let mut probe = attempt.user.command(attempt.user.edited_path());
    let out = output(&mut careless_caller(attempt, canary, probe.args([probe::WORD, word]))?)?;
    out.check(out.text().matches(canary).count() == times, || format!("{times} ways outside"))?;
    Ok(())
}

fn inherited_directory(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    finds_it_outside(attempt, "read-above-directories", 4, &canary)?;
    let probe = attempt.probe(&[], &["read-above-directories"]);
    let out = ran(&mut careless_caller(attempt, &canary, &probe)?)?;
    Ok(Reach::through_if(out.text().contains(&canary)))
}

/// Also where the kernel has no call to close them all: then nothing runs.
fn inherited_file(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    finds_it_outside(attempt, "read-descriptors", 1, &canary)?;
    let probe = attempt.probe(&[], &["read-descriptors"]);
    let plain = ran(&mut careless_caller(attempt, &canary, &probe)?)?;
    let mut strace = attempt.user.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=close_range:error=ENOSYS"]);
    strace.arg(probe.get_program()).args(probe.get_args());
    let old = output(&mut careless_caller(attempt, &canary, &strace)?)?;
    let same = old.status.code() == Some(125) || old.text() == plain.text();
    old.check(same, || "exits with 125, or says the same as with close_range".to_owned())?;
    Ok(Reach::through_if(plain.text().contains(&canary) || old.text().contains(&canary)))
}
