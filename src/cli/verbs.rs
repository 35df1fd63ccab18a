//! The verbs about sandboxes that run.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::{Action, Format, ListFormat, Output, UsageError, parse_as, read_as, run};
use crate::invocation::EnvFlag;
use crate::profile::value;

/// What is done with sandboxes that run.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// List them.
    Ps {
        /// The shape of the list.
        format: ListFormat,
    },
    /// Say what they use.
    Stats {
        /// Which; all of them without a name.
        names: Vec<String>,
        /// Again every second, until a key ends it.
        watch: bool,
        /// The shape of the answer.
        format: Format,
    },
    /// Stop everything in them, or let it go on.
    Freeze {
        /// Which.
        names: Vec<String>,
        /// Stop it.
        stop: bool,
    },
    /// End them.
    Stop {
        /// Which.
        names: Vec<String>,
        /// How long they may take.
        grace: Duration,
    },
    /// Set new limits.
    Limit {
        /// Which.
        name: String,
        /// `KEY=VALUE` each.
        settings: Vec<String>,
    },
    /// Run a further program in one.
    Exec {
        /// Which.
        name: String,
        /// Variables besides the sandbox's own.
        env: Vec<EnvFlag>,
        /// Where it starts.
        chdir: Option<PathBuf>,
        /// The program and its arguments.
        command: Vec<OsString>,
    },
    /// List layers that are kept.
    Layers {
        /// The shape of the list.
        format: ListFormat,
    },
    /// Remove them.
    Discard {
        /// Which.
        names: Vec<String>,
    },
}

impl Verb {
    /// As it is typed.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ps { .. } => "ps",
            Self::Stats { .. } => "stats",
            Self::Freeze { stop: true, .. } => "pause",
            Self::Freeze { stop: false, .. } => "resume",
            Self::Stop { .. } => "stop",
            Self::Limit { .. } => "limit",
            Self::Exec { .. } => "exec",
            Self::Layers { .. } => "layers",
            Self::Discard { .. } => "discard",
        }
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx ps",
    about = "Lists the sandboxes that run",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct PsCommand {
    /// For people, for programs, or a name a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ListFormat,
    #[command(flatten)]
    messages: run::Messages,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx stats",
    about = "Says what sandboxes use, and what they may use",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct StatsCommand {
    /// Say it again every second, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    messages: run::Messages,
    /// Sandboxes; all of them without a name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx pause",
    about = "Stops everything in sandboxes until `sbx resume`",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct PauseCommand {
    #[command(flatten)]
    messages: run::Messages,
    /// Sandboxes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx resume",
    about = "Lets sandboxes go on that `sbx pause` has stopped",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct ResumeCommand {
    #[command(flatten)]
    messages: run::Messages,
    /// Sandboxes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx stop",
    about = "Ends sandboxes: SIGTERM for the command, then SIGKILL for everything",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct StopCommand {
    /// How long the command may take to end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::parse_duration, allow_hyphen_values = true)]
    grace: Duration,
    #[command(flatten)]
    messages: run::Messages,
    /// Sandboxes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx limit",
    about = "Sets new limits for a sandbox that runs",
    override_usage = "sbx limit NAME KEY=VALUE...",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct LimitCommand {
    #[command(flatten)]
    messages: run::Messages,
    /// The sandbox
    #[arg(value_name = "NAME")]
    name: String,
    /// A key of `[limits]` and its value, such as memory=1G or cpus=2; `max` lifts a limit
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx exec",
    about = "Runs a further program in a sandbox, as confined as the first",
    override_usage = "sbx exec [OPTIONS] NAME COMMAND [ARG]...",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct ExecCommand {
    /// Set a variable, or pass it on
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,
    /// Start in DIR
    #[arg(long, value_name = "DIR")]
    chdir: Option<PathBuf>,
    #[command(flatten)]
    messages: run::Messages,
    /// The sandbox, the program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "NAME COMMAND")]
    words: Vec<OsString>,
}

/// The `clap` commands.
pub(super) fn commands() -> [clap::Command; 7] {
    [
        PsCommand::command(),
        StatsCommand::command(),
        PauseCommand::command(),
        ResumeCommand::command(),
        StopCommand::command(),
        LimitCommand::command(),
        ExecCommand::command(),
    ]
}

/// Reads what follows one of these verbs; nothing for another one.
pub(super) fn parse(verb: &str, rest: &[OsString]) -> Option<Result<Action, UsageError>> {
    Some(match verb {
        "ps" => read(rest, |PsCommand { format, messages }| (Verb::Ps { format }, messages)),
        "stats" => read(rest, |StatsCommand { names, watch, format, messages }| {
            (Verb::Stats { names, watch, format }, messages)
        }),
        "pause" => {
            read(rest, |PauseCommand { names, messages }| (Verb::Freeze { names, stop: true }, messages))
        }
        "resume" => {
            read(rest, |ResumeCommand { names, messages }| (Verb::Freeze { names, stop: false }, messages))
        }
        "stop" => {
            read(rest, |StopCommand { names, grace, messages }| (Verb::Stop { names, grace }, messages))
        }
        "limit" => {
            read(rest, |LimitCommand { name, settings, messages }| (Verb::Limit { name, settings }, messages))
        }
        "exec" => exec(rest),
        _ => return None,
    })
}

pub(super) fn read<T: clap::CommandFactory + clap::FromArgMatches>(
    rest: &[OsString],
    verb: impl FnOnce(T) -> (Verb, run::Messages),
) -> Result<Action, UsageError> {
    read_as(rest, Action::Manage, verb)
}

fn exec(rest: &[OsString]) -> Result<Action, UsageError> {
    let ExecCommand { env, chdir, messages, words } = match parse_as::<ExecCommand>(rest)? {
        Ok((parsed, _)) => parsed,
        Err(text) => return Ok(text),
    };
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default().to_string_lossy().into_owned();
    // What parts a command from options elsewhere does no harm here.
    let mut command: Vec<OsString> = words.collect();
    if command.first().is_some_and(|word| word == "--") {
        command.remove(0);
    }
    if command.is_empty() {
        return Err(UsageError::NoCommand);
    }
    let env = env.iter().map(|text| run::env_flag(text)).collect::<Result<_, _>>()?;
    let output: Output = messages.output();
    Ok(Action::Manage(Verb::Exec { name, env, chdir, command }, output))
}
