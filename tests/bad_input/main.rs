//! Whatever is wrong with what the user typed, wrote or has for a machine: nothing runs, and one message says what is wrong and
//! what to do.

#[path = "../common/mod.rs"]
mod common;

mod arguments;
mod ceilings;
mod commands;
mod descriptors;
mod files;
mod filters;
mod jails;
mod keys;
mod many;
mod mistakes;
mod mutation;
mod names;
mod places;
mod support;
mod working_directory;

use std::process::ExitCode;

fn main() -> ExitCode {
    let groups = [
        arguments::cases(),
        commands::cases(),
        descriptors::cases(),
        files::cases(),
        keys::cases(),
        ceilings::cases(),
        many::cases(),
        mutation::cases(),
        names::cases(),
        filters::cases(),
        places::cases(),
        jails::cases(),
        working_directory::cases(),
    ];
    common::run(groups.into_iter().flatten().collect())
}
