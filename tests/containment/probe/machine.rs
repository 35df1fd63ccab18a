//! Attacks by what the machine itself offers: other entries into the kernel, threads, the calls that mount.

use super::{Attack, call};
use std::process::Command;

pub(super) const ATTACKS: &[Attack] = &[
    ("int-0x80", |_| int_0x80()),
    // getpid's number with x32's bit.
    ("x32", |_| call(0x4000_0000 | libc::SYS_getpid, [0; 6])),
    ("threads", |_| threads()),
    ("new-mount", |words| new_mount(&words[0])),
    ("pick", |words| call(libc::SYS_fspick, [AT_FDCWD, text(&c_string(&words[0])), 0, 0, 0, 0])),
    ("clone-writable", |words| clone_writable(&words[0], &words[1])),
    ("clone-writable-at-once", |words| clone_writable_at_once(&words[0], &words[1])),
    ("set-writable", |words| set_writable(&words[0], &words[1])),
];

/// i386's getpid.
#[cfg(target_arch = "x86_64")]
fn int_0x80() -> i64 {
    let mut result: i64 = 20;
    // SAFETY: the call reads and writes no memory; these registers are all that the kernel clobbers.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn int_0x80() -> i64 {
    -i64::from(libc::ENOSYS)
}

/// Threads, a child, and a daemon that has left the session, all waiting to be looked at.
fn threads() -> i64 {
    let children = ["exec sleep 1000", "setsid sleep 1000 & sleep 1000"];
    for script in children {
        if Command::new("sh").args(["-c", script]).spawn().is_err() {
            return -1;
        }
    }
    let sleepers: Vec<_> = (0..2).map(|_| std::thread::spawn(std::thread::park)).collect();
    sleepers.into_iter().for_each(|sleeper| drop(sleeper.join()));
    0
}

const AT_FDCWD: u64 = -100i64 as u64;
const AT_EMPTY_PATH: u64 = 0x1000;
/// Of open_tree(2).
const CLONE: u64 = 1;
/// `struct mount_attr`: nothing set, `MOUNT_ATTR_RDONLY` cleared.
const WRITABLE: [u64; 4] = [0, 1, 0, 0];

fn c_string(word: &str) -> std::ffi::CString {
    std::ffi::CString::new(word).unwrap_or_default()
}

fn text(text: &std::ffi::CStr) -> u64 {
    text.as_ptr().addr() as u64
}

/// Mounts a tmpfs by the calls that came after mount(2).
fn new_mount(at: &str) -> i64 {
    const CREATE: u64 = 6;
    const FROM_EMPTY_PATH: u64 = 4;
    let context = call(libc::SYS_fsopen, [text(c"tmpfs"), 0, 0, 0, 0, 0]);
    if context < 0 {
        return context;
    }
    call(libc::SYS_fsconfig, [context as u64, CREATE, 0, 0, 0, 0]);
    let mount = call(libc::SYS_fsmount, [context as u64, 0, 0, 0, 0, 0]);
    let place = c_string(at);
    let to = text(&place);
    call(libc::SYS_move_mount, [mount as u64, text(c""), AT_FDCWD, to, FROM_EMPTY_PATH, 0])
}

/// Clones a read-only mount, makes the clone writable, and makes a file there without attaching it anywhere.
fn clone_writable(directory: &str, name: &str) -> i64 {
    let tree = call(libc::SYS_open_tree, [AT_FDCWD, text(&c_string(directory)), CLONE, 0, 0, 0]);
    if tree < 0 {
        return tree;
    }
    let attributes = WRITABLE.as_ptr().addr() as u64;
    call(libc::SYS_mount_setattr, [tree as u64, text(c""), AT_EMPTY_PATH, attributes, 32, 0]);
    create(tree as u64, name)
}

/// The same in one call (Linux 6.15).
fn clone_writable_at_once(directory: &str, name: &str) -> i64 {
    const OPEN_TREE_ATTR: i64 = 467;
    let attributes = WRITABLE.as_ptr().addr() as u64;
    let path = c_string(directory);
    let tree = call(OPEN_TREE_ATTR, [AT_FDCWD, text(&path), CLONE, attributes, 32, 0]);
    if tree < 0 { tree } else { create(tree as u64, name) }
}

/// Makes the read-only mount itself writable, and a file there.
fn set_writable(directory: &str, name: &str) -> i64 {
    let path = c_string(directory);
    let attributes = WRITABLE.as_ptr().addr() as u64;
    let set = call(libc::SYS_mount_setattr, [AT_FDCWD, text(&path), 0, attributes, 32, 0]);
    if set < 0 { set } else { create(AT_FDCWD, &format!("{directory}/{name}")) }
}

fn create(directory: u64, name: &str) -> i64 {
    let flags = (libc::O_CREAT | libc::O_WRONLY) as u64;
    call(libc::SYS_openat, [directory, text(&c_string(name)), flags, 0o600, 0, 0])
}
