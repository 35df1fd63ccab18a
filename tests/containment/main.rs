//! Ways out of a sandbox, row by row: with all walls of a row taken out of the plan the probe gets through, and each wall
//! alone holds it, as all of them do in a run as shipped. The letters are those of the groups: A descriptors and terminal,
//! B mounts, C processes, D sockets and IPC, E network, F system calls, G privileges, H resources, I the kernel's own
//! information, J data.

#[path = "../common/mod.rs"]
mod common;

mod data;
mod decisions;
mod descriptors;
mod exec_state;
mod filtered;
mod ipc;
mod kernel_information;
mod mounts;
mod network;
mod planted;
mod privileges;
mod probe;
mod processes;
mod protected;
mod resources;
mod row;
mod set_id;
mod stage;
mod system_calls;
mod terminal;
mod walls;

use common::edited;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = probe::answer() {
        return code;
    }
    let rows: Vec<row::Row> = [
        terminal::rows(),
        descriptors::rows(),
        exec_state::rows(),
        processes::rows(),
        privileges::rows(),
        resources::rows(),
        planted::rows(),
        mounts::rows(),
        set_id::rows(),
        protected::rows(),
        data::rows(),
        ipc::rows(),
        network::rows(),
        system_calls::rows(),
        kernel_information::rows(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let find = |name: &std::ffi::OsStr| row::edits(&rows, name.to_str()?);
    if let Some(code) = edited::answer_by(&find, || {}) {
        return code;
    }
    common::run(rows.iter().flat_map(row::Row::cases).chain(decisions::cases()).collect())
}
