//! The rules: what each system call is answered.
#![forbid(unsafe_code)]

use libc::{EAFNOSUPPORT, ENOSYS, EPERM, EPROTONOSUPPORT};
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::table::MACHINE;
use super::{NestedCalls, Policy, Verdict, groups, unknown};

/// What ordinary programs need.
const ALLOWED: &str = "@default @basic-io @file-system @chown @io-event @aio @ipc @memlock @network-io @pkey \
     @process @resources @sandbox @setuid @signal @sync @timer \
     capget capset copy_file_range fadvise64 flock getcpu getpriority ioctl ioprio_get madvise memfd_secret \
     mincore mremap name_to_handle_at personality readahead remap_file_pages sched_get_priority_max \
     sched_get_priority_min sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sendfile \
     setfsgid setfsuid setpgid setsid splice sysinfo tee umask uname vmsplice";

/// What reaches the machine, other processes or rarely used parts of the kernel: known by programs to need
/// privileges, so that `EPERM` is an answer that they handle.
const REFUSED: &str = "@clock @cpu-emulation @debug @keyring @module @raw-io @reboot @swap \
     acct bpf chroot create_module fanotify_init fanotify_mark get_kernel_syms mount nfsservctl open_by_handle_at \
     pivot_root query_module quotactl quotactl_fd setdomainname sethostname setns syslog umount2 unshare uselib \
     userfaultfd ustat vhangup";

/// What is answered as a kernel that doesn't have it would, because programs then fall back: to `clone`, whose flags
/// the filter can see, and `openat`, whose mode it can; to `mount`; to plain reads and writes, which pass the filter one
/// by one; to memory that is the same on every node.
const ABSENT: &str = "clone3 openat2 io_uring_enter io_uring_register io_uring_setup \
     get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node";

/// What a browser's sandbox needs to make namespaces.
const BROWSER: &str = "chroot clone clone3 unshare";

/// What a container engine needs on top: mounts, and files that are not the payload's own alone.
const FULL: &str = "@mount listmount listns setdomainname sethostname setns statmount openat2";

/// What can give a file a set-id mode.
const MODES: &str = "chmod fchmod fchmodat fchmodat2 mknod mknodat creat open openat";

/// Calls whose arguments decide, with the check.
const CHECKED: &[(&str, Check)] = &[
    ("clone", Check::Clone),
    ("ioctl", Check::Ioctl),
    ("socket", Check::Socket),
    ("socketpair", Check::Socket),
    ("prlimit64", Check::Limits),
    ("personality", Check::Personality),
    ("prctl", Check::Control),
    ("chmod", Check::Mode(1)),
    ("fchmod", Check::Mode(1)),
    ("fchmodat", Check::Mode(2)),
    ("fchmodat2", Check::Mode(2)),
    ("creat", Check::Mode(1)),
    ("open", Check::Open(1)),
    ("openat", Check::Open(2)),
    ("mknod", Check::Node(1)),
    ("mknodat", Check::Node(2)),
];

/// Checks that no policy lifts: what they stop is never a payload's business, and `socket` is a wall of families.
const ALWAYS: [&str; 3] = ["ioctl", "socket", "socketpair"];

/// Calls about namespaces, and the one that hides a file's mode, that stand in broad groups. A group doesn't lift their
/// rules, only their own name: else `@system-service`, which asks for nothing unusual, would hand out user namespaces.
const BY_NAME_ONLY: [&str; 4] = ["clone3", "openat2", "setns", "unshare"];

/// Calls that sbx itself makes to start the program, or that every program ends with.
const NEEDED: [&str; 6] = ["execve", "exit", "exit_group", "read", "rt_sigreturn", "write"];

/// What a number is answered: at once, or after a look at the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Whatever the arguments.
    Always(Verdict),
    /// As the check says.
    Check(Check),
}

const REFUSAL: Verdict = Verdict::Errno(EPERM);
const ALLOW: Answer = Answer::Always(Verdict::Allow);
const REFUSE: Answer = Answer::Always(REFUSAL);
const LACK: Answer = Answer::Always(Verdict::Errno(ENOSYS));

/// A look at the arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// No new namespaces.
    Clone,
    /// No typing into a terminal, no taking over of the console.
    Ioctl,
    /// Families that everybody uses, and of netlink the routing tables.
    Socket,
    /// Only the caller's own limits.
    Limits,
    /// Personalities that change nothing about the machine that a program sees.
    Personality,
    /// These, and the one that debuggers ask for.
    PersonalityOrFixedAddresses,
    /// Not the layout of the address space, which `/proc` repeats to others.
    Control,
    /// No set-id bits in the mode, which is this argument.
    Mode(u8),
    /// Its flags are this argument, and the next one the mode of a file that it makes: no set-id bits in that.
    Open(u8),
    /// No device, and no set-id bits either.
    Node(u8),
}

