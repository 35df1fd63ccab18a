//! The last step: a program takes the place of its process. Nothing here allocates.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::CStr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, stat};

use super::prepare::Prepared;
use super::step::{Failure, Result, Step};
use crate::host;
use crate::sys::strings;

/// The payload's program.
pub(super) fn execute(prepared: &Prepared) -> Result<Infallible> {
    let path = |index: usize| Some(prepared.candidates.get(index)?.as_c_str());
    try_each(path, prepared.searched, |path| {
        if prepared.filter.is_some() && is_foreign(path) {
            return Errno::ENOEXEC;
        }
        strings::execve(path, &prepared.arguments, &prepared.environment)
    })
}

/// Tries each candidate, as execvp(3) does: a directory of `PATH` that lacks the program, or has one that can't be executed,
/// is passed over.
pub(super) fn try_each<'p>(
    candidate: impl Fn(usize) -> Option<&'p CStr>,
    searched: bool,
    execute: impl Fn(&CStr) -> Errno,
) -> Result<Infallible> {
    let mut worst = Failure { step: Step::Exec, item: 0, errno: Errno::ENOENT };
    for (item, index) in (0..).zip(0..) {
        let Some(path) = candidate(index) else { break };
        let errno = execute(path);
        let failure = Failure { step: Step::Exec, item, errno };
        match errno {
            Errno::ENOENT | Errno::ENOTDIR if stat(path).is_ok() => {
                return Err(Failure { step: Step::Interpreter, ..failure });
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES if is_directory(path) && searched => {}
            Errno::EACCES if is_directory(path) => return Err(Failure { errno: Errno::EISDIR, ..failure }),
            Errno::EACCES => worst = failure,
            _ => return Err(failure),
        }
    }
    Err(worst)
}

/// Whether a file is a program for another architecture, 32-bit x86 among them: its first system call would end it without
/// a word.
pub(super) fn is_foreign(path: &CStr) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(file) = nix::fcntl::open(path, flags, Mode::empty()) else { return false };
    let mut header = [0; host::ELF_HEADER];
    nix::unistd::read(&file, &mut header) == Ok(header.len()) && host::is_foreign_elf(&header)
}

fn is_directory(path: &CStr) -> bool {
    stat(path).is_ok_and(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// The shell's codes for a program that can't be run.
pub(super) fn exit_code(failure: Failure) -> i32 {
    match failure.step {
        Step::Exec if failure.errno == Errno::ENOENT => 127,
        Step::Interpreter => 127,
        Step::Exec => 126,
        _ => 125,
    }
}
