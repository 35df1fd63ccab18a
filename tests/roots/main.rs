//! Root filesystems of layers: what a sandbox sees of them and where its writes go. What the host's files say is the verdict.

#[path = "../common/mod.rs"]
mod common;

mod fuse;
mod kept;
mod named;
mod planted;
mod refused;
mod stack;
mod stage;
mod subordinate;

use common::edited;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = edited::answer(stage::EDITS, || {}) {
        return code;
    }
    let cases = [
        stack::cases(),
        kept::cases(),
        named::cases(),
        fuse::cases(),
        planted::cases(),
        refused::cases(),
        subordinate::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
