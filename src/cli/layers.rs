//! The verbs about layers that are kept.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::verbs::read;
use super::{Action, ListFormat, UsageError, Verb, run};

#[derive(Debug, Parser)]
#[command(
    name = "sbx layers",
    about = "Lists the layers that are kept: changes to directories, and of root filesystems",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct LayersCommand {
    /// For people, for programs, or a name a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ListFormat,
    #[command(flatten)]
    messages: run::Messages,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx discard",
    about = "Removes layers that are kept, with all that is in them",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct DiscardCommand {
    #[command(flatten)]
    messages: run::Messages,
    /// Layers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// The `clap` commands.
pub(super) fn commands() -> [clap::Command; 2] {
    [LayersCommand::command(), DiscardCommand::command()]
}

/// Reads what follows `layers`.
pub(super) fn layers(rest: &[OsString]) -> Result<Action, UsageError> {
    read(rest, |LayersCommand { format, messages }| (Verb::Layers { format }, messages))
}

/// Reads what follows `discard`.
pub(super) fn discard(rest: &[OsString]) -> Result<Action, UsageError> {
    read(rest, |DiscardCommand { names, messages }| (Verb::Discard { names }, messages))
}
