//! Builds of the usual kinds with hostile scripts in them: inside all build, and nothing that they try gets through; outside
//! everything does.

#[path = "../common/mod.rs"]
mod common;

mod builds;
mod hooks;
mod signals;
mod trap;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cases = builds::cases();
    cases.extend(hooks::cases());
    cases.extend(signals::cases());
    common::run(cases)
}
