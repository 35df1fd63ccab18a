//! The command line: argv in, [`Action`] out. Nothing is looked up here and nothing printed.
#![forbid(unsafe_code)]

mod changes;
mod completions;
mod error;
mod help;
mod images;
mod layers;
mod run;
mod verbs;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::invocation::Invocation;
use crate::profile;

use help::AFTER_HELP;

pub use changes::{ChangesVerb, Selection, Shape};
pub use error::UsageError;
pub use images::{ImageVerb, TypedBounds};
pub use run::RunOptions;
pub use verbs::Verb;

/// Words that are verbs in first position; those of parts that do not exist yet are reserved.
pub const VERBS: &[&str] = &[
    "run",
    "explain",
    "check",
    "profiles",
    "doctor",
    "ps",
    "exec",
    "stats",
    "pause",
    "resume",
    "stop",
    "wait",
    "limit",
    "diff",
    "apply",
    "discard",
    "layers",
    "gc",
    "logs",
    "image",
    "pod",
    "oci",
    "desktop",
    "learn",
    "why",
    "completions",
    "version",
    "help",
];

/// How messages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Say what is chosen.
    pub verbose: bool,
    /// No warnings.
    pub quiet: bool,
    /// When to use colour.
    pub color: When,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The shape of a verb's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The shape of a list of profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For shells: a name a line.
    Names,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Run a command.
    Run(Invocation, Output),
    /// Print the plan of such a run.
    Explain(Invocation, Format, Output),
    /// Check profile files.
    Check {
        /// The files.
        files: Vec<PathBuf>,
        /// A warning is a negative answer.
        deny_warnings: bool,
        /// How messages look.
        output: Output,
    },
    /// List profiles.
    Profiles(ListFormat, Output),
    /// Say whether sandboxes work here.
    Doctor(Format, Output),
    /// Do something with sandboxes that run.
    Manage(Verb, Output),
    /// Do something with what sandboxes have changed.
    Changes(ChangesVerb, Output),
    /// Do something with images.
    Image(ImageVerb, Output),
    /// Print a text on stdout: help, version, a script, a schema.
    Print(String),
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx",
    about = "Runs a program you do not trust in a sandbox, without root",
    override_usage = "sbx [OPTIONS] [--] COMMAND [ARG]...\n       sbx VERB ...",
    after_help = AFTER_HELP,
    disable_version_flag = true,
    disable_help_flag = true
)]
struct RunCommand {
    #[command(flatten)]
    options: RunOptions,
    /// Print the version
    #[arg(short = 'V', long, help_heading = "Messages")]
    version: bool,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = false, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx explain",
    about = "Prints what a run would do, and which file or option asked for it; runs nothing",
    override_usage = "sbx explain [OPTIONS] [--] [COMMAND [ARG]...]",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct ExplainCommand {
    #[command(flatten)]
    options: RunOptions,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Messages")]
    format: Format,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx check",
    about = "Checks profile files; exit status 0 when all are fine, 1 when one is not",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct CheckCommand {
    /// Take a warning for a mistake
    #[arg(long)]
    deny_warnings: bool,
    #[command(flatten)]
    messages: run::Messages,
    /// Profile files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx profiles",
    about = "Lists the profiles that --profile finds by name",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct ProfilesCommand {
    /// For people, for programs, or a name a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ListFormat,
    /// Print the JSON Schema of profiles instead
    #[arg(long, conflicts_with = "format")]
    schema: bool,
    #[command(flatten)]
    messages: run::Messages,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx completions",
    about = "Prints a script that makes a shell complete sbx",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct CompletionsCommand {
    #[command(flatten)]
    messages: run::Messages,
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: completions::Shell,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx doctor",
    about = "Says whether sandboxes work here; exit status 1 when something that they need is missing",
    disable_version_flag = true,
    disable_help_flag = true
)]
struct DoctorCommand {
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    messages: run::Messages,
}

/// The `clap` commands, for tests that compare documentation with them.
pub fn commands() -> Vec<clap::Command> {
    let mut commands = vec![
        RunCommand::command(),
        ExplainCommand::command(),
        CheckCommand::command(),
        ProfilesCommand::command(),
        CompletionsCommand::command(),
        DoctorCommand::command(),
    ];
    commands.extend(verbs::commands());
    commands.extend(layers::commands());
    commands.extend(changes::commands());
    commands.push(images::ImageCommand::command());
    commands
}

/// Reads the arguments, without the program's own name.
///
/// # Errors
/// [`UsageError`].
pub fn parse(arguments: &[OsString]) -> Result<Action, UsageError> {
    let verb = arguments.first().and_then(|word| word.to_str()).filter(|word| VERBS.contains(word));
    let rest = if verb.is_some() { &arguments[1..] } else { arguments };
    match verb {
        None if arguments.is_empty() => Err(UsageError::Bare(usage())),
        None => run(arguments),
        Some("run") => run(rest),
        Some("explain") => explain(rest),
        Some("check") => check(rest),
        Some("profiles") => profiles(rest),
        Some("completions") => completions(rest),
        Some("doctor") => doctor(rest),
        Some("layers") => layers::layers(rest),
        Some("diff") => changes::diff(rest),
        Some("apply") => changes::apply(rest),
        Some("discard") => layers::discard(rest),
        Some("image") => images::parse(rest),
        Some(verb @ ("version" | "help")) if !rest.is_empty() => Err(UsageError::TooMany(verb.to_owned())),
        Some("version") => Ok(Action::Print(version())),
        Some("help") => Ok(Action::Print(RunCommand::command().render_help().to_string())),
        Some(verb) => {
            verbs::parse(verb, rest).unwrap_or_else(|| Err(UsageError::ReservedVerb(verb.to_owned())))
        }
    }
}

fn version() -> String {
    format!("sbx {}\n", env!("CARGO_PKG_VERSION"))
}

fn usage() -> String {
    format!("{}\n", RunCommand::command().render_usage())
}

/// The arguments as `T` and as clap's matches, or the text that was asked for instead.
type Parsed<T> = Result<(T, clap::ArgMatches), Action>;

/// Reads what follows a verb as the action that it is part of.
fn read_as<T: CommandFactory + FromArgMatches, V>(
    rest: &[OsString],
    action: impl FnOnce(V, Output) -> Action,
    verb: impl FnOnce(T) -> (V, run::Messages),
) -> Result<Action, UsageError> {
    Ok(parse_as::<T>(rest)?.map_or_else(
        |text| text,
        |(parsed, _)| {
            let (verb, messages) = verb(parsed);
            action(verb, messages.output())
        },
    ))
}

fn parse_as<T: CommandFactory + FromArgMatches>(arguments: &[OsString]) -> Result<Parsed<T>, UsageError> {
    let command = T::command();
    let wrong = |error: &clap::Error| UsageError::of_clap(error, &command, arguments);
    let words = std::iter::once(OsString::from("sbx")).chain(arguments.iter().cloned());
    match command.clone().try_get_matches_from(words) {
        Ok(matches) => {
            let parsed = T::from_arg_matches(&matches).map_err(|error| wrong(&error))?;
            Ok(Ok((parsed, matches)))
        }
        // The same for -h and --help: a page, not a manual.
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            Ok(Err(Action::Print(command.clone().render_help().to_string())))
        }
        Err(error) => Err(wrong(&error)),
    }
}

fn run(arguments: &[OsString]) -> Result<Action, UsageError> {
    let (parsed, matches) = match parse_as::<RunCommand>(arguments)? {
        Ok(parsed) => parsed,
        Err(text) => return Ok(text),
    };
    if parsed.version {
        return Ok(Action::Print(version()));
    }
    let is_empty = parsed.command.is_empty();
    let (invocation, output) = parsed.options.into_invocation(&matches, parsed.command)?;
    // An image may say what runs.
    let has_image = invocation.root.as_ref().is_some_and(|root| root.as_bytes().starts_with(b"image:"));
    if is_empty && !has_image {
        return Err(UsageError::NoCommand);
    }
    Ok(Action::Run(invocation, output))
}

fn explain(arguments: &[OsString]) -> Result<Action, UsageError> {
    let (parsed, matches) = match parse_as::<ExplainCommand>(arguments)? {
        Ok(parsed) => parsed,
        Err(text) => return Ok(text),
    };
    let (invocation, output) = parsed.options.into_invocation(&matches, parsed.command)?;
    Ok(Action::Explain(invocation, parsed.format, output))
}

fn check(arguments: &[OsString]) -> Result<Action, UsageError> {
    Ok(parse_as::<CheckCommand>(arguments)?.map_or_else(
        |text| text,
        |(parsed, _)| Action::Check {
            files: parsed.files,
            deny_warnings: parsed.deny_warnings,
            output: parsed.messages.output(),
        },
    ))
}

fn profiles(arguments: &[OsString]) -> Result<Action, UsageError> {
    Ok(parse_as::<ProfilesCommand>(arguments)?.map_or_else(
        |text| text,
        |(parsed, _)| match parsed.schema {
            true => Action::Print(profile::JSON_SCHEMA.to_owned()),
            false => Action::Profiles(parsed.format, parsed.messages.output()),
        },
    ))
}

fn completions(arguments: &[OsString]) -> Result<Action, UsageError> {
    Ok(parse_as::<CompletionsCommand>(arguments)?
        .map_or_else(|text| text, |(parsed, _)| Action::Print(parsed.shell.script().to_owned())))
}

fn doctor(arguments: &[OsString]) -> Result<Action, UsageError> {
    Ok(parse_as::<DoctorCommand>(arguments)?
        .map_or_else(|text| text, |(parsed, _)| Action::Doctor(parsed.format, parsed.messages.output())))
}
