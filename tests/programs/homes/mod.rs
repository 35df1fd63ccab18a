//! Toolchains in the user's home: they work in the sandbox, and what is secret beside them is not there.

mod agent;
mod elsewhere;
mod go;
mod node;
mod python;
mod rust;
mod secrets;
mod trees;
mod uv;

use crate::common::Case;

pub(crate) fn cases() -> Vec<Case> {
    [rust::cases(), python::cases(), node::cases(), uv::cases(), agent::cases(), elsewhere::cases()]
        .into_iter()
        .flatten()
        .collect()
}
