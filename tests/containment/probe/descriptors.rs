//! Descriptors: a caller who leaves them open, and who looks for them.

use super::children::exec;
use super::{Attack, call, say};
use nix::sys::resource::Resource;
use std::ffi::CString;

pub(super) const ATTACKS: &[Attack] = &[
    ("leave-open", leave_open),
    ("read-above-directories", |_| read_above_directories()),
    ("read-descriptors", |_| read_descriptors()),
];

/// Where the caller leaves a directory open: a number that programs often have, and others that are rarely looked at.
const DIRECTORIES: [i32; 3] = [3, 250, 2048];
/// A socket with a message that carries the directory.
pub(crate) const SOCKET_WITH_DIRECTORY: i32 = 9;
/// Where the caller leaves a file open: above the 1,024 that programs usually may have.
pub(crate) const HIGH_FILE: i32 = 3000;

/// Opens the directory and the file of the first two words and starts the command of the others.
fn leave_open(words: &[String]) -> i64 {
    let [directory, file, command @ ..] = words else { return -1 };
    let most = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, most)| most);
    if nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, most, most).is_err() {
        return -1;
    }
    let (directory, file) = (open(directory), open(file));
    if directory < 0 || file < 0 || send(directory, SOCKET_WITH_DIRECTORY) < 0 {
        return -1;
    }
    let placed = DIRECTORIES.map(|number| duplicate(directory, number));
    if placed.iter().chain([&duplicate(file, HIGH_FILE)]).any(|result| *result < 0) {
        return -1;
    }
    exec(command)
}

fn open(path: &str) -> i64 {
    let Ok(path) = CString::new(path) else { return -1 };
    let (here, flags) = (libc::AT_FDCWD as u64, libc::O_CLOEXEC as u64);
    call(libc::SYS_openat, [here, path.as_ptr().addr() as u64, flags, 0, 0, 0])
}

/// Has the descriptor at another number as well, where it stays open over an exec.
fn duplicate(from: i64, to: i32) -> i64 {
    if from == i64::from(to) {
        return call(libc::SYS_fcntl, [from as u64, libc::F_SETFD as u64, 0, 0, 0, 0]);
    }
    call(libc::SYS_dup3, [from as u64, to as u64, 0, 0, 0, 0])
}

/// One message with room for a descriptor.
#[repr(C)]
struct Letter {
    header: libc::cmsghdr,
    descriptor: i32,
    padding: i32,
}

/// Calls `act` with a message of one letter of text and this one.
fn message<T>(letter: &mut Letter, act: impl FnOnce(u64) -> T) -> T {
    let mut byte = b'x';
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all zeroes is a message header without a name, parts or control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = std::ptr::from_mut(letter).cast();
    header.msg_controllen = size_of::<Letter>() as _;
    act((&raw const header).addr() as u64)
}

fn letter(descriptor: i32) -> Letter {
    // SAFETY: all zeroes is an empty control header.
    let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
    header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<i32>()) as _;
    (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    Letter { header, descriptor, padding: 0 }
}

/// Sends a descriptor to the other end of a new pair of sockets, which gets this number.
fn send(descriptor: i64, to: i32) -> i64 {
    let mut pair = [0_i32; 2];
    let (family, kind) = (libc::AF_UNIX as u64, libc::SOCK_STREAM as u64);
    call(libc::SYS_socketpair, [family, kind, 0, pair.as_mut_ptr().addr() as u64, 0, 0]);
    let sent = message(&mut letter(descriptor as i32), |message| {
        call(libc::SYS_sendmsg, [pair[0] as u64, message, 0, 0, 0, 0])
    });
    if sent < 0 { sent } else { duplicate(i64::from(pair[1]), to) }
}

fn receive(from: i32) -> i64 {
    let mut letter = letter(-1);
    let received =
        message(&mut letter, |message| call(libc::SYS_recvmsg, [from as u64, message, 0, 0, 0, 0]));
    if received < 0 { received } else { i64::from(letter.descriptor) }
}

/// Says what the file beside the directory holds, by each way to the directory.
fn read_above_directories() -> i64 {
    for directory in DIRECTORIES.map(i64::from).into_iter().chain([receive(SOCKET_WITH_DIRECTORY)]) {
        let up = c"../file".as_ptr().addr() as u64;
        let file = call(libc::SYS_openat, [directory as u64, up, libc::O_RDONLY as u64, 0, 0, 0]);
        say(&text_of(file));
    }
    0
}

/// Says what is in every file that is open.
fn read_descriptors() -> i64 {
    for number in 3..10_000 {
        let text = text_of(number);
        if !text.is_empty() {
            say(&text);
        }
    }
    0
}

/// What is in an open file, from its start; nothing where it can't be read.
pub(super) fn text_of(file: i64) -> String {
    let mut bytes = [0_u8; 256];
    let address = bytes.as_mut_ptr().addr() as u64;
    let count = call(libc::SYS_pread64, [file as u64, address, bytes.len() as u64, 0, 0, 0]);
    String::from_utf8_lossy(&bytes[..usize::try_from(count).unwrap_or(0)]).into_owned()
}
