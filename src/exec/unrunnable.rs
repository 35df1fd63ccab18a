//! Why a program could not be run, told by a look at it.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::PathBuf;

use nix::errno::Errno;

use super::ExecError;
use super::step::{Failure, Step};
use crate::diag::{errno_words, quote};
use crate::host;

/// The message for what none of these candidates could be.
pub(super) fn program_error(command: &OsStr, candidates: &[PathBuf], failure: Failure) -> ExecError {
    let path = candidates.get(failure.item as usize).cloned().unwrap_or_default();
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
            let outside = candidates.iter().find(|path| host::is_executable(path)).cloned();
            ExecError::NotFound { command: command.to_owned(), outside }
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

/// The interpreter of a script, read where the path is the same outside as inside.
fn interpreter(path: &std::path::Path) -> Option<String> {
    use std::io::Read;
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.trim_ascii().split(|byte| *byte == b' ').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}
