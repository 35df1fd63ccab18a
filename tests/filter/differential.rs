//! The compiled program and the oracle, call by call.

use crate::machine::{Call, X86_64, check, run};
use crate::oracle::{CHECKED, decide};
use sbx::seccomp::{NestedCalls, Policy, Verdict, compile};
use seccompiler::sock_filter;

pub(crate) const MODES: [NestedCalls; 3] = [NestedCalls::None, NestedCalls::Browser, NestedCalls::Full];

pub(crate) fn program(nested: NestedCalls) -> Vec<sock_filter> {
    let program = compile(&Policy { nested, ..Policy::default() }).unwrap();
    check(&program);
    program
}

/// Numbers from a fixed seed, the same everywhere (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.next() % values.len() as u64).unwrap()]
    }
}

/// Values that a rule is about, for any argument.
const TELLING: [u32; 52] = [
    0,
    1,
    2,
    3,
    8,
    9,
    10,
    11,
    15,
    16,
    17,
    35,
    40,
    44,
    17,
    0x80,
    0x5411,
    0x5412,
    0x5413,
    0x541c,
    0x541d,
    0x5423,
    0x5424,
    0x2_0000,
    0x2_0008,
    0x4_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
    0x8000_0000,
    0x0100_0000,
    0x003d_0f00,
    0o101,
    0o102,
    0o20_000_000,
    0o20_200_002,
    0o644,
    0o4755,
    0o2755,
    0o6755,
    0o1777,
    0o100_644,
    0o104_755,
    0o010_600,
    0o140_600,
    0o020_600,
    0o060_600,
    0xffff_ffff,
    0xffff_fffe,
];

fn argument(random: &mut Random) -> u64 {
    let low = match random.next() % 4 {
        0 => random.next() as u32,
        1 => 1 << (random.next() % 32),
        _ => random.of(&TELLING),
    };
    let high = match random.next() % 3 {
        0 => 0,
        1 => 1 << (random.next() % 32),
        _ => random.next() >> 32,
    };
    u64::from(low) | high << 32
}

pub(crate) fn call(random: &mut Random) -> Call {
    let nr = match random.next() % 16 {
        0 => random.next() as u32,
        1 => 0x4000_0000 | (random.next() % 600) as u32,
        2 => random.of(&[u32::MAX, u32::MAX - 1, 0x8000_0000, 0xbfff_ffff, 0x3fff_ffff, 0x4000_0000]),
        3..=8 => random.of(&CHECKED),
        _ => (random.next() % 1101) as u32,
    };
    let arch = match random.next() % 32 {
        0 => random.of(&[0x4000_0003, 0xc000_00b7, 0, 62, 0xc000_003f, 0x8000_003e]),
        _ => X86_64,
    };
    Call { arch, nr, args: std::array::from_fn(|_| argument(random)) }
}

#[track_caller]
fn compare(program: &[sock_filter], nested: NestedCalls, call: &Call) {
    let (ran, wanted) = (run(program, call), decide(nested, call));
    assert_eq!(ran.verdict, wanted, "{nested:?} {call:x?}");
}

#[test]
fn every_number_is_answered_as_the_oracle_says() {
    for nested in MODES {
        let program = program(nested);
        for nr in (0..=1100).flat_map(|nr| [nr, 0x4000_0000 | nr, 0x8000_0000 | nr, u32::MAX - nr]) {
            for arch in [X86_64, 0x4000_0003, 0xc000_00b7] {
                for args in [[0; 6], [u64::MAX; 6], [1 << 32; 6], [0o4755; 6]] {
                    compare(&program, nested, &Call { arch, nr, args });
                }
            }
        }
    }
}

#[test]
fn a_million_calls_are_answered_as_the_oracle_says() {
    let programs = MODES.map(|nested| (nested, program(nested)));
    let mut random = Random(0x5bd1_e995_1234_5678);
    for round in 0..1_000_000 {
        let (nested, program) = &programs[round % 3];
        compare(program, *nested, &call(&mut random));
    }
}

#[test]
fn the_upper_half_of_an_argument_changes_nothing() {
    let mut random = Random(7);
    for (nr, argument, value, wanted) in [
        (16, 1, 0x5412, 1),
        (16, 1, 0x541c, 1),
        (56, 0, 0x1000_0011, 1),
        (41, 0, 38, 97),
        (135, 0, 0x4_0000, 1),
        (157, 0, 35, 1),
        (302, 0, 2, 1),
        (90, 1, 0o4755, 1),
    ] {
        let program = program(NestedCalls::None);
        for _ in 0..2_000 {
            let mut args = [0; 6];
            args[argument] = value | random.next() << 32;
            let verdict = run(&program, &Call { arch: X86_64, nr, args }).verdict;
            assert_eq!(verdict, Verdict::Errno(wanted), "{nr} {args:x?}");
        }
    }
}

/// What the kernel can keep in its bitmap is decided by number and architecture alone.
#[test]
fn a_plain_answer_looks_at_no_argument() {
    for nested in MODES {
        let program = program(nested);
        for nr in (0..=1100).filter(|nr| !CHECKED.contains(nr)) {
            let ran = run(&program, &Call { arch: X86_64, nr, args: [0; 6] });
            assert!(!ran.looked, "{nr}");
        }
    }
}

#[test]
fn a_program_is_short() {
    for nested in MODES {
        let program = program(nested);
        let cases = (0..=1100).map(|nr| run(&program, &Call { arch: X86_64, nr, args: [0x5411; 6] }).steps);
        let longest = cases.max().unwrap();
        assert!(program.len() < 250, "{nested:?}: {}", program.len());
        assert!(longest < 30, "{nested:?}: {longest}");
    }
}
