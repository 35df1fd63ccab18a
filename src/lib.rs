//! sbx runs a program that its user does not trust, in a sandbox of Linux namespaces, without root.
//!
//! ```text
//! argv ── cli ──────► Invocation ┐
//! TOML ── profile ──► Profile    ├─► plan::resolve ─► Plan ─┬─► exec::run ─► Outcome ─► ExitCode
//! machine ── host ──► Host       ┘   pure, no I/O           └─► explain (text, JSON)
//! ```
//!
//! The library exists for the tests, which edit a [`plan::Plan`] and run it; it promises no stable interface.

mod answers;
mod bytes;
pub mod cause;
pub mod cgroup;
pub mod changes;
pub mod cli;
mod compare;
mod deadline;
pub mod diag;
pub mod doctor;
pub mod exec;
pub mod explain;
pub mod host;
pub mod image;
mod images;
pub mod invocation;
pub mod layers;
pub mod manage;
pub mod plan;
pub mod profile;
pub mod registry;
mod removal;
mod report;
mod say;
pub mod seccomp;
pub mod status;
pub mod sys;
mod verbs;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cli::{Action, Format, ListFormat, Output, UsageError};
use deadline::Deadline;
use diag::{Diagnose, Severity};
use doctor::DoctorError;
use exec::{ExecError, Finished, Outcome, Started};
use host::{Host, HostError, SubordinateIds, WorkingDirectory};
use image::{Held, Image};
use invocation::Invocation;
use plan::{Plan, PlanError};
use profile::search::SearchPath;
use profile::{Profile, ProfileError, load};
use say::{REFUSED, colors, print, tell, wants_color};
use status::StatusLines;

/// Why nothing ran: an error of the stage that found it.
#[derive(Debug)]
pub enum Error {
    /// The command line.
    Usage(UsageError),
    /// The machine.
    Host(HostError),
    /// A profile.
    Profile(ProfileError),
    /// The plan.
    Plan(PlanError),
    /// Its execution.
    Exec(ExecError),
    /// The doctor.
    Doctor(DoctorError),
}

impl Error {
    fn exit_status(&self) -> u8 {
        match self {
            Error::Exec(error) => error.exit_code(),
            _ => REFUSED,
        }
    }

    fn diagnose(&self) -> &dyn Diagnose {
        match self {
            Error::Usage(error) => error,
            Error::Host(error) => error,
            Error::Profile(error) => error,
            Error::Plan(error) => error,
            Error::Exec(error) => error,
            Error::Doctor(error) => error,
        }
    }
}

/// The program: reads its arguments, does what they say, and says how it went. The only function that prints.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        tell(&format!("sbx: error: cannot go on: a bug of its own at {place}\n"));
        sys::process::exit_now(REFUSED.into());
    }));
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let action = match cli::parse(&arguments) {
        Ok(action) => action,
        Err(UsageError::Bare(usage)) => {
            tell(&usage);
            return ExitCode::from(REFUSED);
        }
        Err(error) => return refuse(&Error::Usage(error), Output::default()),
    };
    match action {
        Action::Run(invocation, output) => match run(&invocation, output) {
            Ok(outcome) => answers::end_as(outcome),
            Err(error) => refuse(&error, output),
        },
        Action::Explain(invocation, format, output) => match explain(&invocation, format, output) {
            Ok(text) => print(&text),
            Err(error) => refuse(&error, output),
        },
        Action::Check { files, deny_warnings, output } => check(&files, deny_warnings, output),
        Action::Profiles(format, output) => match profiles(format) {
            Ok(text) => print(&text),
            Err(error) => refuse(&error, output),
        },
        Action::Doctor(format, output) => match doctor(format, output) {
            Ok(code) => code,
            Err(error) => refuse(&error, output),
        },
        Action::Manage(verb, output) => answers::manage(verb, output),
        Action::Changes(verb, output) => answers::compare(&verb, output),
        Action::Image(verb, output) => answers::images(verb, output),
        Action::Print(text) => print(&text),
    }
}

