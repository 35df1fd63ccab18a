//! Capability sets (capabilities(7)).

use libc::{c_int, c_ulong};
use nix::errno::Errno;

use super::check;

const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the ambient set, and the bounding set but for the bits of `kept`. It is walked until the kernel knows no further
/// capability, so that those newer than any table go as well.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn reduce_bounding_and_ambient(kept: u64) -> Result<(), Errno> {
    let none: c_ulong = 0;
    // SAFETY: this prctl takes no pointers; the unused arguments are zero as it demands.
    check(unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, none, none, none)
    })?;
    for capability in 0..=c_ulong::from(u8::MAX) {
        if capability < 64 && kept & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: this prctl takes no pointers.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, none, none, none) }) {
            Ok(_) => {}
            Err(Errno::EINVAL) if capability > 0 => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EOVERFLOW)
}

/// Locks the securebits so that uid 0 gives no capabilities on execve, no ambient capability can be raised, and
/// neither can be undone.
///
/// # Errors
/// `NO_EFFECT` when they are not set afterwards; `EPERM` without `CAP_SETPCAP`.
pub fn lock_securebits() -> Result<(), Errno> {
    /// `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP`, `SECBIT_NO_CAP_AMBIENT_RAISE`, each with its lock, and
    /// `SECBIT_KEEP_CAPS_LOCKED`.
    const BITS: c_ulong = 0b1110_1111;
    let none: c_ulong = 0;
    // SAFETY: this prctl takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, BITS, none, none, none) })?;
    // SAFETY: this prctl takes no pointers.
    let now = check(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, none, none, none, none) })?;
    if u64::try_from(now) == Ok(BITS) { Ok(()) } else { Err(super::NO_EFFECT) }
}

/// Reads any file and directory, of those whose owners are mapped: `CAP_DAC_READ_SEARCH`.
pub const READ: u64 = 1 << 2;
/// Changes them as well: `CAP_DAC_OVERRIDE` and `CAP_FOWNER`.
pub const CHANGE: u64 = 1 << 1 | 1 << 3;

/// Mounts: `CAP_SYS_ADMIN`.
pub const MOUNT: u64 = 1 << 21;

/// Empties the inheritable set, and the effective and permitted ones but for the bits of `kept`.
///
/// # Errors
/// `EPERM` for a bit that is not in the permitted set.
pub fn reduce_sets(kept: u64) -> Result<(), Errno> {
    set(kept, kept)
}

/// Sets the permitted and the effective set, and empties the inheritable one.
///
/// # Errors
/// `EPERM` for a bit that is not in the permitted set.
pub fn set(permitted: u64, effective: u64) -> Result<(), Errno> {
    let header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: 0,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data elements, both of which live through the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}
