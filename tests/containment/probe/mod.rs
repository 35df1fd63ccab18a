//! The probe: what a hostile program would do. It is this test program, run inside with a first word of its own. What it
//! says is for people; the verdict comes from outside.
#![allow(unsafe_code, reason = "hostile programs make raw system calls")]

mod calls;
mod children;
mod descriptors;
mod files;
mod ipc;
mod machine;
mod mounts;
mod privileges;
mod processes;
mod resources;
mod sockets;
mod terminal;

pub(crate) use descriptors::{HIGH_FILE, SOCKET_WITH_DIRECTORY};

use std::io::Write as _;
use std::process::ExitCode;

/// The first argument of such a run.
pub(crate) const WORD: &str = "--probe";

/// Where the program lies inside.
pub(crate) const INSIDE: &str = "/probe";

/// A sub-command: its word, and what it does with the arguments after that.
type Attack = (&'static str, fn(&[String]) -> i64);

/// To be called first in `main`: where this program is the probe, does what it is told. `None` in the test program itself.
pub(crate) fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let word = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let attacks: Vec<Attack> = [
        calls::ATTACKS,
        descriptors::ATTACKS,
        files::ATTACKS,
        ipc::ATTACKS,
        machine::ATTACKS,
        sockets::ATTACKS,
        mounts::ATTACKS,
        privileges::ATTACKS,
        processes::ATTACKS,
        resources::ATTACKS,
        terminal::ATTACKS,
    ]
    .concat();
    let Some((_, attack)) = attacks.iter().find(|(known, _)| *known == word) else {
        say(&format!("no attack {word}"));
        return Some(ExitCode::from(99));
    };
    let result = attack(&rest);
    say(&result.to_string());
    Some(if result < 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A raw system call: its result, or the errno below zero.
pub(crate) fn call(number: i64, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: whatever a hostile program does; the addresses that the attacks hand in are of live memory of theirs.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        result
    }
}
