//! `sbx doctor` on broken machines: each fault is found, with its cause and what to do, and nothing else is called broken.
//! Most faults are real ones, made in an outer user and mount namespace or by a filter of system calls; what no machine at
//! hand has is made up as data.

#[path = "../common/mod.rs"]
mod common;

mod containers;
mod data;
mod filters;
mod healthy;
mod hung;
mod limits;
mod programs;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = filters::answer() {
        return code;
    }
    let cases = [
        healthy::cases(),
        hung::cases(),
        limits::cases(),
        filters::cases(),
        containers::cases(),
        programs::cases(),
        data::cases(),
    ];
    common::run(cases.into_iter().flatten().collect())
}
