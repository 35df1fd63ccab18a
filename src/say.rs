//! What is said and where: answers on stdout, messages on stderr. Nothing else in the program prints.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::{Output, When};
use crate::diag::{self, Diagnose, Severity};

/// sbx itself refused or failed, and nothing ran.
pub(crate) const REFUSED: u8 = 125;

/// Tells of an error, which ends with that status.
pub(crate) fn refuse(error: &dyn Diagnose, status: u8, output: Output) -> ExitCode {
    tell(&diag::render(Severity::Error, error, wants_color(output)));
    ExitCode::from(status)
}

/// Whether messages are coloured.
pub(crate) fn wants_color(output: Output) -> bool {
    colors(output, std::io::stderr().is_terminal())
}

/// Whether what goes there is coloured.
pub(crate) fn colors(output: Output, is_terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match output.color {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
            is_terminal && !set("NO_COLOR") && !dumb
        }
    }
}

/// A message. When stderr is gone there is nobody left to tell.
pub(crate) fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// An answer on stdout. A reader that left early, as `head` does, has what it wanted.
pub(crate) fn print(text: &str) -> ExitCode {
    print_bytes(text.as_bytes())
}

/// The same in bytes.
pub(crate) fn print_bytes(text: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&format!("sbx: error: cannot write the answer: {error}\n"));
            ExitCode::from(REFUSED)
        }
        _ => ExitCode::SUCCESS,
    }
}
