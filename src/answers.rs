//! What a verb comes to: what is printed where, and the exit status.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::changes::{self, Ids};
use crate::cli::{ChangesVerb, ImageVerb, Output, Verb};
use crate::compare::{self, Merge};
use crate::diag::{self, Diagnose, Severity};
use crate::exec::{self, ExecError, Outcome, Power};
use crate::plan::Identity;
use crate::say::{self, REFUSED, colors, print, print_bytes, refuse, tell};
use crate::verbs::{self, Done, Failed};
use crate::{host, images, sys};

/// Whoever started sbx sees what it would see of the command.
pub(crate) fn end_as(outcome: Outcome) -> ExitCode {
    if let Outcome::Signaled(signal) = outcome {
        sys::signal::die_of(signal);
    }
    ExitCode::from(outcome.exit_code())
}

/// A verb about sandboxes that run: 0, 1 when there is none of that name, 125; for `exec` the program's own status.
pub(crate) fn manage(verb: Verb, output: Output) -> ExitCode {
    let (word, is_exec) = (verb.word(), matches!(verb, Verb::Exec { .. }));
    let host = match host::probe() {
        Ok(host) => host,
        Err(error) => return refuse(&error, REFUSED, output),
    };
    match verbs::carry_out(verb, host, |text| print(text) == ExitCode::SUCCESS) {
        Ok(Done::Printed(text)) => print(&text),
        Ok(Done::Ended(outcome)) => end_as(outcome),
        Err(Failed::Exec(error)) => refuse(&error, error.exit_code(), output),
        Err(Failed::Manage(error)) => {
            let negative = error.is_negative();
            let status = refuse(&error, if negative && !is_exec { 1 } else { REFUSED }, output);
            if negative && !is_exec {
                tell(&format!("  hint: to run a program of that name: sbx -- {word}\n"));
            }
            status
        }
    }
}

/// A verb about images: 0, 1 when there is none of that name, 125.
pub(crate) fn images(verb: ImageVerb, output: Output) -> ExitCode {
    let host = match host::probe() {
        Ok(host) => host,
        Err(error) => return refuse(&error, REFUSED, output),
    };
    let shows = !output.quiet && std::io::stderr().is_terminal();
    let carry_out = |ids, _| {
        let result = images::carry_out(&verb, &host, ids, |line| {
            if shows {
                tell(line)
            }
        });
        match result {
            Ok(text) => printed(print(&text)),
            Err(error) => refused(&error, error.is_negative(), output),
        }
    };
    let identity = images::kept_layer(&verb, &host).and_then(|layer| exec::owners_of(&layer));
    with_owners(identity, Power::Read, output, carry_out)
}

/// A verb about what sandboxes have changed: 0, 1 for the answer no, 125.
pub(crate) fn compare(verb: &ChangesVerb, output: Output) -> ExitCode {
    let host = match host::probe() {
        Ok(host) => host,
        Err(error) => return refuse(&error, REFUSED, output),
    };
    let terminal = std::io::stdout().is_terminal();
    let look = changes::Look { color: colors(output, terminal), terminal };
    let carry_out = |ids, apart| {
        let merge: Merge<'_> = &exec::merge;
        let merge = Some(merge).filter(|_| apart);
        let print = |part: &[u8]| std::io::stdout().write_all(part).is_ok();
        let answer = compare::carry_out(verb, &host, (ids, merge), look, &print);
        for warning in answer.warnings.iter().filter(|_| !output.quiet) {
            tell(&format!("sbx: warning: {warning}\n"));
        }
        let status = printed(print_bytes(&answer.text));
        answer.error.map_or(status, |error| refused(&error, error.is_negative(), output))
    };
    let layer = compare::place(verb, &host);
    let merges = layer.as_ref().is_some_and(|layer| compare::merges(verb, layer));
    let power = match verb {
        ChangesVerb::Diff { .. } if merges => Power::ReadAndMerge,
        ChangesVerb::Diff { .. } => Power::Read,
        ChangesVerb::Apply { .. } => Power::ReadAndChange,
    };
    // Root reads and changes everything as it is.
    let identity = layer.filter(|_| host.uid != 0).and_then(|layer| exec::owners_of(&layer));
    with_owners(identity.or_else(|| merges.then(exec::alone)), power, output, carry_out)
}

/// Does something, where it is about files of subordinate owners with those ids mapped. Where they can't be mapped any more it is
/// done as well as it can be: what takes them is refused, and a warning says why.
fn with_owners(
    identity: Option<Identity>,
    power: Power,
    output: Output,
    act: impl Fn(Ids, bool) -> u8,
) -> ExitCode {
    let Some(identity) = identity else { return ExitCode::from(act(Ids::Hosts, false)) };
    let ids = if identity.subordinate.is_some() { Ids::Callers } else { Ids::Hosts };
    match exec::within(&identity, power, || act(ids, true)) {
        Ok(status) => ExitCode::from(status),
        Err(error @ ExecError::Unmet { .. }) => {
            if !output.quiet {
                tell(&diag::render(Severity::Warning, &error, say::wants_color(output)));
            }
            ExitCode::from(act(Ids::Hosts, false))
        }
        Err(error) => refuse(&error, REFUSED, output),
    }
}

fn printed(code: ExitCode) -> u8 {
    if code == ExitCode::SUCCESS { 0 } else { REFUSED }
}

/// Tells of an error: 1 for the answer no.
fn refused(error: &dyn Diagnose, is_negative: bool, output: Output) -> u8 {
    let status = if is_negative { 1 } else { REFUSED };
    refuse(error, status, output);
    status
}
