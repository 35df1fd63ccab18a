//! System calls as a test words them: `NAME:ARGUMENT:…`, where the name may be a number, and an argument is a number,
//! `=TEXT` for the address of a text, or `*N,N,…` for the address of such words.

use super::{Attack, call};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

pub(super) const ATTACKS: &[Attack] = &[
    ("call", |words| words.first().map_or(-i64::from(libc::EINVAL), |word| Worded::parse(word).make())),
    ("past-the-filter", past_the_filter),
];

/// A call, with the memory that its arguments point to.
struct Worded {
    number: i64,
    arguments: [u64; 6],
    _texts: Vec<CString>,
    _words: Vec<Vec<u64>>,
}

impl Worded {
    /// What can't be read becomes 0 or a call that there isn't: the test then misses what it expects.
    fn parse(word: &str) -> Self {
        let mut parts = word.split(':');
        let name = parts.next().unwrap_or_default();
        let known = sbx::seccomp::names().find(|(known, _)| *known == name).map(|(_, number)| number.into());
        let number = known.or_else(|| name.parse().ok()).unwrap_or(-1);
        let mut worded = Self { number, arguments: [0; 6], _texts: Vec::new(), _words: Vec::new() };
        for (index, part) in parts.enumerate().take(6) {
            worded.arguments[index] = worded.argument(part);
        }
        worded
    }

    fn argument(&mut self, part: &str) -> u64 {
        if let Some(text) = part.strip_prefix('=') {
            let text = CString::new(text).unwrap_or_default();
            let address = text.as_ptr().addr() as u64;
            self._texts.push(text);
            return address;
        }
        if let Some(words) = part.strip_prefix('*') {
            let mut words: Vec<u64> = words.split(',').map(number).collect();
            let address = words.as_mut_ptr().addr() as u64;
            self._words.push(words);
            return address;
        }
        number(part)
    }

    fn make(&self) -> i64 {
        call(self.number, self.arguments)
    }
}

fn number(text: &str) -> u64 {
    match (text.strip_prefix("0x"), text.strip_prefix('-')) {
        (Some(hex), _) => u64::from_str_radix(hex, 16).unwrap_or(0),
        (_, Some(positive)) => positive.parse::<u64>().unwrap_or(0).wrapping_neg(),
        _ => text.parse().unwrap_or(0),
    }
}

/// The errno of the listener below.
const ANSWER: i32 = libc::ENOTUNIQ;

/// Makes calls in a thread with a filter of its own that sends them to a listener. A refusal of another filter weighs more
/// (seccomp(2)): only what no other filter refuses comes to the listener, in place of a kernel that would carry it out.
fn past_the_filter(words: &[String]) -> i64 {
    static DONE: AtomicBool = AtomicBool::new(false);
    let calls: Vec<Worded> = words.iter().map(|word| Worded::parse(word)).collect();
    let filter = notifying(&calls);
    let (sender, receiver) = channel();
    let caller = std::thread::spawn(move || {
        listen(&filter, &sender);
        drop(sender);
        for call in &calls {
            call.make();
        }
        DONE.store(true, Ordering::SeqCst);
    });
    let Ok(listener) = receiver.recv() else { return -i64::from(libc::EIO) };
    if listener < 0 {
        return listener.into();
    }
    while !DONE.load(Ordering::SeqCst) {
        answer(listener);
    }
    let _ = caller.join();
    0
}

/// A program in the words of `struct sock_filter`: these numbers go to the listener, all others pass.
fn notifying(calls: &[Worded]) -> Vec<u64> {
    const LOAD_NUMBER: u64 = 0x20;
    const IF_EQUAL_ELSE_SKIP_ONE: u64 = 0x15 | 1 << 24;
    const RETURN: u64 = 0x06;
    const USER_NOTIF: u64 = 0x7fc0_0000;
    const ALLOW: u64 = 0x7fff_0000;
    let mut numbers: Vec<u64> = calls.iter().map(|call| call.number as u64 & 0xffff_ffff).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut program = vec![LOAD_NUMBER];
    for number in numbers {
        program.extend([IF_EQUAL_ELSE_SKIP_ONE | number << 32, RETURN | USER_NOTIF << 32]);
    }
    program.push(RETURN | ALLOW << 32);
    program
}

/// Puts the calling thread under the filter and sends its listener, or the errno below zero.
fn listen(program: &[u64], sender: &Sender<RawFd>) {
    const SET_MODE_FILTER: u64 = 1;
    const NEW_LISTENER: u64 = 1 << 3;
    let header = [program.len() as u64, program.as_ptr().addr() as u64];
    call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0]);
    let header = header.as_ptr().addr() as u64;
    let listener = call(libc::SYS_seccomp, [SET_MODE_FILTER, NEW_LISTENER, header, 0, 0, 0]);
    let _ = sender.send(RawFd::try_from(listener).unwrap_or(-libc::EIO));
}

/// Waits for a call, not for long, and answers it.
fn answer(listener: RawFd) {
    const RECEIVE: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    let fd = listener as u64;
    let readable = libc::POLLIN as u64;
    let mut waiting = [fd | readable << 32];
    let tenth = [0u64, 100_000_000];
    let addresses = (waiting.as_mut_ptr().addr() as u64, tenth.as_ptr().addr() as u64);
    call(libc::SYS_ppoll, [addresses.0, 1, addresses.1, 0, 0, 0]);
    if waiting[0] >> 48 & readable == 0 {
        return;
    }
    let mut asked = [0u64; 10];
    if call(libc::SYS_ioctl, [fd, RECEIVE, asked.as_mut_ptr().addr() as u64, 0, 0, 0]) != 0 {
        return;
    }
    let errno = u64::from(-ANSWER as u32);
    let reply = [asked[0], 0, errno];
    call(libc::SYS_ioctl, [fd, SEND, reply.as_ptr().addr() as u64, 0, 0, 0]);
}
