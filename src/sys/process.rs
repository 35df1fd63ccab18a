//! Processes: `clone3`, `fork`, `execve`, descriptors, signals, the session keyring.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_long};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::check;

/// Namespaces and placement of a new process. The flags are `u64` because `CLONE_INTO_CGROUP` does not fit
/// the `c_int` that libc gives its constants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clone3 {
    /// `CLONE_NEW*` bits.
    pub namespaces: u64,
    /// A cgroup v2 directory that the child is born in (Linux 5.7).
    pub cgroup: Option<RawFd>,
}

/// `CLONE_PIDFD` (Linux 5.2).
const CLONE_PIDFD: u64 = 0x1000;
/// `CLONE_INTO_CGROUP` (Linux 5.7); `libc::CLONE_INTO_CGROUP` truncates to 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of clone3(2), version 2 (88 bytes, Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one, with the new one's pid.
    Parent(Pid),
}

/// Makes a child with its own copy of memory, in new namespaces: returns nothing in the child, its pid and pidfd in the
/// parent.
///
/// # Errors
/// `EPERM`, `ENOSPC`, `EUSERS`, `ENOSYS` where namespaces are forbidden, and what fork(2) says.
pub fn clone3(request: Clone3) -> Result<Option<(Pid, OwnedFd)>, Errno> {
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        flags: request.namespaces | CLONE_PIDFD,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    // SAFETY: no CLONE_VM, so the child runs on its own copy of this stack, as after fork(2); args and pidfd live
    // through the call and the size is that of args. The caller is single-threaded (exec asserts it), so no lock
    // is held by a thread that the child lacks.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor of ours in pidfd.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some((Pid::from_raw(pid as c_int), pidfd)))
}

/// fork(2) without the C library's fork handlers.
///
/// # Errors
/// `EAGAIN` at the process limit, `ENOMEM`.
pub fn fork() -> Result<Forked, Errno> {
    let none: c_long = 0;
    // SAFETY: clone with SIGCHLD alone and no stack is fork; the caller is single-threaded, so no lock is held by a
    // thread that the child lacks.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone, c_long::from(libc::SIGCHLD), none, none, none, none)
    })?;
    if pid == 0 { Ok(Forked::Child) } else { Ok(Forked::Parent(Pid::from_raw(pid as c_int))) }
}

/// Ends this process at once: no destructors, no exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2), flag since Linux 5.11).
///
/// # Errors
/// `ENOSYS` or `EINVAL` on older kernels.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: changes only a flag of descriptors; no descriptor is closed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    check(result).map(drop)
}

/// Closes every descriptor above 2 but those of `kept`, which is in ascending order (close_range(2), Linux 5.9).
///
/// # Errors
/// `ENOSYS` on older kernels.
pub fn close_all_but(kept: &[RawFd]) -> Result<(), Errno> {
    let mut first: u32 = 3;
    for fd in kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).chain([u32::MAX]) {
        if fd > first {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: the caller has given up every descriptor in the range: nothing in this process owns one any more, or it
            // is never used again.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
        first = fd.saturating_add(1).max(first);
    }
    Ok(())
}

/// Lets the inherited descriptor `fd` cross execve.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn keep_across_exec(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: F_SETFD takes an int and only changes a flag.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop)
}

/// The inherited descriptor `fd`, if it is open.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn inherited(fd: RawFd) -> Result<BorrowedFd<'static>, Errno> {
    // SAFETY: F_GETFD only reads a flag.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, it was inherited, and nothing in sbx closes descriptors that it did not open.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// umask(2), the old one returned. Not nix's, which panics at an answer that is no mode.
///
/// # Errors
/// `NO_EFFECT` for such an answer: it comes from something between sbx and the kernel.
pub fn umask(mode: u32) -> Result<u32, Errno> {
    // SAFETY: umask takes no pointers.
    let old = unsafe { libc::umask(mode) };
    if old <= 0o777 { Ok(old) } else { Err(super::NO_EFFECT) }
}

/// Joins the session keyring called `name`, making it if need be. It replaces the caller's session keyring, which
/// would otherwise be readable inside: keyrings have no namespace (session-keyring(7)).
///
/// # Errors
/// `NO_EFFECT` when another one is the session keyring afterwards; `ENOSYS` without keyrings, `EDQUOT` when the user's quota is used up.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: name is a live NUL-terminated string.
    let joined =
        check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    const KEYCTL_GET_KEYRING_ID: c_int = 0;
    const KEY_SPEC_SESSION_KEYRING: c_int = -3;
    // SAFETY: takes no pointers; the last argument says not to make one.
    let now = check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0 as c_int)
    })?;
    if now == joined { Ok(()) } else { Err(super::NO_EFFECT) }
}

/// Where the argument strings of this process lie, as the C library hands them to initialisers.
static ARGUMENTS: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn remember_arguments(_count: c_int, arguments: *mut *mut c_char, _environment: *mut *mut c_char) {
    ARGUMENTS.store(arguments, Ordering::Relaxed);
}

// SAFETY: glibc calls every entry of .init_array with main's three arguments, which is this function's type.
#[unsafe(link_section = ".init_array")]
#[used]
static REMEMBER: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = remember_arguments;

/// Overwrites the argument strings of this process, which `/proc/PID/cmdline` shows to everybody who sees the
/// process, and names it `name` (at most 15 bytes).
pub fn hide_arguments(name: &CStr) {
    let arguments = ARGUMENTS.load(Ordering::Relaxed);
    let mut index = 0;
    while !arguments.is_null() {
        // SAFETY: arguments is main's argv: pointers up to a null, each to a writable NUL-terminated string that lives
        // as long as the process. This process is a fork of its own, so nobody else reads them.
        unsafe {
            let argument = *arguments.add(index);
            if argument.is_null() {
                break;
            }
            std::ptr::write_bytes(argument, 0, libc::strlen(argument));
        }
        index += 1;
    }
    let _ = nix::sys::prctl::set_name(name);
}

