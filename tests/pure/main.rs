//! What needs no privileges and no sandbox: the shape of the code, and plans as data.

mod layers;
mod limits;
mod packages;
mod plan;
mod source;
mod steps;
