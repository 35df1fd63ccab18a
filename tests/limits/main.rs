//! Limits that a cgroup holds, where it comes from, and the life of a sandbox: listed, measured, paused, limited anew, entered,
//! ended.
//!
//! What needs delegated cgroups runs in guests, from each kind of session; the rest also on a machine that has none.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod bus;
mod delegated;
mod directory;
mod disks;
mod ends;
mod escapes;
mod held;
mod joined;
mod keeper;
mod living;
mod none;
mod probe;
mod registered;
mod stage;
mod starts;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = probe::answer() {
        return code;
    }
    let edits = [escapes::EDITS, held::EDITS].concat();
    if let Some(code) = common::edited::answer(&edits, || {}) {
        return code;
    }
    let cases = [
        registered::cases(),
        joined::cases(),
        bad_input::cases(),
        none::cases(),
        held::cases(),
        living::cases(),
        ends::cases(),
        keeper::cases(),
        bus::cases(),
        escapes::cases(),
        delegated::cases(),
        directory::cases(),
        starts::cases(),
        disks::cases(),
    ];
    // One at a time: shares of processors are measured.
    common::run_in_parallel(1, cases.into_iter().flatten().collect())
}
