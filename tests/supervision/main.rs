//! How a sandbox is watched over: exit codes, signals, status lines, and that nothing outlives a run however it ends.

#[path = "../common/mod.rs"]
mod common;

mod background;
mod driver;
mod exit_codes;
mod hung;
mod kills;
mod parent;
mod pipes;
mod signals;
mod signals_early;
mod stage;
mod starts;
mod status_lines;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = driver::answer() {
        return code;
    }
    let cases = [
        exit_codes::cases(),
        signals::cases(),
        status_lines::cases(),
        kills::cases(),
        hung::cases(),
        pipes::cases(),
        background::cases(),
        parent::cases(),
        starts::cases(),
    ];
    common::run_in_parallel(8, cases.into_iter().flatten().collect())
}