/// readlinkat(2) on a symlink opened with `O_PATH | O_NOFOLLOW`, into a caller's buffer: nix's allocates.
///
/// # Errors
/// `ENOENT` when `link` is no symlink.
pub fn read_link(link: impl std::os::fd::AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let fd = link.as_fd().as_raw_fd();
    // SAFETY: the path is a live empty string, and the kernel writes at most the buffer's length into it.
    let length = check(
        unsafe { libc::readlinkat(fd, c"".as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) } as i64,
    )?;
    Ok(length as usize)
}

/// The number of a namespace of this process, as `/proc/self/ns` says it (namespaces(7)): `net:[4026531840]`. Cheaper than
/// stat(2), for which the kernel makes a file.
///
/// # Errors
/// `ENOENT` for a namespace that the kernel lacks.
pub fn namespace(proc: impl std::os::fd::AsFd, name: &CStr) -> Result<u64, Errno> {
    let mut text = [0_u8; 40];
    let fd = proc.as_fd().as_raw_fd();
    // SAFETY: name is a live NUL-terminated string, and the kernel writes at most the buffer's length into it.
    let length =
        check(unsafe { libc::readlinkat(fd, name.as_ptr(), text.as_mut_ptr().cast(), text.len()) } as i64)?;
    let digits = text.iter().take(length as usize).filter(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// What has become of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it, which may be a real-time one: nix's waitpid has no word for those.
    Signaled(i32),
    /// This signal stopped it.
    Stopped(i32),
}

/// Waits for the end of `child`.
///
/// # Errors
/// `ECHILD` when it is none, `EINTR`.
pub fn wait(child: Pid) -> Result<Change, Errno> {
    let mut status: c_int = 0;
    // SAFETY: status lives through the call. Without flags only ends are reported.
    check(unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) })?;
    Ok(change(status))
}

/// What has become of any child since this was last asked, stops too; nothing when nothing has.
///
/// # Errors
/// `ECHILD` without children.
pub fn changed() -> Result<Option<(Pid, Change)>, Errno> {
    let mut status: c_int = 0;
    let flags = libc::WNOHANG | libc::WUNTRACED;
    // SAFETY: status lives through the call.
    let pid = check(unsafe { libc::waitpid(-1, &raw mut status, flags) })?;
    Ok((pid > 0).then(|| (Pid::from_raw(pid), change(status))))
}

fn change(status: c_int) -> Change {
    if libc::WIFSIGNALED(status) {
        Change::Signaled(libc::WTERMSIG(status))
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else {
        Change::Exited(libc::WEXITSTATUS(status))
    }
}

/// A pidfd of another process (pidfd_open(2), Linux 5.3).
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn pidfd_of(pid: Pid) -> Result<OwnedFd, Errno> {
    let no_flags: c_int = 0;
    // SAFETY: pidfd_open takes no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), no_flags) })?;
    // SAFETY: the kernel just returned this descriptor to us, so nobody else owns it; a descriptor fits c_int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Whether a filter keeps terminals from being typed into: without one, the kernel looks at the descriptor first.
pub fn terminal_input_is_refused() -> bool {
    const NO_DESCRIPTOR: c_int = -1;
    let letter: c_char = 0;
    // SAFETY: there is no such descriptor, so that nothing is typed; the letter lives through the call.
    let result = unsafe { libc::ioctl(NO_DESCRIPTOR, libc::TIOCSTI, &raw const letter) };
    check(result) == Err(Errno::EPERM)
}

/// Filters the system calls of this process and all that it starts, for good (seccomp(2)). The last thing before execve.
///
/// # Errors
/// `EACCES` without `no_new_privs` or capabilities, `ENOSYS` where the kernel has no seccomp.
pub fn filter_system_calls(program: &[seccompiler::sock_filter]) -> Result<(), Errno> {
    seccompiler::apply_filter(program).map_err(|error| match error {
        seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => {
            Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL))
        }
        _ => Errno::EINVAL,
    })
}

/// The nice value of this process (getpriority(2)).
pub fn nice() -> i32 {
    // The C library's function can't be told from its error: -1 is a nice value. The kernel says 20 less that.
    // SAFETY: getpriority takes no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    20 - answer as i32
}

/// Sets the nice value of this process, for all that it starts as well (setpriority(2)).
///
/// # Errors
/// `EACCES` for one below its own, without privileges.
pub fn set_nice(value: i32) -> Result<(), Errno> {
    // SAFETY: setpriority takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, value) }).map(drop)
}

/// `IOPRIO_WHO_PROCESS` of ioprio_set(2).
const IOPRIO_WHO_PROCESS: c_int = 1;

/// The I/O priority of this process: class and level, as ioprio_get(2) packs them.
///
/// # Errors
/// None that a kernel is known to give.
pub fn io_priority() -> Result<u16, Errno> {
    // SAFETY: ioprio_get takes no pointers.
    let value = check(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) })?;
    Ok(value as u16)
}

/// Sets the I/O priority of this process, for all that it starts as well (ioprio_set(2)).
///
/// # Errors
/// `EPERM` for a class that takes privileges.
pub fn set_io_priority(value: u16) -> Result<(), Errno> {
    // SAFETY: ioprio_set takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, c_long::from(value)) })
        .map(drop)
}
