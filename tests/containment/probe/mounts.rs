//! Attacks on mounts: each at once, and again in namespaces of its own. Nothing is executed in between, so that no id has
//! to be mapped there to keep the capabilities.

use super::{Attack, call};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};

pub(super) const ATTACKS: &[Attack] = &[("unmount", unmount), ("remount", remount)];

fn here_and_nested(attack: impl Fn()) -> i64 {
    attack();
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    let nested = call(libc::SYS_unshare, [u64::from(flags.unsigned_abs()), 0, 0, 0, 0, 0]);
    if nested == 0 {
        attack();
    }
    nested
}

fn mount(source: Option<&CString>, target: &CString, flags: u64) -> i64 {
    let source = source.map_or(0, |source| source.as_ptr().addr() as u64);
    call(libc::SYS_mount, [source, target.as_ptr().addr() as u64, 0, flags, 0, 0])
}

/// A mount to take away, a directory and another one to show it at, and files to change then.
fn unmount(words: &[String]) -> i64 {
    let [target, from, to, files @ ..] = words else { return -1 };
    let [Ok(target), Ok(from), Ok(to)] = [target, from, to].map(|path| CString::new(path.as_str())) else {
        return -1;
    };
    here_and_nested(|| {
        for flags in [0, libc::MNT_DETACH.unsigned_abs()] {
            call(libc::SYS_umount2, [target.as_ptr().addr() as u64, u64::from(flags), 0, 0, 0, 0]);
        }
        mount(Some(&from), &to, libc::MS_BIND);
        files.iter().for_each(|file| add(file, b"attacker"));
    })
}

/// A mount to take all flags from, a file to read a byte of, and one to add it to. Where the host's mount is `nosuid` or
/// `noexec`, as systemd's `/dev` is, these are locked, and the others go only if they stay.
fn remount(words: &[String]) -> i64 {
    let [target, from, to] = words else { return -1 };
    let Ok(target) = CString::new(target.as_str()) else { return -1 };
    here_and_nested(|| {
        for kept in [0, libc::MS_NOSUID, libc::MS_NOSUID | libc::MS_NOEXEC] {
            if mount(None, &target, libc::MS_REMOUNT | libc::MS_BIND | kept) == 0 {
                break;
            }
        }
        let mut byte = [0];
        if File::open(from).is_ok_and(|mut file| file.read_exact(&mut byte).is_ok()) {
            add(to, &byte);
        }
    })
}

fn add(path: &str, bytes: &[u8]) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(bytes));
}
