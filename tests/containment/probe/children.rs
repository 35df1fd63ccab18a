//! Processes of the probe's own, and programs that it becomes.

use super::call;
use std::ffi::CString;

/// fork(2): 0 in the child. The probe has one thread.
fn fork() -> i64 {
    call(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0])
}

fn end(result: i64) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(i32::from(result < 0)) }
}

fn wait_for(child: i64) -> i64 {
    let mut status = 0_i32;
    call(libc::SYS_wait4, [child as u64, (&raw mut status).addr() as u64, 0, 0, 0, 0]);
    if status == 0 { 0 } else { -1 }
}

/// Does something in a child and waits for it: 0, or -1 where the child's result was below zero.
pub(super) fn in_child(act: impl FnOnce() -> i64) -> i64 {
    match fork() {
        0 => end(act()),
        child if child < 0 => child,
        child => wait_for(child),
    }
}

/// Does something in a daemon: nobody's child, in a session of its own, with nothing of the probe's output open.
pub(super) fn detached(act: impl FnOnce() -> i64) -> i64 {
    in_child(|| {
        call(libc::SYS_setsid, [0; 6]);
        match fork() {
            0 => {
                for fd in 0..3 {
                    call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
                }
                end(act())
            }
            child => child.min(0),
        }
    })
}

/// Becomes another program; comes back only where that fails.
pub(super) fn exec(words: &[impl AsRef<str>]) -> i64 {
    let words: Result<Vec<CString>, _> = words.iter().map(|word| CString::new(word.as_ref())).collect();
    let Ok(words) = words else { return -1 };
    let Some(program) = words.first() else { return -1 };
    let pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: the vector ends in a null and points at strings that live through the call.
    unsafe { libc::execvp(program.as_ptr(), pointers.as_ptr()) };
    -1
}
