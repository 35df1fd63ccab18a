//! The answers as a program for the kernel's packet filter machine.
//!
//! A program runs forwards only, and a conditional jump reaches 255 instructions. So it is assembled from its end
//! to its start: whatever an instruction jumps to is in place already, and where that is too far away, a copy of the
//! answer or a long jump is put between.
//!
//! The tests of arguments are seccompiler's: a [`SeccompRule`] becomes instructions that fall through to the next
//! one where it holds and step over it where it doesn't. Its whole filters are of no use here: they ask number by
//! number, know one answer beside the default, and let x32 pass.
#![forbid(unsafe_code)]

use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, ENOSYS,
    SECCOMP_RET_ALLOW, SECCOMP_RET_DATA, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
};
use seccompiler::{BpfProgram, SeccompRule, sock_filter};

use super::Verdict;
use super::policy::{Answer, rules};
use super::table::MACHINE;

/// Where `seccomp_data` has the number and the architecture.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// What a tracer puts in place of a number to have the call skipped. The kernel makes no call of it, and x86's
/// already answers `ENOSYS`; to allow it keeps the result that the tracer chose, and killing would kill every tracee.
const SKIPPED: u32 = u32::MAX;

/// How long a program the kernel takes.
const MAX: usize = 4096;

/// The program that gives these answers to the numbers 0, 1, …
pub(super) fn assemble(answers: &[Answer]) -> Result<BpfProgram, String> {
    let mut program = Assembler { reversed: Vec::new(), targets: Vec::new() };
    let runs = runs(answers);
    // The tests of arguments at the far end, so that the short answers are near the tree.
    for (_, answer) in runs.iter().filter(|(_, answer)| matches!(answer, Answer::Check(_))) {
        program.target(*answer)?;
    }
    let mut root = program.tree(&runs)?;
    if let Some(bit) = MACHINE.second_table {
        let mut kill = program.target(Answer::Always(Verdict::Kill))?;
        let mut allow = program.target(Answer::Always(Verdict::Allow))?;
        let mut skipped = program.branch(BPF_JEQ, SKIPPED, &mut allow, &mut kill)?;
        program.branch(BPF_JSET, bit, &mut skipped, &mut root)?;
    }
    program.push(statement(BPF_LD | BPF_W | BPF_ABS, NUMBER));
    let mut number = program.here();
    let mut kill = program.target(Answer::Always(Verdict::Kill))?;
    program.branch(BPF_JEQ, MACHINE.audit, &mut number, &mut kill)?;
    program.push(statement(BPF_LD | BPF_W | BPF_ABS, ARCH));
    program.reversed.reverse();
    match program.reversed.len() {
        ..=MAX => Ok(program.reversed),
        length => Err(format!("the filter has {length} instructions, at most {MAX} are possible")),
    }
}

/// Neighbours with one answer, together; the last run goes on to the last number.
fn runs(answers: &[Answer]) -> Vec<(u32, Answer)> {
    let beyond = Answer::Always(Verdict::Errno(ENOSYS));
    let mut runs: Vec<(u32, Answer)> = Vec::new();
    for (number, answer) in (0..).zip(answers.iter().copied().chain([beyond])) {
        if runs.last().is_none_or(|(_, last)| *last != answer) {
            runs.push((number, answer));
        }
    }
    runs
}

/// An instruction, by how many follow it.
#[derive(Clone, Copy)]
struct Label(usize);

struct Assembler {
    /// The program, last instruction first.
    reversed: BpfProgram,
    /// Where each answer is given: the nearest place so far.
    targets: Vec<(Answer, Label)>,
}

impl Assembler {
    fn push(&mut self, instruction: sock_filter) {
        self.reversed.push(instruction);
    }

    /// The instruction that was put in last.
    fn here(&self) -> Label {
        Label(self.reversed.len() - 1)
    }

