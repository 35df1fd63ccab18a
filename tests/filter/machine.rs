//! The kernel's packet filter machine, as far as filters of system calls use it.

use sbx::seccomp::Verdict;
use seccompiler::sock_filter;

/// `AUDIT_ARCH_X86_64`.
pub(crate) const X86_64: u32 = 0xc000_003e;

/// One call, as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) arch: u32,
    pub(crate) nr: u32,
    pub(crate) args: [u64; 6],
}

/// What a program did with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) verdict: Verdict,
    /// Whether it read anything but number and architecture: then the kernel can't keep the answer.
    pub(crate) looked: bool,
    pub(crate) steps: usize,
}

fn load(call: &Call, offset: u32) -> u32 {
    let offset = usize::try_from(offset).unwrap();
    match offset {
        0 => call.nr,
        4 => call.arch,
        8 | 12 => panic!("the address of the instruction is no business of the filter"),
        16..=60 if offset % 4 == 0 => {
            let arg = call.args[(offset - 16) / 8];
            if offset % 8 == 0 { arg as u32 } else { (arg >> 32) as u32 }
        }
        _ => panic!("load from {offset}"),
    }
}

fn verdict(value: u32) -> Verdict {
    match value {
        0x7fff_0000 => Verdict::Allow,
        0x8000_0000 => Verdict::Kill,
        0x0005_0000..=0x0005_ffff => Verdict::Errno(i32::try_from(value & 0xffff).unwrap()),
        _ => panic!("unexpected answer {value:#x}"),
    }
}

/// What the kernel checks before it takes a program: known instructions, jumps that stay inside, an answer at the end.
pub(crate) fn check(program: &[sock_filter]) {
    assert!((1..=4096).contains(&program.len()));
    assert_eq!(program.last().unwrap().code, 0x06);
    for (at, sock_filter { code, jt, jf, k }) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        let inside = match code {
            0x20 => *k < 64 && k % 4 == 0,
            0x05 => usize::try_from(*k).unwrap() < left,
            0x15 | 0x25 | 0x35 | 0x45 => usize::from(*jt.max(jf)) < left,
            0x06 | 0x54 => true,
            _ => false,
        };
        assert!(inside, "{at} of {}: {:?}", program.len(), program[at]);
    }
}

/// Runs a program; a wrong instruction, or a jump out of it, panics.
pub(crate) fn run(program: &[sock_filter], call: &Call) -> Ran {
    let (mut at, mut accumulator, mut looked) = (0, 0u32, false);
    for steps in 1.. {
        let sock_filter { code, jt, jf, k } = &program[at];
        let jump = |taken: bool| 1 + usize::from(if taken { *jt } else { *jf });
        at += match code {
            0x20 => {
                looked |= *k > 4;
                accumulator = load(call, *k);
                1
            }
            0x54 => {
                accumulator &= k;
                1
            }
            0x05 => 1 + usize::try_from(*k).unwrap(),
            0x15 => jump(accumulator == *k),
            0x25 => jump(accumulator > *k),
            0x35 => jump(accumulator >= *k),
            0x45 => jump(accumulator & k != 0),
            0x06 => return Ran { verdict: verdict(*k), looked, steps },
            _ => panic!("instruction {code:#x} at {at}"),
        };
    }
    unreachable!()
}
