//! Attacks that use something up.

use super::{Attack, call, say};
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(super) const ATTACKS: &[Attack] = &[
    ("fill", fill),
    ("make-directories", make_directories),
    ("hold-all", hold_all),
    ("get-one", |words| words.first().map_or(-1, |what| get_one(what, 0))),
];

const HERE: u64 = libc::AT_FDCWD as u64;

/// Gives a file this many bytes of memory. For a tenth of a second: where nothing refuses it, it would take it all.
fn fill(words: &[String]) -> i64 {
    let [path, bytes] = words else { return -1 };
    let (Ok(path), Ok(bytes)) = (CString::new(path.as_str()), bytes.parse()) else { return -1 };
    let flags = (libc::O_CREAT | libc::O_RDWR) as u64;
    let file = call(libc::SYS_openat, [HERE, path.as_ptr().addr() as u64, flags, 0o600, 0, 0]);
    // struct itimerval: no interval, and the time until SIGALRM in seconds and microseconds.
    let timer: [i64; 4] = [0, 0, 0, 100_000];
    call(libc::SYS_setitimer, [libc::ITIMER_REAL as u64, timer.as_ptr().addr() as u64, 0, 0, 0, 0]);
    call(libc::SYS_fallocate, [file as u64, 0, 0, bytes, 0, 0])
}

/// Until one fails.
fn make_directories(words: &[String]) -> i64 {
    let [directory, count] = words else { return -1 };
    let paths = (0..count.parse().unwrap_or(0))
        .map_while(|number: u32| CString::new(format!("{directory}/{number}")).ok());
    let mut results =
        paths.map(|path| call(libc::SYS_mkdirat, [HERE, path.as_ptr().addr() as u64, 0o700, 0, 0, 0]));
    results.find(|result| *result < 0).unwrap_or(0)
}

/// Takes as many as it gets, makes the first file, and keeps them until the second one exists.
fn hold_all(words: &[String]) -> i64 {
    let [what, held, done] = words else { return -1 };
    let got = (0..200).take_while(|number| get_one(what, *number) >= 0).count();
    say(&format!("got {got}"));
    if fs::write(held, "").is_err() {
        return -1;
    }
    for _ in 0..1000 {
        if Path::new(done).exists() {
            return 0;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    -1
}

fn get_one(what: &str, number: u32) -> i64 {
    match what {
        "fanotify" => {
            // Without an identity by file handle it takes a capability (fanotify_init(2)).
            let flags = libc::FAN_REPORT_FID;
            call(libc::SYS_fanotify_init, [u64::from(flags), 0, 0, 0, 0, 0])
        }
        "inotify-instances" => call(libc::SYS_inotify_init1, [0; 6]),
        _ => watch(number),
    }
}

/// Watches one more directory, made here, by the one instance.
fn watch(number: u32) -> i64 {
    use std::sync::OnceLock;
    static INSTANCE: OnceLock<i64> = OnceLock::new();
    let instance = *INSTANCE.get_or_init(|| call(libc::SYS_inotify_init1, [0; 6]));
    let Ok(name) = CString::new(format!("watched-{}-{number}", std::process::id())) else { return -1 };
    let path = name.as_ptr().addr() as u64;
    call(libc::SYS_mkdirat, [HERE, path, 0o700, 0, 0, 0]);
    call(libc::SYS_inotify_add_watch, [instance as u64, path, u64::from(libc::IN_CREATE), 0, 0, 0])
}
