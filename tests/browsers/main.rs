//! Firefox, Chromium and what is around them on a desktop, real programs: what they do in a sandbox, and what they can't reach.

#[path = "../common/mod.rs"]
mod common;

mod devices;
mod displays;
mod home;
mod kept;
mod nested;
mod picture;
mod remoting;
mod screenshots;
mod server;
mod shipped;
mod stage;
mod x_server;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        nested::cases(),
        screenshots::cases(),
        displays::cases(),
        remoting::cases(),
        kept::cases(),
        home::cases(),
        devices::cases(),
        shipped::cases(),
    ];
    // They wait for one another's processes most of the time.
    common::run_in_parallel(2, cases.into_iter().flatten().collect())
}
