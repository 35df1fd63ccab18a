//! Completion scripts. They are files of their own, for packages to install, and compiled in, so that the binary alone has them.
#![forbid(unsafe_code)]

use clap::ValueEnum;

/// A shell that there is a script for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// bash, with or without bash-completion.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// The script.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../packaging/completions/sbx.bash"),
            Self::Zsh => include_str!("../../packaging/completions/_sbx"),
            Self::Fish => include_str!("../../packaging/completions/sbx.fish"),
        }
    }
}
