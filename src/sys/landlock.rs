//! What the kernel knows of Landlock (landlock(7)). Everything else about it is the landlock crate's.

use nix::errno::Errno;

use super::check;

/// The version of Landlock's interface; 0 where the kernel has none (`ENOSYS`), or it is switched off (`EOPNOTSUPP`).
///
/// # Errors
/// Any other: it can't be told.
pub fn abi() -> Result<u32, Errno> {
    match version() {
        Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(0),
        version => version,
    }
}

/// The version of Landlock's interface.
///
/// # Errors
/// `ENOSYS` where the kernel has none, `EOPNOTSUPP` where it is switched off.
pub fn version() -> Result<u32, Errno> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let none: *const u8 = std::ptr::null();
    // SAFETY: with this flag, no attribute and size 0 the call only answers a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    Ok(u32::try_from(check(version)?).unwrap_or(0))
}
