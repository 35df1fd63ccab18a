//! The kernel's answers. Only calls that the filter refuses are made, so that none of them does anything.
#![allow(unsafe_code)]

use crate::differential::{MODES, Random, call, program};
use crate::machine::{Call, X86_64};
use crate::oracle::decide;
use sbx::seccomp::{NestedCalls, Verdict};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// The errno of a call, 0 if it succeeds.
fn errno(nr: u32, args: [u64; 6]) -> i32 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the callers hand in calls that the thread's filter refuses before the kernel looks at an argument, and
    // calls that read no memory.
    let result = unsafe { libc::syscall(nr.into(), a, b, c, d, e, f) };
    if result == -1 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

/// Runs `test` in a thread of its own under the filter; it can't be taken off again.
fn under<T: Send + 'static>(nested: NestedCalls, test: impl FnOnce() -> T + Send + 'static) -> T {
    let program = program(nested);
    let confined = move || {
        seccompiler::apply_filter(&program).unwrap();
        test()
    };
    std::thread::spawn(confined).join().unwrap()
}

#[test]
fn the_kernel_refuses_what_the_oracle_refuses() {
    for nested in MODES {
        let wrong = under(nested, move || {
            let mut random = Random(0x1234_5678_9abc_def1);
            let numbers = (0..=1100).map(|nr| Call { arch: X86_64, nr, args: [u64::MAX; 6] });
            let any = std::iter::repeat_with(move || Call { arch: X86_64, ..call(&mut random) });
            let refused = numbers.chain(any).filter_map(|call| match decide(nested, &call) {
                Verdict::Errno(wanted) => Some((call, wanted)),
                _ => None,
            });
            let cases = refused.take(4_000).map(|(call, wanted)| (call, wanted, errno(call.nr, call.args)));
            cases.filter(|(_, wanted, got)| wanted != got).take(5).collect::<Vec<_>>()
        });
        assert!(wrong.is_empty(), "{nested:?}: {wrong:x?}");
    }
}

#[test]
fn what_is_allowed_works() {
    under(NestedCalls::None, || {
        assert_eq!(errno(39, [0; 6]), 0, "getpid");
        assert_eq!(errno(135, [0xffff_ffff; 6]), 0, "personality");
        assert_eq!(errno(u32::MAX, [0; 6]), libc::ENOSYS, "a call that a tracer skipped");
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        std::os::unix::net::UnixStream::pair().unwrap();
        std::fs::metadata("/").unwrap();
        std::thread::spawn(|| ()).join().unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
    });
}

/// What kills: the tests below run themselves again as a process of their own, which has this variable.
const DEADLY: &str = "SBX_TEST_DEADLY_CALL";

fn dies(test: &str, deadly: impl FnOnce() + Send + 'static) {
    if std::env::var_os(DEADLY).is_some() {
        under(NestedCalls::Full, deadly);
        return;
    }
    let me = std::env::current_exe().unwrap();
    let status = Command::new(me).args(["--exact", test]).env(DEADLY, "1").output().unwrap().status;
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

#[test]
fn x32_is_killed() {
    dies("kernel::x32_is_killed", || {
        errno(0x4000_0000 | 39, [0; 6]);
    });
}

#[test]
fn i386_is_killed() {
    dies("kernel::i386_is_killed", || {
        let mut answer: u64 = 20;
        // SAFETY: i386's getpid, which reads and writes no memory.
        unsafe {
            std::arch::asm!("int 0x80", inout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
        };
        assert_ne!(answer, 0);
    });
}