/// The answers to the numbers 0, 1, …; to all from the end on, it is `ENOSYS`.
pub(super) fn answers(policy: &Policy) -> Result<Vec<Answer>, String> {
    let mut answers = Answers { now: Vec::new(), base: Vec::new() };
    answers.set(ALLOWED, ALLOW)?;
    answers.set(REFUSED, REFUSE)?;
    answers.set(ABSENT, LACK)?;
    for (name, check) in CHECKED {
        answers.set(name, Answer::Check(*check))?;
    }
    answers.base.clone_from(&answers.now);
    if policy.nested != NestedCalls::None {
        answers.set(BROWSER, ALLOW)?;
    }
    if policy.nested == NestedCalls::Full {
        answers.set(FULL, ALLOW)?;
    }
    if policy.nested == NestedCalls::Full || policy.set_id {
        answers.set(MODES, ALLOW)?;
    }
    if policy.chroot {
        answers.set("chroot", ALLOW)?;
    }
    answers.edit(policy)?;
    if MACHINE.number("ptrace").is_some_and(|ptrace| answers.get(ptrace) == ALLOW) {
        answers.replace(Answer::Check(Check::Personality), Answer::Check(Check::PersonalityOrFixedAddresses));
    }
    Ok(answers.now)
}

/// The calls that a word of a list means.
pub(super) fn calls(word: &str) -> Result<Vec<&str>, String> {
    match groups::members(word) {
        Some(members) => Ok(members),
        None if MACHINE.number(word).is_some() => Ok(vec![word]),
        None => Err(unknown(word)),
    }
}

struct Answers {
    now: Vec<Answer>,
    /// What they were before anything of this policy.
    base: Vec<Answer>,
}

impl Answers {
    fn get(&self, number: u32) -> Answer {
        self.now.get(number as usize).copied().unwrap_or(LACK)
    }

    fn put(&mut self, number: u32, answer: Answer) {
        let index = number as usize;
        if index >= self.now.len() {
            self.now.resize(index + 1, LACK);
        }
        self.now[index] = answer;
    }

    fn replace(&mut self, old: Answer, new: Answer) {
        self.now.iter_mut().filter(|answer| **answer == old).for_each(|answer| *answer = new);
    }

    /// The same answer for all calls of a list.
    fn set(&mut self, words: &str, answer: Answer) -> Result<(), String> {
        for word in words.split_whitespace() {
            for name in calls(word)? {
                if let Some(number) = MACHINE.number(name) {
                    self.put(number, answer);
                }
            }
        }
        Ok(())
    }

