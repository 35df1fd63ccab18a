//! One fault at a time in sbx's set-up. strace makes one system call fail, or says that it succeeded when it was never made, and
//! from outside it must come to one of two things: the same sandbox as without the fault, or a refusal with one message and
//! nothing run. Never a weaker sandbox, a hang, a process or a file left behind.
//!
//! `cargo test --test faults` takes a sample of the false successes and of the errors, always the same ones and with every kind of
//! call among them. Everything is
//!
//! ```sh
//! SBX_FAULTS=all cargo test --test faults
//! ```
//!
//! which takes half an hour on two processors. Any other value takes the faults whose name has it as a part, such as
//! `SBX_FAULTS=build/init/prctl#3=EPERM`. Names are SCENARIO/PROCESS/CALL#COUNT=RESULT: `outside` is sbx itself, `init` its PID 1,
//! `payload` the command's process up to its execve, from which on nothing is traced.
//!
//! strace counts the calls of each process apart, and the count is all that tells them apart:
//! - `outside` is traced alone.
//! - For the others this program stands in for sbx, which it is by its library, and first makes so many calls of that name that the
//!   fault is behind it (`worn`). Where the loader has made as many already the fault hits that as well: when sbx ends by it, the
//!   fault counts as shadowed.
//! - A fault hits the first calls of `init` and of `payload` at once.

#[path = "../common/mod.rs"]
mod common;

mod fault;
mod judge;
mod observation;
mod scenario;
mod sweep;
mod trace;
mod worn;

use common::edited::{self, Edit};
use common::{Case, Need, case};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = observation::answer() {
        return code;
    }
    worn::wear();
    let edits: Vec<Edit> = [judge::EDITS, &[scenario::AS_PLANNED]].concat();
    if let Some(code) = edited::answer(&edits, || {}) {
        return code;
    }
    // The sandbox's own limit shows only where the caller's is another. So little is never written.
    if let Ok((_, hard @ 1..)) = getrlimit(Resource::RLIMIT_CORE) {
        let _ = setrlimit(Resource::RLIMIT_CORE, 1, hard);
    }
    let mut cases = vec![case!(judge::notices_what_is_planted)];
    for part in 0..sweep::PARTS {
        let sweeps = [
            Case::new(&format!("sweep::errors_{part}"), move |user| sweep::errors(user, part)),
            Case::new(&format!("sweep::false_successes_{part}"), move |user| {
                sweep::false_successes(user, part)
            }),
        ];
        cases.extend(sweeps.map(|case| case.needs(Need::Program("strace"))));
    }
    common::run(cases)
}
