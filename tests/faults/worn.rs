//! Calls that take the fault, so that it is behind the process that makes them.

use nix::sys::resource::{Resource, getrlimit};
use std::fs::File;
use std::process::Command;

/// Set for a worn run: the name of a call and how many to make.
const VARIABLE: &str = "SBX_TEST_WORN";

/// What can be worn: a call that changes nothing, and may fail.
const CALLS: &[(&str, fn())] = &[
    ("close", || drop(File::open("/dev/null"))),
    ("close_range", || _ = sbx::sys::process::close_on_exec_from(1 << 20)),
    ("landlock_create_ruleset", || _ = sbx::sys::landlock::abi()),
    ("newfstatat", || _ = nix::sys::stat::stat(c"/")),
    ("openat", || drop(File::open("/dev/null"))),
    ("openat2", || _ = nix::fcntl::openat2(nix::fcntl::AT_FDCWD, c"/", nix::fcntl::OpenHow::new())),
    ("poll", || _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::ZERO)),
    ("prctl", || _ = nix::sys::prctl::get_dumpable()),
    ("prlimit64", || _ = getrlimit(Resource::RLIMIT_CORE)),
    ("read", || _ = nix::unistd::read(std::io::stdin(), &mut [0])),
    ("statx", || _ = sbx::sys::mount::mount_id(c"/")),
    ("wait4", || _ = sbx::sys::process::changed()),
    ("write", || _ = nix::unistd::write(std::io::stdout(), &[])),
];

/// Whether a name can be worn.
pub(crate) fn can_be(name: &str) -> bool {
    CALLS.iter().any(|(known, _)| *known == name)
}

/// Asks for it.
pub(crate) fn ask(command: &mut Command, name: &str, count: usize) {
    command.env(VARIABLE, format!("{name} {count}"));
}

/// Does what was asked for.
pub(crate) fn wear() {
    let Ok(asked) = std::env::var(VARIABLE) else { return };
    let Some((name, count)) = asked.split_once(' ') else { return };
    if let (Some((_, call)), Ok(count)) = (CALLS.iter().find(|(known, _)| *known == name), count.parse()) {
        (0..count).for_each(|_: usize| call());
    }
}