fn run(invocation: &Invocation, output: Output) -> Result<Outcome, Error> {
    let status = StatusLines::to(invocation.status_fd)
        .map_err(|_| Error::Plan(PlanError::BadStatusDescriptor(invocation.status_fd.unwrap_or_default())))?;
    // Before sbx opens anything of its own, which could be taken for it.
    let is_closed = |fd: &&i32| **fd >= 3 && sys::process::inherited(**fd).is_err();
    let closed = invocation.keep_fds.iter().find(is_closed);
    let result = match closed {
        Some(fd) => Err(Error::Exec(ExecError::Descriptor { fd: *fd, why: "it is not open".to_owned() })),
        None => run_with(&status, invocation, output),
    };
    result
        .inspect(|finished| status.ended(finished))
        .inspect_err(|error| status.failed(&error.diagnose().to_string(), error.exit_status()))
        .map(|finished| finished.outcome)
}

fn run_with(status: &StatusLines, invocation: &Invocation, output: Output) -> Result<Finished, Error> {
    let lines = *status;
    let deadline = Deadline::start(REFUSED, move |message| lines.failed(message, REFUSED));
    let (plan, _held) = plan_and_hold(invocation, output)?;
    if plan.command.is_empty() {
        return Err(Error::Usage(UsageError::NoCommand));
    }
    if output.verbose {
        tell(&format!(
            "sbx: profile {} ({})\n",
            diag::escape(&plan.profile),
            diag::escape(plan.layers.join(", "))
        ));
    }
    for miss in plan.misses.iter().filter(|_| !output.quiet) {
        tell(&format!("sbx: warning: {miss}\n"));
    }
    let started = |started: Started<'_>| {
        for miss in started.misses.iter().filter(|_| !output.quiet) {
            tell(&format!("sbx: warning: {miss}\n"));
        }
        status.started(&plan, started);
    };
    let finished = exec::run_and_tell(&plan, || drop(deadline), started).map_err(Error::Exec)?;
    for line in report::of_end(&plan, &finished).iter().filter(|_| !output.quiet) {
        tell(&format!("sbx: warning: {line}\n"));
    }
    for line in report::of_changes(&finished).iter().filter(|_| !output.quiet) {
        tell(&format!("sbx: {line}\n"));
    }
    if plan.report {
        tell(&report::of_use(&finished));
    }
    Ok(finished)
}

fn explain(invocation: &Invocation, format: Format, output: Output) -> Result<String, Error> {
    let plan = plan(invocation, output)?;
    Ok(match format {
        Format::Text => explain::text(&plan),
        Format::Json => explain::json(&plan).unwrap_or_default(),
    })
}

/// The plan of an invocation on this machine.
///
/// # Errors
/// [`Error`] of the stage that found it: nothing was touched.
pub fn plan(invocation: &Invocation, output: Output) -> Result<Plan, Error> {
    plan_and_hold(invocation, output).map(|(plan, _)| plan)
}

/// The same, with the layers of the image that it wants, which nobody removes meanwhile.
fn plan_and_hold(invocation: &Invocation, output: Output) -> Result<(Plan, Option<Held>), Error> {
    let mut host = host::probe().map_err(Error::Host)?;
    let search = SearchPath::new(host.config_home.as_deref());
    let names = if invocation.profiles.is_empty() {
        matching_profile(invocation, &host, &search)?.map(OsString::from).into_iter().collect()
    } else {
        invocation.profiles.clone()
    };
    let (profile, warnings) =
        load::load_with_warnings(&names, &invocation.set, &search, host.uid).map_err(Error::Profile)?;
    for warning in warnings.iter().filter(|_| !output.quiet) {
        tell(&diag::render(Severity::Warning, warning, wants_color(output)));
    }
    let wanted = plan::wanted(&profile, invocation, &host).map_err(Error::Plan)?;
    host.look_at(&wanted).map_err(Error::Host)?;
    let held = host.image.as_ref().map(Image::hold).transpose();
    let held = held.map_err(|error| Error::Host(HostError::Image(error)))?;
    Ok((plan::resolve(&profile, invocation, &host).map_err(Error::Plan)?, held))
}

