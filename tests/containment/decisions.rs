//! F8: a filter that asks a supervisor can be tricked by memory that changes while the supervisor looks (seccomp(2)). This
//! one asks nobody and sees numbers only. No plan says otherwise, so in place of a row without its walls the check itself is
//! shown to notice programs that do.

use crate::common::{Case, Verdict};
use libc::{
    BPF_ABS, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF,
};
use libtest_mimic::Failed;
use sbx::seccomp::{NestedCalls, Policy, compile};
use seccompiler::sock_filter;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("F8_decides_by_numbers_alone::as_shipped", |_| decides_by_numbers()),
        Case::new("F8_decides_by_numbers_alone::other_programs_are_noticed", |_| others_are_noticed()),
    ]
}

fn programs() -> Result<Vec<Vec<sock_filter>>, Failed> {
    let mut programs = Vec::new();
    for nested in [NestedCalls::None, NestedCalls::Browser, NestedCalls::Full] {
        for (allow, deny) in [(&[][..], &[][..]), (&["@known"], &[]), (&[], &["@debug", "@file-system"])] {
            let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
            programs.push(compile(&Policy {
                allow: words(allow),
                deny: words(deny),
                nested,
                ..Policy::default()
            })?);
        }
    }
    Ok(programs)
}

fn decides_by_numbers() -> Verdict {
    for program in programs()? {
        if let Some(found) = program.iter().find(|instruction| !is_plain(instruction)) {
            return Err(format!("an answer or a look of another kind: {found:?}").into());
        }
    }
    Ok(())
}

/// Neither asks anybody nor looks at anything but number, architecture and arguments.
fn is_plain(instruction: &sock_filter) -> bool {
    /// `instruction_pointer` of `seccomp_data` lies between the architecture and the arguments.
    const LOOKS: [std::ops::Range<u32>; 2] = [0..8, 16..64];
    let (code, value) = (u32::from(instruction.code), instruction.k);
    match code & 7 {
        BPF_RET => {
            let action = value & libc::SECCOMP_RET_ACTION_FULL;
            code == BPF_RET | BPF_K
                && [SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS].contains(&action)
        }
        BPF_LD => code == BPF_LD | BPF_W | BPF_ABS && LOOKS.iter().any(|look| look.contains(&value)),
        _ => true,
    }
}

fn others_are_noticed() -> Verdict {
    let instruction = |code, value| sock_filter { code, jt: 0, jf: 0, k: value };
    let answers = [SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE].map(|answer| instruction(0x06, answer));
    // The instruction pointer's halves; a word of the program's own memory; the accumulator as an answer.
    let others = [instruction(0x20, 8), instruction(0x20, 12), instruction(0x60, 0), instruction(0x16, 0)];
    match answers.iter().chain(&others).find(|other| is_plain(other)) {
        Some(missed) => Err(format!("not noticed: {missed:?}").into()),
        None => Ok(()),
    }
}
