//! What the kernel knows of Landlock (landlock(7)). Everything else about it is the landlock crate's.

use super::check;

/// The version of Landlock's interface; 0 where the kernel has none, or it is switched off.
pub fn abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let none: *const u8 = std::ptr::null();
    // SAFETY: with this flag, no attribute and size 0 the call only answers a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    check(version).ok().and_then(|version| u32::try_from(version).ok()).unwrap_or(0)
}
