//! Ids of this process (credentials(7)), by the raw calls: what the C library does beside them, for threads, belongs to the
//! process that this one was cloned from.

use nix::errno::Errno;

use super::check;

/// Sets all three uids and gids, and the supplementary groups. The parent-death signal is gone afterwards
/// (`PR_SET_PDEATHSIG`(2const)).
///
/// # Errors
/// `EINVAL` for an id that the user namespace doesn't map; `EPERM` without `CAP_SETUID` and `CAP_SETGID`.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many groups as are told, from memory that lives through the call.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: this call takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: this call takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}
