//! Images: OCI layouts and `docker save` archives are imported into a store of layers, each unpacked once, that sandboxes stack.
//! Nothing of an image is trusted: every digest is checked, every member resolved below its own layer, and all of it bounded.
#![forbid(unsafe_code)]

mod below;
mod blobs;
mod defaults;
mod digest;
mod error;
mod export;
mod found;
mod import;
mod layer;
mod member;
mod name;
mod owned;
mod owners;
mod pack;
mod path;
mod pull;
mod spec;
mod store;
mod tree;

pub use defaults::{Image, ImageUser, RunDefaults};
pub use digest::Digest;
pub use error::ImageError;
pub use export::{LayersOwners, export, kept_layer};
pub use import::{Progress, import};
pub use layer::Bounds;
pub use owners::{Attribute, Owner, owners};
pub use pull::pull;
pub use store::{Held, Layer, Record, Remove, Store};
