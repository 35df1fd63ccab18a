//! Images: what comes of hostile ones, of killed imports, of those that other tools make and read, and how they run.

#[path = "../common/mod.rs"]
mod common;

mod exported;
mod formats;
mod hostile;
mod killed;
mod made;
mod many;
mod on_disk;
mod owned;
mod run;
mod stage;
mod user;
mod wrong;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        hostile::cases(),
        wrong::cases(),
        formats::cases(),
        killed::cases(),
        run::cases(),
        made::cases(),
        exported::cases(),
        owned::cases(),
        user::cases(),
        many::cases(),
        on_disk::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
