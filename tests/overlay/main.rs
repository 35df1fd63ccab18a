//! Real directories whose changes are kept apart. What the host's files say is the verdict.

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod beside;
mod faults;
mod fuse;
mod layers;
mod programs;
mod refused;
mod stage;

use common::edited;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = edited::answer(stage::EDITS, || {}) {
        return code;
    }
    let cases = [
        apart::cases(),
        beside::cases(),
        layers::cases(),
        programs::cases(),
        refused::cases(),
        faults::cases(),
        fuse::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
