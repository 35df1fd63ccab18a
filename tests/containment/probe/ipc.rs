//! Attacks on shared memory, message queues and keys; the same words, run outside, make what is attacked and look at it
//! afterwards.

use super::{Attack, call, say};
use std::ffi::CString;

pub(super) const ATTACKS: &[Attack] = &[
    ("segment-new", |_| call(libc::SYS_shmget, [0, SIZE as u64, 0o600, 0, 0, 0])),
    ("segment-write", |words| with_segment(words, copy)),
    ("segment-read", |words| with_segment(words, |memory, text| i64::from(memory.starts_with(text)) - 1)),
    ("segment-remove", |words| call(libc::SYS_shmctl, [id(words), libc::IPC_RMID as u64, 0, 0, 0, 0])),
    ("queue-new", |words| queue(words, libc::O_CREAT | libc::O_RDWR)),
    ("queue-send", |words| {
        let (queue, text) = (queue(words, libc::O_WRONLY), text(words));
        let address = text.as_ptr().addr() as u64;
        call(libc::SYS_mq_timedsend, [queue as u64, address, text.len() as u64, 0, 0, 0])
    }),
    ("queue-receive", |words| {
        // As large as any message may be by default.
        let mut buffer = vec![0u8; 8192];
        let queue = queue(words, libc::O_RDONLY | libc::O_NONBLOCK) as u64;
        let address = buffer.as_mut_ptr().addr() as u64;
        let length = call(libc::SYS_mq_timedreceive, [queue, address, buffer.len() as u64, 0, 0, 0]);
        if length < 0 { length } else { i64::from(buffer.starts_with(text(words))) - 1 }
    }),
    ("queue-remove", |words| {
        let name = CString::new(words[0].as_str()).unwrap_or_default();
        call(libc::SYS_mq_unlink, [name.as_ptr().addr() as u64, 0, 0, 0, 0, 0])
    }),
    ("key-read", key_read),
];

const SIZE: usize = 4096;

/// The first word as a number.
fn id(words: &[String]) -> u64 {
    words.first().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX)
}

/// The second word.
fn text(words: &[String]) -> &[u8] {
    words.get(1).map_or(b"", |word| word.as_bytes())
}

fn copy(memory: &mut [u8], text: &[u8]) -> i64 {
    memory[..text.len()].copy_from_slice(text);
    0
}

/// Attaches the segment that the first word names.
fn with_segment(words: &[String], act: impl Fn(&mut [u8], &[u8]) -> i64) -> i64 {
    let address = call(libc::SYS_shmat, [id(words), 0, 0, 0, 0, 0]);
    if address < 0 {
        return address;
    }
    let start = std::ptr::with_exposed_provenance_mut::<u8>(usize::try_from(address).unwrap_or_default());
    // SAFETY: the kernel has just mapped the segment there, of SIZE bytes, and it stays until the process ends. That other
    // processes may change it is what it is for; nothing here relies on its bytes.
    let memory = unsafe { std::slice::from_raw_parts_mut(start, SIZE) };
    act(memory, text(words))
}

/// Opens the queue that the first word names.
fn queue(words: &[String], flags: i32) -> i64 {
    let name = CString::new(words[0].as_str()).unwrap_or_default();
    call(libc::SYS_mq_open, [name.as_ptr().addr() as u64, flags as u64, 0o600, 0, 0, 0])
}

/// Says what is in a key of the session keyring, by its description.
fn key_read(words: &[String]) -> i64 {
    const SEARCH: u64 = 10;
    const READ: u64 = 11;
    const SESSION_KEYRING: u64 = -3i64 as u64;
    let description = CString::new(words[0].as_str()).unwrap_or_default();
    let names = (c"user".as_ptr().addr() as u64, description.as_ptr().addr() as u64);
    let key = call(libc::SYS_keyctl, [SEARCH, SESSION_KEYRING, names.0, names.1, 0, 0]);
    if key < 0 {
        return key;
    }
    let mut secret = [0u8; 256];
    let address = secret.as_mut_ptr().addr() as u64;
    let length = call(libc::SYS_keyctl, [READ, key as u64, address, secret.len() as u64, 0, 0]);
    let length = usize::try_from(length).unwrap_or_default().min(secret.len());
    say(&String::from_utf8_lossy(&secret[..length]));
    length.try_into().unwrap_or_default()
}