    /// The user's lists: groups first, so that a call's own name weighs more, and of each `deny` last.
    fn edit(&mut self, policy: &Policy) -> Result<(), String> {
        for group in [true, false] {
            for (words, allow) in [(&policy.allow, true), (&policy.deny, false)] {
                for word in words.iter().filter(|word| word.starts_with('@') == group) {
                    for name in calls(word)? {
                        self.edit_one(word, name, allow)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn edit_one(&mut self, word: &str, name: &str, allow: bool) -> Result<(), String> {
        let Some(number) = MACHINE.number(name) else { return Ok(()) };
        let by_name = word == name;
        if !allow {
            if NEEDED.contains(&name) {
                return Err(format!("{} can't be denied: no program runs without it", super::quote(name)));
            }
            // A program that can do without a call expects it to be absent, not refused: glibc starts no thread
            // where `clone3` is `EPERM`.
            let absent = self.base.get(number as usize).is_none_or(|answer| *answer == LACK);
            self.put(number, if absent { LACK } else { REFUSE });
        } else if let Some((_, check)) = CHECKED.iter().find(|(checked, _)| *checked == name) {
            // The check stays, or comes back after a denial, unless the call itself was named.
            if by_name && !ALWAYS.contains(&name) {
                self.put(number, ALLOW);
            } else if self.get(number) == REFUSE {
                self.put(number, Answer::Check(*check));
            }
        } else if by_name || !BY_NAME_ONLY.contains(&name) {
            self.put(number, ALLOW);
        }
        Ok(())
    }
}

/// A rule about arguments and its answer; the first one that fits decides.
pub(super) type Rules = Vec<(SeccompRule, Verdict)>;

/// The rules of a check, and the answer where none fits.
///
/// The kernel takes each of these arguments as an `int`, a flag word or a `umode_t` of at most 32 bits, and ignores
/// the rest of the register; so must the filter, or a set bit 32 would walk around it (CVE-2019-10063). `clone`'s
/// flags are a long, of which the kernel also drops the upper half.
pub(super) fn rules(check: Check) -> Result<(Rules, Verdict), String> {
    match check {
        Check::Clone => list([(vec![(0, none_of(NEW_NAMESPACES))], Verdict::Allow)], REFUSAL),
        Check::Ioctl => {
            let others = TERMINAL_TAKEOVER.map(|request| (1, (SeccompCmpOp::Ne, request)));
            list([(others.to_vec(), Verdict::Allow)], REFUSAL)
        }
        Check::Socket => {
            let family = |family: i32| (0, equal(family.unsigned_abs()));
            let route = vec![family(libc::AF_NETLINK), (2, equal(libc::NETLINK_ROUTE.unsigned_abs()))];
            list(
                [
                    (vec![family(libc::AF_UNIX)], Verdict::Allow),
                    (vec![family(libc::AF_INET)], Verdict::Allow),
                    (vec![family(libc::AF_INET6)], Verdict::Allow),
                    (route, Verdict::Allow),
                    (vec![family(libc::AF_NETLINK)], Verdict::Errno(EPROTONOSUPPORT)),
                ],
                Verdict::Errno(EAFNOSUPPORT),
            )
        }
        Check::Limits => list([(vec![(0, equal(0))], Verdict::Allow)], REFUSAL),
        Check::Personality => {
            list(PERSONALITIES.map(|value| (vec![(0, equal(value))], Verdict::Allow)), REFUSAL)
        }
        Check::PersonalityOrFixedAddresses => {
            let values = PERSONALITIES.into_iter().chain([ADDR_NO_RANDOMIZE]);
            list(values.map(|value| (vec![(0, equal(value))], Verdict::Allow)), REFUSAL)
        }
        Check::Control => {
            let map = vec![(0, equal(libc::PR_SET_MM.unsigned_abs()))];
            list([(map, REFUSAL)], Verdict::Allow)
        }
        Check::Mode(argument) => list([(vec![(argument, none_of(SET_ID))], Verdict::Allow)], REFUSAL),
        Check::Open(flags) => list(
            [
                (vec![(flags, none_of(MAKES_FILE))], Verdict::Allow),
                (vec![(flags + 1, none_of(SET_ID))], Verdict::Allow),
            ],
            REFUSAL,
        ),
        Check::Node(argument) => list(
            PLAIN_NODES.map(|kind| {
                let masked = SeccompCmpOp::MaskedEq(u64::from(libc::S_IFMT | SET_ID));
                (vec![(argument, (masked, kind))], Verdict::Allow)
            }),
            REFUSAL,
        ),
    }
}

/// `CLONE_NEW*`. `CLONE_NEWTIME` is not among them: its bit belongs to the signal number here.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `TIOCSTI`, `TIOCLINUX`, `TIOCSETD`, `TIOCCONS`.
const TERMINAL_TAKEOVER: [u32; 4] = [0x5412, 0x541c, 0x5423, 0x541d];
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const ADDR_NO_RANDOMIZE: u32 = 0x4_0000;
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
/// `O_CREAT` and the bit of `O_TMPFILE` that is its own: without them the mode is not looked at, and may be anything.
const MAKES_FILE: u32 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY).unsigned_abs();
/// Regular files, the same by default, FIFOs and sockets.
const PLAIN_NODES: [u32; 4] = [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK];

/// An operator and its operand.
type Comparison = (SeccompCmpOp, u32);

fn equal(value: u32) -> Comparison {
    (SeccompCmpOp::Eq, value)
}

fn none_of(bits: u32) -> Comparison {
    (SeccompCmpOp::MaskedEq(u64::from(bits)), 0)
}

/// Rules from (argument, comparison) pairs that must all hold.
fn list(
    rules: impl IntoIterator<Item = (Vec<(u8, Comparison)>, Verdict)>,
    otherwise: Verdict,
) -> Result<(Rules, Verdict), String> {
    let condition = |(argument, (operator, value)): (u8, Comparison)| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value))
    };
    let rule = |(comparisons, verdict): (Vec<_>, Verdict)| {
        let conditions = comparisons.into_iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        Ok((SeccompRule::new(conditions)?, verdict))
    };
    let rules = rules.into_iter().map(rule).collect::<Result<Rules, seccompiler::BackendError>>();
    Ok((rules.map_err(|error| error.to_string())?, otherwise))
}
