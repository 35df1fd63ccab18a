//! Why a plan could not be carried out.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::cause;
use super::prepare::Prepared;
use super::step::{DIFFERENCES, Failure, Step};
use crate::cause::Cause;
use crate::diag::{Diagnose, Location, errno_words, quote};
use crate::host;
use crate::plan::{BindSource, Mount, MountOp, Plan};
use crate::profile::Origin;

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
            ExecError::InitKilled { ran: true } => 137,
            _ => 125,
        }
    }

    /// The message for a step that failed inside.
    pub(super) fn of_failure(plan: &Plan, prepared: &Prepared, failure: Failure) -> Self {
        let item = failure.item as usize;
        let object = match failure.step {
            Step::Exec | Step::Interpreter => return program_error(plan, prepared.candidates.len(), failure),
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

fn source_in_words(mount: &Mount) -> String {
    match &mount.op {
        MountOp::Bind { source: BindSource::Path(path), .. } | MountOp::Device { source: path, .. } => {
            quote(path)
        }
        MountOp::Bind { source: BindSource::Fd(fd), .. } => format!("what descriptor {fd} refers to"),
        _ => quote(&mount.dest),
    }
}

fn program_error(plan: &Plan, candidates: usize, failure: Failure) -> ExecError {
    let command = plan.command.first().cloned().unwrap_or_default();
    let path = plan.candidates.get(failure.item as usize).cloned().unwrap_or_default();
    let not_executable = |why: String| ExecError::NotExecutable { path: path.clone(), why, outside: None };
    match (failure.step, failure.errno) {
        (Step::Interpreter, _) => {
            let interpreter = interpreter(&path).map(PathBuf::from);
            let outside = interpreter.clone().filter(|interpreter| host::is_executable(interpreter));
            let why = match (&interpreter, &outside) {
                (Some(interpreter), Some(_)) => {
                    format!("its interpreter {} is not visible inside", quote(interpreter))
                }
                (Some(interpreter), None) => format!("its interpreter {} does not exist", quote(interpreter)),
                _ => "the loader that it names is not visible inside".to_owned(),
            };
            ExecError::NotExecutable { path, why, outside }
        }
        (_, Errno::ENOENT | Errno::ENOTDIR) => {
            let outside =
                plan.candidates.iter().take(candidates).find(|path| host::is_executable(path)).cloned();
            ExecError::NotFound { command, outside }
        }
        (_, Errno::ENOEXEC) => not_executable(match host::elf_machine(&path) {
            Some(machine) => format!("it is a program for {machine}"),
            None => "it is neither a program nor a script with a `#!` line".to_owned(),
        }),
        (_, Errno::EISDIR) => not_executable("it is a directory".to_owned()),
        (_, Errno::EACCES) if host::is_executable(&path) => not_executable(match interpreter(&path) {
            Some(interpreter) => format!("its interpreter {} can't be executed", quote(interpreter)),
            None => "it can't be executed inside".to_owned(),
        }),
        (_, errno) => not_executable(errno_words(errno)),
    }
}

/// Why there is no place for a mount.
fn in_the_way(errno: Errno) -> String {
    match errno {
        Errno::ELOOP => "a symlink is there, which the sandbox may have planted".to_owned(),
        Errno::ENOTDIR | Errno::EISDIR => "something else is there".to_owned(),
        other => errno_words(other),
    }
}

/// The interpreter of a script, read where the path is the same outside as inside.
fn interpreter(path: &std::path::Path) -> Option<String> {
    use std::io::Read;
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.trim_ascii().split(|byte| *byte == b' ').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
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
            ExecError::Descriptor { fd, why } => {
                write!(f, "cannot hand over descriptor {fd}: {}", why)
            }
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
            ExecError::NoAnswer(time) => write!(
                f,
                "cannot set the sandbox up within {} s: a file or directory that it would show does not answer",
                time.as_secs()
            ),
            ExecError::ForeignParent => {
                f.write_str("cannot watch the process that started sbx: it is outside of this PID namespace")
            }
            ExecError::InitKilled { ran: false } => f.write_str(
                "cannot go on: the sandbox's PID 1 was killed from outside before the command ran",
            ),
            ExecError::InitKilled { ran: true } => f.write_str(
                "cannot go on: the sandbox's PID 1 was killed from outside, and everything in it with it",
            ),
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
            ExecError::Source { errno: Errno::ENOENT, origin, .. } => Some(match origin {
                Origin::Flag(_) => "create it, or leave the option out".to_owned(),
                _ => "create it, or mark it `optional = true` in the profile".to_owned(),
            }),
            ExecError::PlantedSource { .. } => {
                Some("look at the link; if it is yours, name what it points to instead".to_owned())
            }
            ExecError::MountPoint { path, .. } => Some(format!("look at {}, and move it away", quote(path))),
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
            ExecError::Source { origin: Origin::Profile(location), .. } => Some(location),
            _ => None,
        }
    }
}
