//! Terminals (ioctl_tty(2), termios(3), pty(7)).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::c_int;
use nix::errno::Errno;

use super::check;

/// A terminal's modes.
#[derive(Clone, Copy)]
pub struct Modes(libc::termios);

impl std::fmt::Debug for Modes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Modes({:o} {:o} {:o} {:o})",
            self.0.c_iflag, self.0.c_oflag, self.0.c_cflag, self.0.c_lflag
        )
    }
}

impl PartialEq for Modes {
    fn eq(&self, other: &Self) -> bool {
        let flags = |modes: &Self| (modes.0.c_iflag, modes.0.c_oflag, modes.0.c_cflag, modes.0.c_lflag);
        flags(self) == flags(other) && self.0.c_cc == other.0.c_cc
    }
}

impl Modes {
    /// Those of a terminal.
    ///
    /// # Errors
    /// `ENOTTY` for what is none.
    pub fn of(terminal: impl AsFd) -> Result<Self, Errno> {
        // SAFETY: all zeroes is a valid termios: numbers only.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: modes lives through the call, which writes a whole termios into it.
        check(unsafe { libc::tcgetattr(terminal.as_fd().as_raw_fd(), &raw mut modes) })?;
        Ok(Self(modes))
    }

    /// Sets them at once.
    ///
    /// # Errors
    /// `EIO` from an orphaned background process.
    pub fn set(&self, terminal: impl AsFd) -> Result<(), Errno> {
        // SAFETY: the termios lives through the call, which only reads it.
        check(unsafe { libc::tcsetattr(terminal.as_fd().as_raw_fd(), libc::TCSANOW, &raw const self.0) })
            .map(drop)
    }

    /// The same terminal as a mere carrier of keys, and of output as well unless that is to be processed as before.
    pub fn raw(mut self, output_too: bool) -> Self {
        let output = self.0.c_oflag;
        // SAFETY: changes only the flags of this termios.
        unsafe { libc::cfmakeraw(&raw mut self.0) };
        if !output_too {
            self.0.c_oflag = output;
        }
        self
    }

    /// Whether a newline becomes a return and a newline on the way out.
    pub fn adds_returns(&self) -> bool {
        self.0.c_oflag & (libc::OPOST | libc::ONLCR) == libc::OPOST | libc::ONLCR
    }

    /// The key that means the end of input.
    pub fn end_of_input(&self) -> u8 {
        self.0.c_cc[libc::VEOF]
    }
}

/// Rows and columns.
#[derive(Clone, Copy, Debug)]
pub struct Size(libc::winsize);

impl Size {
    /// That of a terminal.
    ///
    /// # Errors
    /// `ENOTTY` for what is none.
    pub fn of(terminal: impl AsFd) -> Result<Self, Errno> {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: size lives through the call, which writes a whole winsize into it.
        check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
        Ok(Self(size))
    }

    /// Sets it; who is in the foreground there is told by `SIGWINCH`.
    ///
    /// # Errors
    /// `ENOTTY` for what is no terminal.
    pub fn set(&self, terminal: impl AsFd) -> Result<(), Errno> {
        // SAFETY: the winsize lives through the call, which only reads it.
        check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const self.0) })
            .map(drop)
    }
}

/// The other side of a new pseudoterminal, opened without a path (`TIOCGPTPEER`, Linux 4.13).
///
/// # Errors
/// `ENOTTY` when `master` is none.
pub fn peer(master: impl AsFd) -> Result<OwnedFd, Errno> {
    const TIOCSPTLCK: libc::c_ulong = 0x4004_5431;
    const TIOCGPTPEER: libc::c_ulong = 0x5441;
    let master = master.as_fd().as_raw_fd();
    let unlocked: c_int = 0;
    // SAFETY: TIOCSPTLCK reads the int that it is pointed at.
    check(unsafe { libc::ioctl(master, TIOCSPTLCK as _, &raw const unlocked) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags and no pointer.
    let peer = check(unsafe { libc::ioctl(master, TIOCGPTPEER as _, flags) })?;
    // SAFETY: the kernel just returned this descriptor to us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(peer) })
}

/// Makes a terminal the controlling one of this session's leader, who calls (`TIOCSCTTY`).
///
/// # Errors
/// `EPERM` for a caller that leads no session, or has a terminal, or for a terminal that another session has.
pub fn control(terminal: impl AsFd) -> Result<(), Errno> {
    let steal: c_int = 0;
    // SAFETY: TIOCSCTTY takes a number and no pointer.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY as _, steal) }).map(drop)
}

/// Makes the standard descriptor `number` another one for the same as `fd`; it crosses execve.
///
/// # Errors
/// None that a kernel is known to give for a standard descriptor.
pub fn stand_in(fd: impl AsFd, number: RawFd) -> Result<(), Errno> {
    // SAFETY: what the standard descriptor was is closed by this; nothing in sbx owns 0, 1 or 2.
    check(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }).map(drop)
}
