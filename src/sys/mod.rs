//! Raw system calls: the only module with `unsafe` code. Thin typed wrappers where nix has none; no policy.
//!
//! Everything here that runs between `clone3` and `execve` neither allocates nor formats: a child of a
//! process that might hold the allocator's lock must not need it.
#![allow(unsafe_code)]

pub mod caps;
pub mod credentials;
pub mod landlock;
pub mod message;
pub mod mount;
pub mod network;
pub mod process;
pub mod signal;
pub mod strings;
pub mod terminal;
pub(crate) mod thread;
pub mod xattr;

use nix::errno::Errno;

/// What a call here returns that the kernel took, and that had no effect: something between answers in its place.
pub const NO_EFFECT: Errno = Errno::EPROTO;

/// Turns the -1 of a libc call into its errno.
fn check<T: Into<i64> + Copy>(result: T) -> Result<T, Errno> {
    if result.into() == -1 { Err(Errno::last()) } else { Ok(result) }
}
