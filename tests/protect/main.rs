//! `filesystem.protect`: what stays as it is, what is held by placeholders and who takes them away; and with nothing protected
//! the same attempts getting through. What the host's files say is the verdict.

#[path = "../common/mod.rs"]
mod common;

mod aliases;
mod existing;
mod given;
mod killed;
mod missing;
mod odd_names;
mod plain;
mod repository;
mod stage;
mod together;
mod unheld;

use common::edited;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = edited::answer(stage::EDITS, || {}) {
        return code;
    }
    let cases = [
        existing::cases(),
        aliases::cases(),
        missing::cases(),
        repository::cases(),
        killed::cases(),
        together::cases(),
        plain::cases(),
        unheld::cases(),
        given::cases(),
        odd_names::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
