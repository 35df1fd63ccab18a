//! Descriptors that cross a Unix socket (unix(7), cmsg(3)).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::c_int;
use nix::errno::Errno;

use super::check;

/// Room for one control message with one descriptor, aligned as the kernel wants it (cmsg(3)).
#[repr(C, align(8))]
struct DescriptorMessage([u8; 24]);

/// A message of one byte, with the buffer for a descriptor; both must outlive what is returned.
fn message(byte: &mut libc::iovec, control: &mut DescriptorMessage) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr: no name, no buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut *byte;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len();
    message
}

/// Sends a copy of `fd` through a Unix socket, with one byte (unix(7), `SCM_RIGHTS`). Allocates nothing.
///
/// # Errors
/// `EPIPE` when nobody is at the other end, and what sendmsg(2) says.
pub fn send_descriptor(socket: impl std::os::fd::AsFd, fd: impl std::os::fd::AsFd) -> Result<(), Errno> {
    let mut byte = 0_u8;
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = DescriptorMessage([0; 24]);
    let message = message(&mut vector, &mut control);
    // SAFETY: the control buffer is aligned and has room for the header and one descriptor (CMSG_SPACE(4) is 24), so the
    // first header lies within it. message, vector, byte and control live through the call.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as usize;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd.as_fd().as_raw_fd());
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    check(sent as i64).map(drop)
}

/// Receives what [`send_descriptor`] sent; nothing when everybody has closed the other end.
///
/// # Errors
/// `EBADMSG` for a message without a descriptor, and what recvmsg(2) says.
pub fn receive_descriptor(socket: impl std::os::fd::AsFd) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = 0_u8;
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = DescriptorMessage([0; 24]);
    let mut message = message(&mut vector, &mut control);
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: message and the buffers that it points at live through the call, with their sizes.
    let received =
        check(unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) } as i64)?;
    if received == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has set msg_controllen; a header that CMSG_FIRSTHDR gives lies within the buffer, and one of
    // SCM_RIGHTS with room for a descriptor holds one that is now ours.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let wanted = libc::CMSG_LEN(size_of::<c_int>() as u32) as usize;
        let is_ours = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len == wanted;
        if !is_ours {
            return Err(Errno::EBADMSG);
        }
        let fd = libc::CMSG_DATA(header).cast::<c_int>().read_unaligned();
        Ok(Some(OwnedFd::from_raw_fd(fd)))
    }
}
