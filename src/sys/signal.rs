//! Signals (signal(7)).

use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::check;

/// Default disposition for every signal that can have one, and an empty mask: an inherited ignored SIGCHLD breaks
/// programs (bubblewrap#705). By the system call itself, because the C library keeps its hands on two signals of its own.
///
/// # Errors
/// None that a kernel is known to give.
pub fn reset() -> Result<(), Errno> {
    /// The kernel's `struct sigaction`: handler, flags, restorer, mask. All zeroes is `SIG_DFL`.
    static DEFAULT: [u64; 4] = [0; 4];
    const MASK_SIZE: usize = size_of::<u64>();
    let old: *mut [u64; 4] = std::ptr::null_mut();
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        // SAFETY: the new action is a whole kernel sigaction that lives through the call; the old one is not asked for.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const DEFAULT, old, MASK_SIZE) })?;
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// Whether this process ignores a signal: nohup(1) and a shell's `&` make it so.
pub fn ignores(signal: i32) -> bool {
    /// The kernel's `struct sigaction`: handler, flags, restorer, mask.
    const HANDLER: usize = 0;
    const MASK_SIZE: usize = size_of::<u64>();
    let mut now = [0_u64; 4];
    let new: *const [u64; 4] = std::ptr::null();
    // SAFETY: no new action is given; the old one is written into a whole kernel sigaction that lives through the call.
    let result =
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, &raw mut now, MASK_SIZE) });
    result.is_ok() && now[HANDLER] == libc::SIG_IGN as u64
}

/// Sends a signal, real-time ones included, to a process or, for a negative number, a process group (kill(2)).
///
/// # Errors
/// `ESRCH` when there is none.
pub fn send(process: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes no pointers.
    check(unsafe { libc::kill(process, signal) }).map(drop)
}

/// Sends a signal through a pidfd (Linux 5.1): never to a later process of the same number.
///
/// # Errors
/// `ESRCH` when the process is gone.
pub fn send_by_pidfd(pidfd: impl std::os::fd::AsFd, signal: i32) -> Result<(), Errno> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null info makes the kernel fill it in, as kill(2) does.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, info, 0) };
    check(result).map(drop)
}

/// Dies of a signal, as a process does that has no handler for it, without a core dump. Returns where the signal does not
/// kill.
pub fn die_of(signal: i32) {
    use nix::sys::resource::{Resource, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // A core_pattern that is a program asks for no limit.
    let _ = nix::sys::prctl::set_dumpable(false);
    let _ = reset();
    // SAFETY: raise takes no pointers.
    unsafe { libc::raise(signal) };
}
