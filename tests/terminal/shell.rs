//! The shells.

use crate::common::{Case, Need, User, Verdict};

/// What each of them shows when it waits for a command.
pub(crate) const PROMPT: &str = "at-prompt> ";

/// A shell that people use at a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Dash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) const ALL: [Self; 4] = [Self::Bash, Self::Dash, Self::Zsh, Self::Fish];

    /// Its program.
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Dash => "dash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// How it is started: interactive, and without anybody's settings.
    pub(crate) fn command(self) -> Vec<&'static str> {
        match self {
            Self::Bash => vec!["bash", "--norc", "--noprofile", "-i"],
            Self::Dash => vec!["dash", "-i"],
            Self::Zsh => vec!["zsh", "-f", "-i"],
            Self::Fish => vec![
                "fish",
                "--no-config",
                "-i",
                "-C",
                "function fish_prompt; echo -n 'at-prompt> '; end; set fish_greeting",
            ],
        }
    }

    /// The last status.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Fish => "$status",
            _ => "$?",
        }
    }

    /// What it says of a command with this status that it had stopped and brought back.
    pub(crate) fn status_of_resumed(self, status: i32) -> i32 {
        match self {
            // Its `fg` has a status of its own.
            Self::Fish => 0,
            _ => status,
        }
    }

    /// Whether it edits the line itself, in modes of its own.
    pub(crate) fn edits_lines(self) -> bool {
        self != Self::Dash
    }

    /// Three times the same command.
    pub(crate) fn three_times(self, body: &str) -> String {
        match self {
            Self::Fish => format!("for i in 1 2 3; {body}; end"),
            _ => format!("for i in 1 2 3; do {body}; done"),
        }
    }

    /// A case in this shell.
    pub(crate) fn case(self, name: &str, body: fn(&User, Self) -> Verdict) -> Case {
        let case = Case::new(&format!("{name}::{self}"), move |user| body(user, self));
        case.needs(Need::Program(self.name())).needs(Need::Program("setsid"))
    }

    /// A case in each of these shells.
    pub(crate) fn cases(shells: &[Self], name: &str, body: fn(&User, Self) -> Verdict) -> Vec<Case> {
        shells.iter().map(|shell| shell.case(name, body)).collect()
    }
}

impl std::fmt::Display for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Cases in all shells, each named after its function.
macro_rules! in_shells {
    ($shells:expr, $($part:ident)::+) => {
        $crate::shell::Shell::cases(&$shells, stringify!($($part)::+), $($part)::+)
    };
}
pub(crate) use in_shells;
