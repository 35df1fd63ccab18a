//! Attacks on other processes, and processes that stay.

use super::children::detached;
use super::{Attack, call, say};
use std::ffi::CString;
use std::fs;
use std::time::Duration;

pub(super) const ATTACKS: &[Attack] = &[
    ("signal", signal),
    ("wait", |_| wait()),
    ("read-memory", read_memory),
    ("take-descriptor", take_descriptor),
    ("daemons", daemons),
    ("overwrite-launcher", |_| overwrite_launcher()),
];

fn pid(word: &str) -> u64 {
    word.parse().unwrap_or(0)
}

/// Sends SIGTERM in some way to a process, never to a group.
fn signal(words: &[String]) -> i64 {
    let [way, target] = words else { return -1 };
    let (target, signal) = (pid(target), libc::SIGTERM as u64);
    if target == 0 {
        return -1;
    }
    match way.as_str() {
        "kill" => call(libc::SYS_kill, [target, signal, 0, 0, 0, 0]),
        "tgkill" => call(libc::SYS_tgkill, [target, target, signal, 0, 0, 0]),
        "rt_sigqueueinfo" => {
            // siginfo_t of the kernel: signal, error, code, and up to 128 bytes.
            let mut info = [0_i32; 32];
            (info[0], info[2]) = (libc::SIGTERM, libc::SI_QUEUE);
            call(libc::SYS_rt_sigqueueinfo, [target, signal, info.as_ptr().addr() as u64, 0, 0, 0])
        }
        _ => {
            let pidfd = call(libc::SYS_pidfd_open, [target, 0, 0, 0, 0, 0]);
            call(libc::SYS_pidfd_send_signal, [pidfd as u64, signal, 0, 0, 0, 0])
        }
    }
}

/// Waits for its end as somebody whom every process of the same user may trace.
fn wait() -> i64 {
    call(libc::SYS_prctl, [libc::PR_SET_PTRACER as u64, libc::PR_SET_PTRACER_ANY, 0, 0, 0, 0]);
    std::thread::sleep(Duration::from_secs(60));
    0
}

/// Where a process has its environment: fields 50 and 51 of its stat, which only those learn who may trace it.
fn environment_of(target: u64) -> (u64, usize) {
    let stat = fs::read_to_string(format!("/proc/{target}/stat")).unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    match fields.get(47..49) {
        Some(&[start, end]) if end > start => (start, (end - start) as usize),
        // The kernel refuses before it looks at an address.
        _ => (0x1000, 8),
    }
}

/// Says what is in the environment of a process, read in some way.
fn read_memory(words: &[String]) -> i64 {
    let [way, target] = words else { return -1 };
    let target = pid(target);
    let (start, length) = environment_of(target);
    let mut bytes = vec![0_u8; length.next_multiple_of(8)];
    let result = match way.as_str() {
        "process_vm_readv" => {
            let (own, other) = ([bytes.as_mut_ptr().addr() as u64, length as u64], [start, length as u64]);
            let (own, other) = (own.as_ptr().addr() as u64, other.as_ptr().addr() as u64);
            call(libc::SYS_process_vm_readv, [target, own, 1, other, 1, 0])
        }
        "ptrace" => peek(target, start, &mut bytes),
        _ => {
            let Ok(path) = CString::new(format!("/proc/{target}/mem")) else { return -1 };
            let (here, path) = (libc::AT_FDCWD as u64, path.as_ptr().addr() as u64);
            let file = call(libc::SYS_openat, [here, path, libc::O_RDONLY as u64, 0, 0, 0]);
            let address = bytes.as_mut_ptr().addr() as u64;
            call(libc::SYS_pread64, [file as u64, address, length as u64, start, 0, 0])
        }
    };
    say(&String::from_utf8_lossy(&bytes));
    result
}

fn peek(target: u64, start: u64, bytes: &mut [u8]) -> i64 {
    let ptrace = |request: u32, address: u64, data: u64| {
        call(libc::SYS_ptrace, [u64::from(request), target, address, data, 0, 0])
    };
    let seized = ptrace(libc::PTRACE_SEIZE, 0, 0);
    if seized < 0 {
        return seized;
    }
    ptrace(libc::PTRACE_INTERRUPT, 0, 0);
    call(libc::SYS_wait4, [target, 0, libc::__WALL as u64, 0, 0, 0]);
    for (address, chunk) in (start..).step_by(8).zip(bytes.chunks_exact_mut(8)) {
        let mut word = 0_u64;
        ptrace(libc::PTRACE_PEEKDATA, address, (&raw mut word).addr() as u64);
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    ptrace(libc::PTRACE_DETACH, 0, 0)
}

/// Takes descriptor 1 of a process.
fn take_descriptor(words: &[String]) -> i64 {
    let [target] = words else { return -1 };
    let pidfd = call(libc::SYS_pidfd_open, [pid(target), 0, 0, 0, 0, 0]);
    call(libc::SYS_pidfd_getfd, [pidfd as u64, 1, 0, 0, 0, 0])
}

/// Leaves this many daemons.
fn daemons(words: &[String]) -> i64 {
    let Some(count) = words.first().and_then(|word| word.parse().ok()) else { return -1 };
    let made = (0..count).take_while(|_| detached(stay) == 0);
    made.count() as i64
}

/// Not for good: where nothing ends it, a daemon ends itself.
fn stay() -> i64 {
    std::thread::sleep(Duration::from_secs(20));
    0
}

/// Opens the launcher's file by the process that runs it, and leaves a daemon that writes to it when it can.
fn overwrite_launcher() -> i64 {
    // PID 1, or what would be that.
    let launcher = call(libc::SYS_getppid, [0; 6]);
    let Ok(path) = CString::new(format!("/proc/{launcher}/exe")) else { return -1 };
    let (here, path) = (libc::AT_FDCWD as u64, path.as_ptr().addr() as u64);
    let file = call(libc::SYS_openat, [here, path, libc::O_PATH as u64, 0, 0, 0]);
    if file < 0 {
        return file;
    }
    detached(move || {
        for _ in 0..200 {
            if fs::write(format!("/proc/self/fd/{file}"), "overwritten").is_ok() {
                return 0;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        -1
    })
}
