//! The mount engine and the confinement around it: each operation, each defence, and with the defence edited off the same
//! probe getting through.

#[path = "../common/mod.rs"]
mod common;

mod binds;
mod ends;
mod filesystems;
mod links;
mod made;
mod overlays;
mod planted;
mod probe;

use common::edited::{self, Edit};
use std::process::ExitCode;

fn main() -> ExitCode {
    let edits: Vec<Edit> =
        [binds::EDITS, filesystems::EDITS, made::EDITS, overlays::EDITS, planted::EDITS].concat();
    if let Some(code) = edited::answer(&edits, || {}) {
        return code;
    }
    let cases = [
        binds::cases(),
        filesystems::cases(),
        overlays::cases(),
        made::cases(),
        links::cases(),
        planted::cases(),
        ends::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
