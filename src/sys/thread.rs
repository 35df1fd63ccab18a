//! A thread with nothing around it: what std sets up for one costs a short-lived process more than what it is for.

use std::mem::MaybeUninit;
use std::ptr::null_mut;

use nix::errno::Errno;

/// What a thread runs.
pub(crate) type Task = Box<dyn Fn() + Send + Sync>;

/// Bytes; enough for a message.
const STACK: usize = 64 << 10;

/// Starts a thread that runs this and that nobody waits for (pthread_create(3)).
///
/// # Errors
/// `EAGAIN`: there are too many threads, or no memory for its stack.
pub(crate) fn start(task: Task) -> nix::Result<()> {
    // Never freed: the first `free` of a thread makes it a heap of its own.
    let argument: *mut Task = Box::into_raw(Box::new(task));
    let mut attributes = MaybeUninit::uninit();
    let mut id = 0;
    // SAFETY: the attributes are initialized before they are used and destroyed once; `id` has room for what is written; the
    // argument lives on, and is of a type that may be shared with the thread.
    let errno = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let errno = libc::pthread_create(&raw mut id, attributes.as_ptr(), run, argument.cast());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        errno
    };
    if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) }
}

extern "C" fn run(task: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: it points to the task of `start`, which is never freed.
    let task = unsafe { &*task.cast::<Task>() };
    task();
    null_mut()
}
