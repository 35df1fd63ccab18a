//! sbx in a terminal: shells in a pseudoterminal, typed into by a program that reads what they show.

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod driver;
mod hang_up;
mod inside;
mod jobs;
mod keys;
mod modes;
mod other_modes;
mod pipes;
mod screen;
mod shell;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        keys::cases(),
        jobs::cases(),
        inside::cases(),
        modes::cases(),
        pipes::cases(),
        screen::cases(),
        bytes::cases(),
        hang_up::cases(),
        other_modes::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