    /// How many instructions the next one would jump over to get there.
    fn distance(&self, to: Label) -> usize {
        self.reversed.len() - to.0 - 1
    }

    /// A search for the number among runs of answers, of which the first begins before all that come here.
    fn tree(&mut self, runs: &[(u32, Answer)]) -> Result<Label, String> {
        if let [(_, answer)] = runs {
            return self.target(*answer);
        }
        let (below, above) = runs.split_at(runs.len() / 2);
        let mut above_label = self.tree(above)?;
        let mut below_label = self.tree(below)?;
        // A leaf that both sides lead to may have been brought nearer by the second.
        for (side, label) in [(above, &mut above_label), (below, &mut below_label)] {
            if let [(_, answer)] = side {
                *label = self.target(*answer)?;
            }
        }
        self.branch(BPF_JGE, above[0].0, &mut above_label, &mut below_label)
    }

    /// A conditional jump. Labels that are too far are replaced by nearer ones.
    fn branch(&mut self, test: u32, value: u32, yes: &mut Label, no: &mut Label) -> Result<Label, String> {
        // One less than a jump reaches: if `no` has to move, that puts `yes` further away by one.
        const REACH: usize = 254;
        for label in [&mut *yes, &mut *no] {
            if self.distance(*label) > REACH {
                *label = self.bring_near(*label);
            }
        }
        let jump = |to| u8::try_from(to).map_err(|_| "a jump of the filter is too far".to_owned());
        let (jt, jf) = (jump(self.distance(*yes))?, jump(self.distance(*no))?);
        self.push(sock_filter { jt, jf, ..statement(BPF_JMP | test | BPF_K, value) });
        Ok(self.here())
    }

    /// The same instruction again if it ends the program, else a jump to it.
    fn bring_near(&mut self, label: Label) -> Label {
        let instruction = self.reversed[label.0].clone();
        let ends = u32::from(instruction.code) == BPF_RET | BPF_K;
        let distance = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
        self.push(if ends { instruction } else { statement(BPF_JMP | BPF_JA, distance) });
        let near = self.here();
        for (_, target) in self.targets.iter_mut().filter(|(_, target)| target.0 == label.0) {
            *target = near;
        }
        near
    }

    /// Where an answer is given.
    fn target(&mut self, answer: Answer) -> Result<Label, String> {
        if let Some((_, label)) = self.targets.iter().find(|(known, _)| *known == answer) {
            return Ok(*label);
        }
        match answer {
            Answer::Always(verdict) => self.push(answer_of(verdict)),
            Answer::Check(check) => {
                let (rules, otherwise) = rules(check)?;
                self.push(answer_of(otherwise));
                for (rule, verdict) in rules.into_iter().rev() {
                    self.push(answer_of(verdict));
                    self.reversed.extend(tests(rule)?.into_iter().rev());
                }
            }
        }
        let label = self.here();
        self.targets.push((answer, label));
        Ok(label)
    }
}

/// The instructions of a rule. seccompiler puts two jumps before them, one over the other, of which the second is for
/// the number's test in its own filters: it leads out of the rules, and here out of the program.
fn tests(rule: SeccompRule) -> Result<BpfProgram, String> {
    let mut instructions = BpfProgram::from(rule);
    let is_jump = |instruction: &sock_filter| u32::from(instruction.code) == BPF_JMP | BPF_JA;
    let tests = instructions.split_off(instructions.len().min(2));
    match instructions.iter().all(is_jump) && !tests.iter().any(is_jump) {
        true => Ok(tests),
        false => Err("seccompiler made a rule of another shape than expected".to_owned()),
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}

fn answer_of(verdict: Verdict) -> sock_filter {
    let value = match verdict {
        Verdict::Allow => SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => SECCOMP_RET_ERRNO | (errno.unsigned_abs() & SECCOMP_RET_DATA),
        Verdict::Kill => SECCOMP_RET_KILL_PROCESS,
    };
    statement(BPF_RET | BPF_K, value)
}
