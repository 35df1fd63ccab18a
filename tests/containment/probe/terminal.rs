//! Attacks on the terminal.

use super::{Attack, call};

pub(super) const ATTACKS: &[Attack] = &[("tiocsti", |_| {
    let letter = b'x';
    call(libc::SYS_ioctl, [0, 0x5412, (&raw const letter).addr() as u64, 0, 0, 0])
})];
