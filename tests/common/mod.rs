//! What the integration tests share: cases that run as an ordinary user and as root, a fresh home for
//! each, runs with a time limit, and readers for what the kernel says about a process.
//!
//! ```ignore
//! mod common;
//! use common::{Verdict, User, case};
//!
//! fn main() -> std::process::ExitCode {
//!     common::run(vec![case!(passes_the_exit_code_on)])
//! }
//!
//! fn passes_the_exit_code_on(user: &User) -> Verdict {
//!     common::output(user.sbx().args(["sh", "-c", "exit 7"]))?.exits(7)?;
//!     Ok(())
//! }
//! ```

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "every test program uses a part of this module"
)]

mod account;
pub mod edited;
mod need;
pub mod process;
mod running;
mod scratch;
mod snapshot;
mod text;
mod trials;
mod wait;

pub use account::{Account, User};
pub use need::{Need, first_id};
pub use running::{Output, Running, output, output_with_input, output_within};
pub use scratch::{Scratch, hello_source, source_dir};
pub use snapshot::Snapshot;
pub use trials::{Case, Verdict, run, run_in_parallel};
pub use wait::{wait_for, wait_for_within};

/// A [`Case`] named after its function: `case!(exit_code)` or `case!(module::exit_code)`, where the
/// name is the whole path.
macro_rules! case {
    ($($part:ident)::+) => {
        $crate::common::Case::new(stringify!($($part)::+), $($part)::+)
    };
}
pub(crate) use case;
