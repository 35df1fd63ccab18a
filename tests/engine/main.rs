//! The mount engine and the confinement around it: each operation, each defence, and with the defence edited off the same
//! probe getting through.

#[path = "../common/mod.rs"]
mod common;

mod binds;
mod ends;
mod environment;
mod file_rules;
mod filesystems;
mod links;
mod made;
mod namespaces;
mod overlays;
mod planted;
mod privileges;
mod probe;
mod reach;
mod submounts;

use common::edited::{self, Edit};
use std::process::ExitCode;

fn main() -> ExitCode {
    let edits: Vec<Edit> = [
        binds::EDITS,
        environment::EDITS,
        filesystems::EDITS,
        made::EDITS,
        namespaces::EDITS,
        overlays::EDITS,
        planted::EDITS,
        privileges::EDITS,
        submounts::EDITS,
    ]
    .concat();
    if let Some(code) = edited::answer(&edits, || {}) {
        return code;
    }
    let cases = [
        binds::cases(),
        filesystems::cases(),
        file_rules::cases(),
        overlays::cases(),
        made::cases(),
        links::cases(),
        planted::cases(),
        submounts::cases(),
        reach::cases(),
        namespaces::cases(),
        privileges::cases(),
        environment::cases(),
        ends::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
