//! What was changed in a layer: shown as it is, and carried over wholly or not at all. The layers are the kernel's own.

#[path = "../common/mod.rs"]
mod common;

mod applied;
mod kills;
mod owners;
mod planted;
mod random;
mod refused;
mod shown;
mod spellings;
mod stage;

fn main() -> std::process::ExitCode {
    if let Some(code) = owners::answer() {
        return code;
    }
    let cases = [
        shown::cases(),
        spellings::cases(),
        applied::cases(),
        refused::cases(),
        planted::cases(),
        kills::cases(),
        owners::cases(),
        random::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
