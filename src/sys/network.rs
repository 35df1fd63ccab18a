//! The one network interface that every sandbox has.

use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::check;

/// Brings the loopback interface up in the current network namespace. One `SIOCSIFFLAGS` gives it 127.0.0.1
/// and ::1 (netdevice(7)).
///
/// # Errors
/// `NO_EFFECT` when it is down all the same; `EPERM` without `CAP_NET_ADMIN` in the namespace, as under AppArmor's restriction of user namespaces.
pub fn loopback_up() -> Result<(), Errno> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes is a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: request is a valid ifreq that lives through the call, as SIOCSIFFLAGS wants.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })?;
    request.ifr_ifru.ifru_flags = 0;
    // SAFETY: request is a valid ifreq that lives through the call, into which SIOCGIFFLAGS writes the flags.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS sets this member of the union, and any bits are a valid number.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    if flags & libc::IFF_UP as libc::c_short != 0 { Ok(()) } else { Err(super::NO_EFFECT) }
}
