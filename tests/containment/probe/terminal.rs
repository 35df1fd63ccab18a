//! Attacks on the terminal.

use super::children::in_child;
use super::{Attack, call};

pub(super) const ATTACKS: &[Attack] = &[
    ("type", |_| take_and_type(std::iter::once(0))),
    // Bits that the kernel ignores: it takes the number as an `int`.
    ("type-by-long-numbers", |_| {
        take_and_type((32..64).map(|bit| 1 << bit).chain([u64::from(u32::MAX) << 32]))
    }),
];

/// Types a letter into the terminal on stdin, as whoever it is, and as one who takes it for its own, where it is nobody's.
/// Each number of the request is tried until one works.
fn take_and_type(high: impl Iterator<Item = u64>) -> i64 {
    let letter = b'x';
    let high: Vec<u64> = high.collect();
    let types = || {
        let mut results = high.iter().map(|bits| {
            let request = libc::TIOCSTI | bits;
            call(libc::SYS_ioctl, [0, request, (&raw const letter).addr() as u64, 0, 0, 0])
        });
        results.find(|result| *result == 0).unwrap_or(-1)
    };
    if types() == 0 {
        return 0;
    }
    in_child(|| {
        // Not in the process itself: it leads a process group, which can't change its session.
        call(libc::SYS_setsid, [0; 6]);
        call(libc::SYS_ioctl, [0, libc::TIOCSCTTY, 0, 0, 0, 0]);
        types()
    })
}
