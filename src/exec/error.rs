//! Why a plan could not be carried out.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::cause;
use super::changes::NotApart;
use super::kept;
use super::prepare::Prepared;
use super::servers::Unserved;
use super::step::{DIFFERENCES, Failure, Step};
use super::unrunnable::program_error;
use crate::cause::Cause;
use crate::diag::{Diagnose, Location, errno_words, quote};
use crate::host;
use crate::plan::{BindSource, Mount, MountOp, Plan};
use crate::profile::Origin;
use crate::registry::RegistryError;

/// Why the command did not run, or did not run to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecError {
    /// Something outside the sandbox failed before it was made.
    Outside {
        /// What: `make a pipe`.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// The process that would start it has more than one thread.
    Threads,
    /// There is no `/proc`.
    NoProc(Errno),
    /// A string that the kernel can't take.
    Nul(OsString),
    /// The filter of system calls can't be made.
    Filter(String),
    /// A source is missing or can't be opened.
    Source {
        /// Who asked for it.
        origin: Origin,
        /// Its path.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A source lies behind a link in a directory that this plan lets the sandbox write.
    PlantedSource {
        /// Its mount.
        mount: usize,
        /// The directory of the link.
        directory: PathBuf,
        /// The mount that makes it writable.
        writable: usize,
    },
    /// There is no place in a private home for what is mounted there.
    MountPoint {
        /// Where inside.
        dest: PathBuf,
        /// Where outside.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// A layer that is kept can't be taken.
    Layer {
        /// Its directory.
        path: PathBuf,
        /// Why not; `EWOULDBLOCK` while another sandbox has it.
        errno: Errno,
        /// Who asked for it.
        origin: Origin,
    },
    /// The changes to a directory can't be kept apart.
    NotApart(NotApart),
    /// An overlay is not served, or no longer.
    Unserved(Unserved),
    /// A writable source holds what decides about the next sandbox.
    Guarded {
        /// Its mount.
        mount: usize,
        /// Its path.
        source: PathBuf,
        /// What it holds, or lies in.
        guarded: PathBuf,
    },
    /// The place of something protected can't be held.
    Placeholder {
        /// Its path.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// A descriptor that can't be handed over.
    Descriptor {
        /// Which.
        fd: i32,
        /// Why not.
        why: String,
    },
    /// The namespaces could not be made.
    Clone {
        /// Why, as far as the machine tells.
        cause: Cause,
        /// The kernel's word.
        errno: Errno,
    },
    /// A step inside failed.
    Step {
        /// Which, and why.
        failure: Failure,
        /// What it was about, in words.
        object: String,
        /// Why, as far as the machine tells.
        cause: Option<Cause>,
    },
    /// The program does not exist, inside at least.
    NotFound {
        /// As typed.
        command: OsString,
        /// Where it is outside.
        outside: Option<PathBuf>,
    },
    /// The program can't be executed.
    NotExecutable {
        /// Where it is inside.
        path: PathBuf,
        /// Why not.
        why: String,
        /// What would have to be visible inside, and is not.
        outside: Option<PathBuf>,
    },
    /// What somebody insists on can't be had.
    Unmet {
        /// What: `limit memory`.
        what: String,
        /// Why not.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A sandbox did not run a further program.
    Refused {
        /// In whole words.
        message: String,
        /// The exit status for it.
        status: u8,
    },
    /// The sandbox can't be registered by the name that was asked for.
    Registry(RegistryError),
    /// The set-up inside took longer than this: a source does not answer.
    NoAnswer(std::time::Duration),
    /// The process that started sbx, which was to be watched, is in another PID namespace.
    ForeignParent,
    /// PID 1 was killed before it could say how the payload ended, or before there was one.
    InitKilled {
        /// Whether the command ran.
        ran: bool,
    },
}

impl ExecError {
    pub(super) fn descriptor(fd: i32, errno: Errno) -> Self {
        let why = if errno == Errno::EBADF { "it is not open".to_owned() } else { errno_words(errno) };
        ExecError::Descriptor { fd, why }
    }

    /// The exit status that sbx reports it by.
    pub fn exit_code(&self) -> u8 {
        match self {
            ExecError::NotFound { .. } => 127,
            ExecError::NotExecutable { .. } => 126,
            ExecError::InitKilled { ran: true } | ExecError::Unserved(Unserved { ran: true, .. }) => 137,
            ExecError::Refused { status, .. } => *status,
            _ => 125,
        }
    }

    /// The message for a step that failed inside.
    pub(super) fn of_failure(plan: &Plan, prepared: &Prepared, failure: Failure) -> Self {
        let item = failure.item as usize;
        let object = match failure.step {
            Step::Exec | Step::Interpreter => {
                let command = plan.command.first().cloned().unwrap_or_default();
                let tried = prepared.candidates.len().min(plan.candidates.len());
                return program_error(&command, &plan.candidates[..tried], failure);
            }
            Step::Directory => quote(&plan.directory.value.0),
            Step::Descriptors => plan.keep_fds.get(item).map_or_else(String::new, ToString::to_string),
            Step::Hostname => quote(&plan.hostname.value),
            Step::Confirm => (*DIFFERENCES.get(item).unwrap_or(&"")).to_owned(),
            Step::Source => plan.mounts.get(item).map_or_else(String::new, source_in_words),
            Step::Protect
            | Step::ConfirmMount
            | Step::Restrict
            | Step::Filesystem
            | Step::Target
            | Step::PlantedLink
            | Step::Attach
            | Step::Create => {
                let island = || prepared.protection.islands.keys().nth(item - plan.mounts.len());
                let dest = plan.mounts.get(item).map(|mount| &mount.dest).or_else(island);
                dest.map_or_else(String::new, quote)
            }
            _ => String::new(),
        };
        let cause = cause::of_step(plan, failure);
        ExecError::Step { failure, object, cause }
    }
}

impl ExecError {
    /// The message for a program that was to join a sandbox.
    pub(super) fn of_joining(plan: &Plan, command: &OsStr, candidates: &[PathBuf], failure: Failure) -> Self {
        let object = match failure.step {
            Step::Exec | Step::Interpreter => return program_error(command, candidates, failure),
            Step::Confirm => (*DIFFERENCES.get(failure.item as usize).unwrap_or(&"")).to_owned(),
            _ => String::new(),
        };
        ExecError::Step { failure, object, cause: cause::of_step(plan, failure) }
    }
}

fn source_in_words(mount: &Mount) -> String {
    match &mount.op {
        MountOp::Bind { source: BindSource::Path(path), .. } | MountOp::Device { source: path, .. } => {
            quote(path)
        }
        MountOp::Bind { source: BindSource::Fd(fd), .. } => format!("what descriptor {fd} refers to"),
        _ => quote(&mount.dest),
    }
}

const FOREIGN_PARENT: &str = "cannot watch the process that started sbx: it is outside of this PID namespace";

/// Why there is no place for a mount.
fn in_the_way(errno: Errno) -> String {
    match errno {
        Errno::ELOOP => "a symlink is there, which the sandbox may have planted".to_owned(),
        Errno::ENOTDIR | Errno::EISDIR => "something else is there".to_owned(),
        other => errno_words(other),
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecError::Outside { what, errno } => write!(f, "cannot {what}: {}", errno_words(*errno)),
            ExecError::Threads => f.write_str("cannot start a sandbox from a process with several threads"),
            ExecError::NoProc(errno) => write!(f, "cannot read `/proc`: {}", errno_words(*errno)),
            ExecError::Filter(why) => write!(f, "cannot make the filter of system calls: {why}"),
            ExecError::Nul(text) => write!(f, "cannot pass on {}: it holds a NUL byte", quote(text)),
            ExecError::Source { path, errno, .. } => {
                write!(f, "cannot bind {}: {}", quote(path), errno_words(*errno))
            }
            ExecError::PlantedSource { directory, .. } => write!(
                f,
                "cannot bind through a symlink in {}: the sandbox can write there and may have planted it",
                quote(directory)
            ),
            ExecError::MountPoint { dest, path, errno } => {
                write!(f, "cannot make {} the place for {}: {}", quote(path), quote(dest), in_the_way(*errno))
            }
            ExecError::Layer { path, errno, .. } => f.write_str(&kept::why(path, *errno)),
            ExecError::NotApart(error) => error.fmt(f),
            ExecError::Unserved(error) => error.fmt(f),
            ExecError::Guarded { source, guarded, .. } => write!(
                f,
                "cannot make {} writable: sbx reads {} to decide what the next sandbox may do",
                quote(source),
                quote(guarded)
            ),
            ExecError::Placeholder { path, errno: Errno::EEXIST } => {
                write!(f, "cannot protect {}: it has come into being just now", quote(path))
            }
            ExecError::Placeholder { path, errno } => {
                write!(f, "cannot hold the place of {}: {}", quote(path), errno_words(*errno))
            }
            ExecError::Descriptor { fd, why } => write!(f, "cannot hand over descriptor {fd}: {why}"),
            ExecError::Clone { cause, .. } => {
                write!(f, "cannot make the sandbox's namespaces: {}", cause.what)
            }
            ExecError::Step { failure, object, cause } => step(f, *failure, object, cause.as_ref()),
            ExecError::NotFound { command, outside: None } => {
                write!(f, "cannot find {}: no such command", quote(command))
            }
            ExecError::NotFound { command, outside: Some(path) } => {
                write!(f, "cannot find {} inside: {} is not visible there", quote(command), quote(path))
            }
            ExecError::NotExecutable { path, why, .. } => write!(f, "cannot run {}: {why}", quote(path)),
            ExecError::Unmet { what, why, .. } => write!(f, "cannot {what}: {why}"),
            ExecError::Refused { message, .. } => f.write_str(message),
            ExecError::Registry(error) => error.fmt(f),
            ExecError::NoAnswer(time) => write!(
                f,
                "cannot set the sandbox up within {} s: a file or directory that it would show does not answer",
                time.as_secs()
            ),
            ExecError::ForeignParent => f.write_str(FOREIGN_PARENT),
            ExecError::InitKilled { ran } => {
                let when = if *ran { ", and everything in it with it" } else { " before the command ran" };
                write!(f, "cannot go on: the sandbox's PID 1 was killed from outside{when}")
            }
        }
    }
}

fn step(f: &mut fmt::Formatter<'_>, failure: Failure, object: &str, cause: Option<&Cause>) -> fmt::Result {
    write!(f, "cannot {}", failure.step.verb())?;
    if !object.is_empty() {
        write!(f, " {object}")?;
    }
    match cause {
        Some(cause) => write!(f, ": {}", cause.what),
        None => write!(f, ": {}", errno_words(failure.errno)),
    }
}

impl Diagnose for ExecError {
    fn hint(&self) -> Option<String> {
        match self {
            ExecError::ForeignParent => {
                Some("leave --die-with-parent out; the end of the namespace ends sbx as well".to_owned())
            }
            ExecError::NoAnswer(_) => {
                Some("look for a network or FUSE mount that hangs, and leave it out".to_owned())
            }
            ExecError::NoProc(_) => Some("mount procfs on /proc".to_owned()),
            ExecError::Unmet { hint, .. } => hint.clone(),
            ExecError::Registry(error) => error.hint(),
            ExecError::Source { errno: Errno::ENOENT, origin, .. } => Some(match origin {
                Origin::Flag(_) => "create it, or leave the option out".to_owned(),
                _ => "create it, or mark it `optional = true` in the profile".to_owned(),
            }),
            ExecError::PlantedSource { .. } => {
                Some("look at the link; if it is yours, name what it points to instead".to_owned())
            }
            ExecError::MountPoint { path, .. } => Some(format!("look at {}, and move it away", quote(path))),
            ExecError::Layer { errno, .. } => Some(kept::hint(*errno).to_owned()),
            ExecError::NotApart(error) => Some(error.hint()),
            ExecError::Guarded { .. } => {
                Some("name the directories below it that the program needs".to_owned())
            }
            ExecError::Placeholder { errno: Errno::EEXIST, .. } => Some("run it again".to_owned()),
            ExecError::Placeholder { errno: Errno::EAGAIN, .. } => {
                Some("another program has locked it: end that one, or remove the placeholder".to_owned())
            }
            ExecError::Placeholder { .. } => Some(
                "make the directory writable for yourself, or take the path off the list: \
                 --set 'filesystem.protect=[\"-PATH\"]'"
                    .to_owned(),
            ),
            ExecError::Descriptor { fd, why } if why == "it is not open" => {
                Some(format!("open it for sbx, as in {fd}<FILE"))
            }
            ExecError::Descriptor { fd: 0..=2, .. } => {
                Some("redirect it to a file, or to /dev/null".to_owned())
            }
            ExecError::Clone { cause, .. } => cause.hint.clone(),
            ExecError::Step { cause: Some(cause), .. } => cause.hint.clone(),
            ExecError::NotFound { outside: Some(path), .. }
            | ExecError::NotExecutable { outside: Some(path), .. } => {
                let directory = path.parent().unwrap_or(path);
                Some(format!("add --ro {}", quote(directory).trim_matches('`')))
            }
            ExecError::NotExecutable { path, why, .. }
                if why == "permission denied" && path.exists() && !host::is_executable(path) =>
            {
                Some(format!("make it executable: chmod +x {}", quote(path).trim_matches('`')))
            }
            _ => None,
        }
    }

    fn location(&self) -> Option<&Location> {
        match self {
            ExecError::Source { origin: Origin::Profile(location), .. }
            | ExecError::Layer { origin: Origin::Profile(location), .. }
            | ExecError::NotApart(NotApart { origin: Origin::Profile(location), .. }) => Some(location),
            _ => None,
        }
    }
}
