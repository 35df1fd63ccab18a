//! Attacks that want privileges.

use super::children::exec;
use super::descriptors::text_of;
use super::{Attack, call, say};
use std::ffi::{CStr, CString};

pub(super) const ATTACKS: &[Attack] = &[
    ("user-namespace", user_namespace),
    ("file-capabilities", |_| file_capabilities()),
    ("raise-capabilities", |_| raise_capabilities()),
    ("regain-capabilities", |_| regain_capabilities()),
    ("leave-groups", leave_groups),
];

fn user_namespace(words: &[String]) -> i64 {
    let [way] = words else { return -1 };
    let (flag, signal) = (libc::CLONE_NEWUSER as u64, libc::SIGCHLD as u64);
    match way.as_str() {
        "unshare" => call(libc::SYS_unshare, [flag, 0, 0, 0, 0, 0]),
        "clone" => call(libc::SYS_clone, [flag | signal, 0, 0, 0, 0, 0]),
        _ => {
            // struct clone_args of clone3(2), version 0: the flags come first, the signal fifth.
            let arguments = [flag, 0, 0, 0, signal, 0, 0, 0];
            let size = size_of_val(&arguments) as u64;
            call(libc::SYS_clone3, [arguments.as_ptr().addr() as u64, size, 0, 0, 0, 0])
        }
    }
}

fn sleep() -> i64 {
    exec(&["sleep", "1000"])
}

/// `struct __user_cap_header_struct`, version 3, of this process.
const HEADER: [u32; 2] = [0x2008_0522, 0];

/// Effective, permitted and inheritable, of the lower 32 capabilities and of the others.
type Sets = [u32; 6];

fn sets() -> Sets {
    let mut sets = [0; 6];
    call(libc::SYS_capget, [HEADER.as_ptr().addr() as u64, sets.as_mut_ptr().addr() as u64, 0, 0, 0, 0]);
    sets
}

fn set(sets: Sets) -> i64 {
    call(libc::SYS_capset, [HEADER.as_ptr().addr() as u64, sets.as_ptr().addr() as u64, 0, 0, 0, 0])
}

/// `SECBIT_NOROOT`: root is nothing special.
const NO_ROOT: u64 = 1;

fn securebits(bits: u64) -> i64 {
    call(libc::SYS_prctl, [libc::PR_SET_SECUREBITS as u64, bits, 0, 0, 0, 0])
}

/// Makes a program that gives a capability to who starts it, drops all capabilities, and becomes that program.
fn file_capabilities() -> i64 {
    let (tmpfs, place) = (c"tmpfs".as_ptr().addr() as u64, c"/tmp".as_ptr().addr() as u64);
    call(libc::SYS_mount, [tmpfs, place, tmpfs, 0, 0, 0]);
    const PROGRAM: &CStr = c"/tmp/sleep";
    if std::fs::copy("/bin/sleep", "/tmp/sleep").is_err() {
        return -1;
    }
    // struct vfs_cap_data, version 2: CAP_NET_RAW, effective from the start.
    let value: [u32; 5] = [0x0200_0001_u32.to_le(), (1_u32 << 13).to_le(), 0, 0, 0];
    let (path, name) = (PROGRAM.as_ptr().addr() as u64, c"security.capability".as_ptr().addr() as u64);
    call(libc::SYS_setxattr, [path, name, value.as_ptr().addr() as u64, 20, 0, 0]);
    securebits(NO_ROOT);
    set([0; 6]);
    exec(&["/tmp/sleep", "1000"])
}

/// Makes all that it may have inheritable and ambient.
fn raise_capabilities() -> i64 {
    let [_, low, _, _, high, _] = sets();
    set([low, low, low, high, high, high]);
    for capability in 0..64 {
        let raise = libc::PR_CAP_AMBIENT_RAISE as u64;
        call(libc::SYS_prctl, [libc::PR_CAP_AMBIENT as u64, raise, capability, 0, 0, 0]);
    }
    sleep()
}

/// Is root, in all ways, and becomes another program.
fn regain_capabilities() -> i64 {
    securebits(0);
    call(libc::SYS_setresuid, [0; 6]);
    call(libc::SYS_setresgid, [0; 6]);
    sleep()
}

/// Leaves all groups and says what is in a file.
fn leave_groups(words: &[String]) -> i64 {
    let Some(Ok(path)) = words.first().map(|path| CString::new(path.as_str())) else { return -1 };
    let left = call(libc::SYS_setgroups, [0; 6]);
    let (here, path) = (libc::AT_FDCWD as u64, path.as_ptr().addr() as u64);
    say(&text_of(call(libc::SYS_openat, [here, path, libc::O_RDONLY as u64, 0, 0, 0])));
    left
}
