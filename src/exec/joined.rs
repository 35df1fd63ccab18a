//! Further programs in a sandbox that runs: PID 1 forks them when sbx asks, so that they are born with everything that
//! confines it. Nothing here allocates.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, chdir, getpid, setpgid, setsid};

use super::execute::{exit_code, is_foreign, try_each};
use super::init::Inside;
use super::readback::{self, took_effect};
use super::resources::limit_resources;
use super::step::{At, Failure, Report, Result, Step};
use super::walk;
use crate::sys::message::{self, Descriptors};
use crate::sys::process::{self, Forked};
use crate::sys::strings::StringTable;
use crate::sys::{signal, terminal};

/// The vectors of a request's table: where the program starts, where it may lie, its words, its variables.
pub(super) const DIRECTORY: usize = 0;
pub(super) const CANDIDATES: usize = 1;
pub(super) const WORDS: usize = 2;
pub(super) const VARIABLES: usize = 3;

/// Bytes of such a table at most, and how many strings are in it.
pub(super) const TABLE_BYTES: usize = 1 << 20;
pub(super) const TABLE_STRINGS: usize = 32 << 10;

/// How many such programs there can be at a time.
pub(super) const MOST: usize = 64;

/// The programs that have joined.
pub(super) struct Joined {
    programs: [Option<(Pid, u32)>; MOST],
}

impl Joined {
    pub(super) fn new() -> Self {
        Self { programs: [None; MOST] }
    }

    /// The number of a program that has ended, which is forgotten.
    pub(super) fn ended(&mut self, pid: Pid) -> Option<u32> {
        let place = self.programs.iter_mut().find(|place| place.is_some_and(|(known, _)| known == pid))?;
        place.take().map(|(_, number)| number)
    }

    /// Sends a signal to a program's process group. It may have none yet, or be gone.
    pub(super) fn signal(&self, number: u32, signal: i32) {
        let found = self.programs.iter().flatten().find(|(_, known)| *known == number);
        if let Some((pid, _)) = found {
            let _ = signal::send(-pid.as_raw(), signal).or_else(|_| signal::send(pid.as_raw(), signal));
        }
    }

    /// Starts a program. What comes of it goes through the last descriptor; the others are its standard ones and the file
    /// with its table.
    pub(super) fn start(
        &mut self,
        inside: &mut Inside<'_>,
        view: &OwnedFd,
        number: u32,
        terminals: i32,
        descriptors: Descriptors,
    ) {
        let [Some(input), Some(output), Some(errors), Some(table), Some(report)] = descriptors else {
            return;
        };
        let refuse = |errno| {
            Report::Failed(Failure { step: Step::Fork, item: 0, errno }).send(&report);
        };
        let Some(place) = self.programs.iter_mut().find(|place| place.is_none()) else {
            return refuse(Errno::EAGAIN);
        };
        match process::fork() {
            Ok(Forked::Parent(pid)) => {
                // One with a terminal leads a session, which takes a process without a group of its own.
                if terminals == 0 {
                    let _ = setpgid(pid, pid);
                }
                *place = Some((pid, number));
            }
            Ok(Forked::Child) => {
                let standard = [input, output, errors];
                let failure = match run(inside, view, terminals, &standard, &table, &report) {
                    Ok(never) => match never {},
                    Err(failure) => failure,
                };
                Report::Failed(failure).send(&report);
                process::exit_now(exit_code(failure))
            }
            Err(errno) => refuse(errno),
        }
    }
}

/// The program's own process, up to its `execve`: the same steps that the payload takes.
fn run(
    inside: &mut Inside<'_>,
    view: &OwnedFd,
    terminals: i32,
    standard: &[OwnedFd; 3],
    table: &OwnedFd,
    report: &OwnedFd,
) -> Result<Infallible> {
    let mut strings = inside.prepared.joining.take().ok_or(Errno::EBUSY).at(Step::Fork)?;
    strings.fill(table).at(Step::Fork)?;
    let mut side = None;
    if terminals == 0 {
        // PID 1 does the same, whoever comes first.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    } else {
        took_effect(setsid().at(Step::Group)? == getpid()).at(Step::Group)?;
        side = Some(make_terminal(report).at(Step::Terminal)?);
    }
    for (number, fd) in (0..3).zip(standard) {
        let own = side.as_ref().filter(|_| terminals & 1 << number != 0);
        terminal::stand_in(own.unwrap_or(fd), number).at_item(Step::Descriptors, number as u32)?;
    }
    process::umask(inside.umask).at(Step::Umask)?;
    SigSet::empty().thread_set_mask().at(Step::Signals)?;
    limit_resources(inside.plan, inside.prepared.has_cgroup)?;
    let directory = strings.string(DIRECTORY, 0).ok_or(Errno::EINVAL).at(Step::Directory)?;
    chdir(directory).at(Step::Directory)?;
    if let Some(filter) = &inside.prepared.filter {
        process::filter_system_calls(filter).at(Step::Filter)?;
    }
    readback::payload(inside.plan, inside.prepared, view, directory)?;
    Report::Executing.try_send(report).at(Step::Confirm)?;
    execute(&strings, inside.prepared.filter.is_some())
}

/// A pseudoterminal of the sandbox's devpts, of which this process's session has one side; the other goes out.
fn make_terminal(report: &OwnedFd) -> nix::Result<OwnedFd> {
    let devpts = walk::open_directory(c"/dev/pts")?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = openat(&devpts, c"ptmx", flags, Mode::empty())?;
    let side = terminal::peer(&master)?;
    terminal::control(&side)?;
    message::send_descriptor(report, master.as_fd())?;
    Ok(side)
}

fn execute(strings: &StringTable, is_filtered: bool) -> Result<Infallible> {
    let path = |index| strings.string(CANDIDATES, index);
    let searched = strings.string(WORDS, 0).is_some_and(|word| !word.to_bytes().contains(&b'/'));
    try_each(path, searched, |path: &CStr| {
        if is_filtered && is_foreign(path) {
            return Errno::ENOEXEC;
        }
        strings.execve(path, WORDS, VARIABLES)
    })
}
