//! Real programs in sandboxes, each under the profile meant for it: what they do inside is what they do outside. Toolchains of
//! a home work there and the secrets beside them are not there; files named on the command line are, and nothing else is.

#[path = "../common/mod.rs"]
mod common;

mod debuggers;
mod files;
mod homes;
mod job;
mod languages;
mod repository;
mod tools;
mod windows;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        tools::cases(),
        repository::cases(),
        languages::cases(),
        debuggers::cases(),
        windows::cases(),
        homes::cases(),
        files::cases(),
    ];
    common::run_in_parallel(2, cases.into_iter().flatten().collect())
}
