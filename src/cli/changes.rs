//! The verbs about what sandboxes have changed.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser};

use super::{Action, Format, UsageError, read_as, run};

/// A layer, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which layer; the newest of the working directory without a name.
    pub name: Option<OsString>,
    /// Only these, and what is below them; everything without any.
    pub paths: Vec<PathBuf>,
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A line for each change.
    Text,
    /// For programs.
    Json,
    /// What has changed in texts.
    Patch,
}

/// What is done with changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangesVerb {
    /// Show them.
    Diff {
        /// Which.
        selection: Selection,
        /// The shape of the answer.
        shape: Shape,
    },
    /// Carry them over.
    Apply {
        /// Which.
        selection: Selection,
        /// Only say what would be done.
        dry_run: bool,
    },
}

impl ChangesVerb {
    /// As it is typed.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Diff { .. } => "diff",
            Self::Apply { .. } => "apply",
        }
    }
}

/// What both verbs take.
#[derive(Debug, Args)]
struct Words {
    /// The layer, without it the newest of this directory; then paths in it
    #[arg(value_name = "NAME PATH")]
    words: Vec<OsString>,
    /// Paths in the layer
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Words {
    fn selection(self) -> Selection {
        let mut words = self.words.into_iter();
        let name = words.next();
        Selection { name, paths: words.map(PathBuf::from).chain(self.paths).collect() }
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx diff",
    about = "Shows what a sandbox has changed in a layer",
    override_usage = "sbx diff [OPTIONS] [NAME [PATH]...] [-- PATH...]",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct DiffCommand {
    /// Print what has changed in texts, as `git apply` takes it
    #[arg(short, long, conflicts_with_all = ["format", "json"])]
    patch: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    messages: run::Messages,
    #[command(flatten)]
    words: Words,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx apply",
    about = "Carries what a sandbox has changed in a layer over to the directory itself",
    override_usage = "sbx apply [OPTIONS] [NAME [PATH]...] [-- PATH...]",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct ApplyCommand {
    /// Check everything and say what would be done, but change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    messages: run::Messages,
    #[command(flatten)]
    words: Words,
}

/// The `clap` commands.
pub(super) fn commands() -> [clap::Command; 2] {
    [DiffCommand::command(), ApplyCommand::command()]
}

/// Reads what follows `diff`.
pub(super) fn diff(rest: &[OsString]) -> Result<Action, UsageError> {
    read_as(rest, Action::Changes, |DiffCommand { patch, format, json, messages, words }| {
        let shape = match format {
            _ if patch => Shape::Patch,
            Format::Text if !json => Shape::Text,
            _ => Shape::Json,
        };
        (ChangesVerb::Diff { selection: words.selection(), shape }, messages)
    })
}

/// Reads what follows `apply`.
pub(super) fn apply(rest: &[OsString]) -> Result<Action, UsageError> {
    read_as(rest, Action::Changes, |ApplyCommand { dry_run, messages, words }| {
        (ChangesVerb::Apply { selection: words.selection(), dry_run }, messages)
    })
}
