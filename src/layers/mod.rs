//! Layers that are kept: what is written down of them, and which there are.
#![forbid(unsafe_code)]

mod error;
mod list;
mod owners;
mod record;
mod tree;
mod under;

pub use error::LayersError;
pub(crate) use list::JOURNAL;
pub use list::{Listed, all, is_half_applied, is_layer, names};
pub use owners::has_entry_of;
pub use record::{Kind, Record};
pub use tree::tree;
pub(crate) use tree::{OF_FUSE, OPAQUE, WHITEOUT};
pub use under::Under;
