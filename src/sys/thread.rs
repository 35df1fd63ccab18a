//! A thread with nothing around it: what std sets up for one costs a short-lived process more than what it is for.

use std::mem::MaybeUninit;
use std::ptr::{from_ref, null_mut};

use nix::errno::Errno;

/// What a thread runs.
pub(crate) type Task = Box<dyn Fn() + Send + Sync>;

/// Bytes; enough for a message.
const STACK: usize = 64 << 10;

/// A thread that runs its task once. Dropped, it is waited for.
pub(crate) struct Thread {
    id: libc::pthread_t,
    /// Freed by whoever waits: the first `free` of a thread makes it a heap of its own.
    _task: Box<Task>,
}

impl Thread {
    /// Starts it (pthread_create(3)).
    ///
    /// # Errors
    /// `EAGAIN`: there are too many threads, or no memory for its stack.
    pub(crate) fn start(task: Task) -> nix::Result<Self> {
        let task = Box::new(task);
        let argument = from_ref::<Task>(&task).cast_mut().cast();
        let mut attributes = MaybeUninit::uninit();
        let mut id = 0;
        // SAFETY: the attributes are initialized before they are used and destroyed once; `id` is written before it is read;
        // `argument` points to a box that outlives the thread, and to a type that may be shared with it.
        let errno = unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
            let errno = libc::pthread_create(&raw mut id, attributes.as_ptr(), run, argument);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            errno
        };
        if errno == 0 { Ok(Self { id, _task: task }) } else { Err(Errno::from_raw(errno)) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: the id of a thread that was started joinable, and that nobody else waits for.
        unsafe { libc::pthread_join(self.id, null_mut()) };
    }
}

extern "C" fn run(task: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: it points to the task that the `Thread` owns until this function has returned.
    let task = unsafe { &*task.cast::<Task>() };
    task();
    null_mut()
}
