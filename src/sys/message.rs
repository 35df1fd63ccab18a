//! Descriptors that cross a Unix socket (unix(7), cmsg(3)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;
use nix::errno::Errno;

use super::check;

/// How many descriptors one message can carry here.
pub const MOST_DESCRIPTORS: usize = 5;

/// What arrives with a message.
pub type Descriptors = [Option<OwnedFd>; MOST_DESCRIPTORS];

/// Room for one control message with [`MOST_DESCRIPTORS`], aligned as the kernel wants it (cmsg(3)).
#[repr(C, align(8))]
struct DescriptorMessage([u8; 40]);

/// A message with a buffer for bytes and one for descriptors; all must outlive what is returned.
fn message(vector: &mut libc::iovec, control: &mut DescriptorMessage) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr: no name, no buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut *vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len();
    message
}

/// Sends bytes, at least one, and copies of descriptors, at least one and at most [`MOST_DESCRIPTORS`], through a Unix
/// socket (unix(7), `SCM_RIGHTS`). Allocates nothing.
///
/// # Errors
/// `EINVAL` for too many or too few, `EPIPE` when nobody is at the other end, and what sendmsg(2) says.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    if bytes.is_empty() || fds.is_empty() || fds.len() > MOST_DESCRIPTORS {
        return Err(Errno::EINVAL);
    }
    // Only read by the call.
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = DescriptorMessage([0; 40]);
    let mut message = message(&mut vector, &mut control);
    let size = (size_of::<c_int>() * fds.len()) as u32;
    // SAFETY: CMSG_SPACE only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
    // SAFETY: the control buffer is aligned and has room for the header and MOST_DESCRIPTORS descriptors (CMSG_SPACE(20) is
    // 40), of which there are not more, so the first header and its data lie within it. message, vector, bytes and control
    // live through the call.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        let data = libc::CMSG_DATA(header).cast::<c_int>();
        for (index, fd) in fds.iter().enumerate() {
            data.add(index).write_unaligned(fd.as_raw_fd());
        }
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    check(sent as i64).map(drop)
}

/// Receives a message into `bytes`, whose length is returned, with the descriptors that came along. 0 when everybody has
/// closed the other end.
///
/// # Errors
/// `EMSGSIZE` for a message that does not fit, `EBADMSG` for other ancillary data than descriptors; what recvmsg(2) says.
pub fn receive(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Descriptors), Errno> {
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = DescriptorMessage([0; 40]);
    let mut message = message(&mut vector, &mut control);
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: message and the buffers that it points at live through the call, with their sizes.
    let received =
        check(unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) } as i64)?;
    let mut descriptors = Descriptors::default();
    // SAFETY: the kernel has set msg_controllen; a header that CMSG_FIRSTHDR gives lies within the buffer, and one of
    // SCM_RIGHTS holds as many descriptors as its length says, which are now ours. The buffer has no room for more than
    // MOST_DESCRIPTORS.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null() {
            if (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(Errno::EBADMSG);
            }
            let count = ((*header).cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<c_int>();
            let data = libc::CMSG_DATA(header).cast::<c_int>();
            for (index, place) in descriptors.iter_mut().enumerate().take(count) {
                *place = Some(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
            }
        }
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(Errno::EMSGSIZE);
    }
    Ok((received as usize, descriptors))
}

/// Sends a copy of `fd` through a Unix socket, with one byte. Allocates nothing.
///
/// # Errors
/// As [`send`].
pub fn send_descriptor(socket: impl AsFd, fd: impl AsFd) -> Result<(), Errno> {
    send(socket, &[0], &[fd.as_fd()])
}

/// Receives what [`send_descriptor`] sent; nothing when everybody has closed the other end.
///
/// # Errors
/// `EBADMSG` for a message without a descriptor, and what [`receive`] says.
pub fn receive_descriptor(socket: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    match receive(socket, &mut [0])? {
        (0, _) => Ok(None),
        (_, [Some(fd), None, None, None, None]) => Ok(Some(fd)),
        _ => Err(Errno::EBADMSG),
    }
}

/// Takes on the next who has connected to a listening socket; calls on what is returned do not wait (accept4(2)).
///
/// # Errors
/// `EAGAIN` when nobody has, `EMFILE`.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    let nobody: *mut libc::sockaddr = std::ptr::null_mut();
    let no_length: *mut libc::socklen_t = std::ptr::null_mut();
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for, so both pointers may be null.
    let fd = check(unsafe { libc::accept4(listener.as_fd().as_raw_fd(), nobody, no_length, flags) })?;
    // SAFETY: the kernel just returned this descriptor to us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pidfd of the process that connected a Unix socket (`SO_PEERPIDFD`, Linux 6.5).
///
/// # Errors
/// `ENOPROTOOPT` on older kernels, `ESRCH` when it is gone.
pub fn peer_pidfd(socket: impl std::os::fd::AsFd) -> Result<OwnedFd, Errno> {
    const SO_PEERPIDFD: c_int = 77;
    let mut pidfd: c_int = -1;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: pidfd and length live through the call, which writes at most an int.
    check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut pidfd).cast(),
            &raw mut length,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}
