//! Layers that are kept: what is written down of them, and which there are.
#![forbid(unsafe_code)]

mod record;

pub use record::{Kind, Record};
