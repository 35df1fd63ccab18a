//! What a verb comes to: what is printed where, and the exit status.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::{ChangesVerb, ImageVerb, Output, Verb};
use crate::exec::Outcome;
use crate::say::{REFUSED, colors, print, print_bytes, refuse, tell};
use crate::verbs::{self, Done, Failed};
use crate::{changes, compare, host, images, sys};

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
    let result = images::carry_out(verb, &host, |line| {
        if shows {
            tell(line)
        }
    });
    match result {
        Ok(text) => print(&text),
        Err(error) => refuse(&error, if error.is_negative() { 1 } else { REFUSED }, output),
    }
}

/// A verb about what sandboxes have changed: 0, 1 for the answer no, 125.
pub(crate) fn compare(verb: &ChangesVerb, output: Output) -> ExitCode {
    let host = match host::probe() {
        Ok(host) => host,
        Err(error) => return refuse(&error, REFUSED, output),
    };
    let terminal = std::io::stdout().is_terminal();
    let look = changes::Look { color: colors(output, terminal), terminal };
    let answer = compare::carry_out(verb, &host, look, &|part| std::io::stdout().write_all(part).is_ok());
    for warning in answer.warnings.iter().filter(|_| !output.quiet) {
        tell(&format!("sbx: warning: {warning}\n"));
    }
    let printed = print_bytes(&answer.text);
    match answer.error {
        None => printed,
        Some(error) => refuse(&error, if error.is_negative() { 1 } else { REFUSED }, output),
    }
}