/// The profile whose `match` has the command's real path.
fn matching_profile(
    invocation: &Invocation,
    host: &Host,
    search: &SearchPath,
) -> Result<Option<String>, Error> {
    let cwd = match &host.cwd {
        WorkingDirectory::Known(path) => Some(path.as_path()),
        _ => None,
    };
    let Some(command) = invocation.command.first() else { return Ok(None) };
    let Some(path) = host::find_command(command, host.variable("PATH"), cwd, true) else { return Ok(None) };
    let Ok(real) = std::fs::canonicalize(path) else { return Ok(None) };
    load::find_match(&real, search, host.uid).map_err(Error::Profile)
}

/// `sbx check`: 0 when every file is fine, 1 when one is not.
fn check(files: &[PathBuf], deny_warnings: bool, output: Output) -> ExitCode {
    let host = match host::probe() {
        Ok(host) => host,
        Err(error) => return refuse(&Error::Host(error), output),
    };
    let search = SearchPath::new(host.config_home.as_deref());
    let mut fine = true;
    for file in files {
        match check_file(file, &host, &search) {
            Ok((_, warnings)) => {
                for warning in &warnings {
                    tell(&diag::render(Severity::Warning, warning, wants_color(output)));
                }
                fine &= warnings.is_empty() || !deny_warnings;
            }
            Err(error) => {
                tell(&diag::render(Severity::Error, error.diagnose(), wants_color(output)));
                fine = false;
            }
        }
    }
    ExitCode::from(u8::from(!fine))
}

/// A profile must load, and plan: a key that is not built yet is a mistake too.
fn check_file(
    file: &Path,
    host: &Host,
    search: &SearchPath,
) -> Result<(Profile, Vec<profile::Warning>), Error> {
    let (profile, warnings) = load::check(file, search, host.uid).map_err(Error::Profile)?;
    // Planned for a directory that every machine has and no rule forbids, and ids that not every user has, so that only the
    // profile is judged.
    let cwd = WorkingDirectory::Known("/nonexistent/project".into());
    let ids = vec![(100_000, 65_536)];
    let subordinate = SubordinateIds { uids: ids.clone(), gids: ids };
    let host = Host { cwd, subordinate, ..host.clone() };
    plan::resolve(&profile, &Invocation::default(), &host).map_err(Error::Plan)?;
    Ok((profile, warnings))
}

/// `sbx profiles`.
fn profiles(format: ListFormat) -> Result<String, Error> {
    let host = host::probe().map_err(Error::Host)?;
    let search = SearchPath::new(host.config_home.as_deref());
    if format == ListFormat::Names {
        // A shell asks while somebody types: no file is opened for it.
        return Ok(search.every_name().into_iter().map(|name| name + "\n").collect());
    }
    let listings = load::list(&search, host.uid);
    if format == ListFormat::Json {
        return Ok(serde_json::to_string_pretty(&listings).unwrap_or_default() + "\n");
    }
    let width = listings.iter().map(|listing| listing.name.chars().count()).max().unwrap_or(0);
    let line = |listing: &profile::Listing| {
        let (name, description) = (diag::escape(&listing.name), diag::escape(&listing.description));
        let source = match listing.source.as_str() {
            "built-in" => String::new(),
            source => format!("  [{}]", diag::escape(source)),
        };
        format!("{name:<width$}  {description}{source}\n")
    };
    Ok(listings.iter().map(line).collect())
}

/// `sbx doctor`: 0 when sandboxes work here, 1 when something that they need is missing.
fn doctor(format: Format, output: Output) -> Result<ExitCode, Error> {
    let facts = doctor::examine().map_err(Error::Doctor)?;
    let findings = doctor::diagnose(&facts);
    let printed = print(&match format {
        Format::Text => doctor::text(&findings, colors(output, std::io::stdout().is_terminal())),
        Format::Json => doctor::json(&findings),
    });
    let answer = if doctor::works(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(if printed == ExitCode::SUCCESS { answer } else { printed })
}

fn refuse(error: &Error, output: Output) -> ExitCode {
    say::refuse(error.diagnose(), error.exit_status(), output)
}
