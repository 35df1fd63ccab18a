//! What a policy's own lists change, and the words in them.

use crate::differential::{MODES, Random, program};
use crate::machine::{Call, X86_64, check, run};
use crate::oracle::CHECKED;
use sbx::seccomp::{NestedCalls, Policy, Verdict, check_word, compile, groups, names};
use std::collections::{BTreeMap, BTreeSet};

const ALLOW: Verdict = Verdict::Allow;
const EPERM: Verdict = Verdict::Errno(1);
const ENOSYS: Verdict = Verdict::Errno(38);
const EAFNOSUPPORT: Verdict = Verdict::Errno(97);

fn policy(allow: &[&str], deny: &[&str]) -> Policy {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    Policy { allow: words(allow), deny: words(deny), ..Policy::default() }
}

fn number(name: &str) -> u32 {
    names().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn answer(policy: &Policy, name: &str, first: u64, second: u64) -> Verdict {
    let call = Call { arch: X86_64, nr: number(name), args: [first, second, second, 0, 0, 0] };
    run(&compile(policy).unwrap(), &call).verdict
}

#[test]
fn a_name_weighs_more_than_a_group_and_deny_more_than_allow() {
    for (allow, deny, name, wanted) in [
        (&[][..], &[][..], "ptrace", EPERM),
        (&["@debug"], &[], "ptrace", ALLOW),
        (&["@debug"], &[], "process_vm_readv", ALLOW),
        (&["@debug"], &[], "kcmp", ALLOW),
        (&["@debug"], &[], "bpf", EPERM),
        (&["@debug"], &["ptrace"], "ptrace", EPERM),
        (&["@debug"], &["ptrace"], "kcmp", ALLOW),
        (&["ptrace"], &["@debug"], "ptrace", ALLOW),
        (&["ptrace"], &["@debug"], "kcmp", EPERM),
        (&["@debug"], &["@debug"], "ptrace", EPERM),
        (&["ptrace"], &["ptrace"], "ptrace", EPERM),
        (&["@system-service"], &["@keyring"], "keyctl", EPERM),
        (&["@keyring"], &["@swap"], "keyctl", ALLOW),
        (&["io_uring_setup"], &[], "io_uring_setup", ALLOW),
        (&["@aio"], &[], "io_uring_enter", ALLOW),
        (&[], &["@network-io"], "connect", EPERM),
        (&[], &["@network-io"], "socket", EPERM),
        (&[], &["@file-system"], "open", EPERM),
        (&["open"], &["@file-system"], "open", ALLOW),
        (&[], &["@aio"], "io_uring_setup", ENOSYS),
        (&[], &["@aio"], "io_submit", EPERM),
        (&["@aio"], &["io_uring_setup"], "io_uring_setup", ENOSYS),
        (&["@privileged"], &[], "capset", ALLOW),
        (&["@privileged"], &[], "reboot", ALLOW),
        (&["modify_ldt"], &[], "modify_ldt", ALLOW),
    ] {
        assert_eq!(answer(&policy(allow, deny), name, 0, 0), wanted, "{allow:?} {deny:?} {name}");
    }
}

#[test]
fn kept_capabilities_open_their_own_calls_alone() {
    let plain = policy(&[], &[]);
    let chroot = Policy { chroot: true, ..policy(&[], &[]) };
    let set_id = Policy { set_id: true, ..policy(&[], &[]) };
    for (policy, opens_chroot, opens_modes) in
        [(&plain, false, false), (&chroot, true, false), (&set_id, false, true)]
    {
        let as_said = |open| if open { ALLOW } else { EPERM };
        assert_eq!(answer(policy, "chroot", 0, 0), as_said(opens_chroot));
        for name in ["chmod", "fchmod", "fchmodat", "creat", "mknod"] {
            assert_eq!(answer(policy, name, 0, 0o104_755), as_said(opens_modes), "{name}");
        }
        assert_eq!(answer(policy, "unshare", 0, 0), EPERM);
        assert_eq!(answer(policy, "mount", 0, 0), EPERM);
        assert_eq!(answer(policy, "openat2", 0, 0), ENOSYS);
    }
    let denied = Policy { chroot: true, ..policy(&[], &["chroot"]) };
    assert_eq!(answer(&denied, "chroot", 0, 0), EPERM);
}

#[test]
fn a_group_lifts_no_check_of_arguments_and_no_wall_around_namespaces() {
    for group in ["@process", "@system-service", "@known"] {
        let policy = policy(&[group], &[]);
        assert_eq!(answer(&policy, "clone", 0x1000_0011, 0), EPERM, "{group}");
        assert_eq!(answer(&policy, "clone", 0x003d_0f00, 0), ALLOW, "{group}");
        assert_eq!(answer(&policy, "unshare", 0, 0), EPERM, "{group}");
        assert_eq!(answer(&policy, "setns", 0, 0), EPERM, "{group}");
        assert_eq!(answer(&policy, "clone3", 0, 0), ENOSYS, "{group}");
        assert_eq!(answer(&policy, "openat2", 0, 0), ENOSYS, "{group}");
        assert_eq!(answer(&policy, "prctl", 35, 0), EPERM, "{group}");
    }
    assert_eq!(answer(&policy(&["@known"], &[]), "personality", 0x8_0000, 0), EPERM);
    assert_eq!(answer(&policy(&["@known"], &[]), "chmod", 0, 0o4755), EPERM);
    assert_eq!(answer(&policy(&["@known"], &[]), "creat", 0, 0o2755), EPERM);
    assert_eq!(answer(&policy(&["@known"], &[]), "ustat", 0, 0), ALLOW);
}

#[test]
fn a_name_lifts_its_check_but_not_that_of_terminals_and_families() {
    for (name, first, second) in [
        ("clone", 0x1000_0011, 0),
        ("personality", 0x8_0000, 0),
        ("prlimit64", 1, 0),
        ("prctl", 35, 0),
        ("chmod", 0, 0o4755),
        ("fchmodat", 0, 0o4755),
        ("mknod", 0, 0o020_600),
        ("unshare", 0, 0),
        ("setns", 0, 0),
        ("clone3", 0, 0),
        ("creat", 0, 0o4755),
        ("openat2", 0, 0),
    ] {
        assert_ne!(answer(&policy(&[], &[]), name, first, second), ALLOW, "{name}");
        assert_eq!(answer(&policy(&[name], &[]), name, first, second), ALLOW, "{name}");
    }
    for (name, first, second, wanted) in [
        ("ioctl", 0, 0x5412, EPERM),
        ("ioctl", 0, 1 << 32 | 0x541c, EPERM),
        ("socket", 38, 0, EAFNOSUPPORT),
        ("socketpair", 40, 0, EAFNOSUPPORT),
        ("ioctl", 0, 0x5401, ALLOW),
        ("socket", 2, 0, ALLOW),
    ] {
        for deny in [&[][..], &["@known"][1..], &["@network-io", "@swap"]] {
            assert_eq!(
                answer(&policy(&[name, "@known"], deny), name, first, second),
                wanted,
                "{name} {deny:?}"
            );
        }
    }
    assert_eq!(answer(&policy(&["ioctl"], &["ioctl"]), "ioctl", 0, 0x5401), EPERM);
}

#[test]
fn who_may_trace_may_fix_addresses() {
    assert_eq!(answer(&policy(&[], &[]), "personality", 0x4_0000, 0), EPERM);
    assert_eq!(answer(&policy(&["@debug"], &[]), "personality", 0x4_0000, 0), ALLOW);
    assert_eq!(answer(&policy(&["@debug"], &[]), "personality", 0x40_0000, 0), EPERM);
    assert_eq!(answer(&policy(&["@debug"], &["ptrace"]), "personality", 0x4_0000, 0), EPERM);
    assert_eq!(answer(&policy(&["@debug"], &["personality"]), "personality", 0, 0), EPERM);
}

#[test]
fn nothing_lifts_another_architecture_or_x32() {
    let program = compile(&policy(&["@known"], &[])).unwrap();
    for nr in 0..=1100 {
        let verdict = |arch, nr| run(&program, &Call { arch, nr, args: [0; 6] }).verdict;
        assert_eq!(verdict(0x4000_0003, nr), Verdict::Kill);
        assert_eq!(verdict(X86_64, nr | 0x4000_0000), Verdict::Kill);
        if names().all(|(_, known)| known != nr) {
            assert_eq!(verdict(X86_64, nr), ENOSYS, "{nr}");
        }
    }
}

#[test]
fn what_every_program_needs_can_not_be_denied() {
    for word in ["execve", "write", "@basic-io", "@default", "@system-service", "@known"] {
        let error = compile(&policy(&[], &[word])).unwrap_err();
        assert!(error.contains("can't be denied"), "{error}");
    }
}

/// One call of every other name is another answer: the longest tree, whose jumps reach furthest.
#[test]
fn any_lists_make_a_right_program() {
    let mut random = Random(99);
    let plain: Vec<(&str, u32)> = names()
        .filter(|(name, nr)| !CHECKED.contains(nr) && compile(&policy(&[], &[name])).is_ok())
        .collect();
    let base = program(NestedCalls::None);
    for round in 0..60 {
        let mut wanted = BTreeMap::new();
        let (mut allow, mut deny) = (Vec::new(), Vec::new());
        for (name, nr) in &plain {
            let before = run(&base, &Call { arch: X86_64, nr: *nr, args: [0; 6] }).verdict;
            let choice = if round == 0 { u64::from(*nr % 2) } else { random.next() % 3 };
            wanted.insert(
                *nr,
                match choice {
                    0 => ALLOW,
                    1 if before == ENOSYS => ENOSYS,
                    1 => EPERM,
                    _ => before,
                },
            );
            match choice {
                0 => allow.push(*name),
                1 => deny.push(*name),
                _ => {}
            }
        }
        let program = compile(&policy(&allow, &deny)).unwrap();
        check(&program);
        assert!(program.len() < 1000, "{}", program.len());
        for (nr, wanted) in wanted {
            let ran = run(&program, &Call { arch: X86_64, nr, args: [0; 6] });
            assert_eq!((ran.verdict, ran.looked), (wanted, false), "{nr}");
        }
        for nr in CHECKED {
            let args = [0x1000_0011, 0x5412, 0, 0, 0, 0];
            let call = Call { arch: X86_64, nr, args };
            let (ran, before) = (run(&program, &call), run(&base, &call));
            // Personality depends on ptrace, and not at this value.
            assert_eq!(ran.verdict, before.verdict, "{nr}");
        }
    }
}

#[test]
fn the_table_is_sorted_and_has_each_number_once() {
    let all: Vec<_> = names().collect();
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let numbers: BTreeSet<u32> = all.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers.len(), all.len());
    let wanted: BTreeSet<u32> = (0..=336).chain(424..=471).collect();
    assert_eq!(numbers, wanted);
    for (name, nr) in
        [("read", 0), ("clone3", 435), ("openat2", 437), ("mseal", 462), ("rseq_slice_yield", 471)]
    {
        assert_eq!(number(name), nr);
    }
}

#[test]
fn every_group_resolves_to_known_calls() {
    let known: BTreeSet<&str> = names().map(|(name, _)| name).collect();
    let mut seen = BTreeSet::new();
    for (group, members) in groups() {
        assert!(seen.insert(group) && group.starts_with('@') && !members.is_empty(), "{group}");
        for member in members {
            assert!(known.contains(member), "{group}: {member}");
        }
        assert_eq!(check_word(group), Ok(()));
        compile(&policy(&[group], &[])).unwrap();
    }
    for group in [
        "@aio",
        "@basic-io",
        "@chown",
        "@clock",
        "@cpu-emulation",
        "@debug",
        "@default",
        "@file-system",
        "@io-event",
        "@ipc",
        "@keyring",
        "@known",
        "@memlock",
        "@module",
        "@mount",
        "@network-io",
        "@obsolete",
        "@pkey",
        "@privileged",
        "@process",
        "@raw-io",
        "@reboot",
        "@resources",
        "@sandbox",
        "@setuid",
        "@signal",
        "@swap",
        "@sync",
        "@system-service",
        "@timer",
    ] {
        assert!(seen.remove(group), "{group}");
    }
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn a_wrong_word_is_answered_with_the_nearest() {
    for word in ["ptrace", "clone3", "@debug", "@known"] {
        assert_eq!(check_word(word), Ok(()));
    }
    assert_eq!(check_word("ptrac").unwrap_err(), "`ptrac` is no system call; the nearest is `ptrace`");
    assert_eq!(
        check_word("@debg").unwrap_err(),
        "`@debg` is no group of system calls; the nearest is `@debug`"
    );
    for word in ["", "@", "@nonsense-entirely", "Read", " read", "read ", "read write", "x\u{1b}[2J"] {
        let error = check_word(word).unwrap_err();
        assert!(!error.contains('\u{1b}'), "{error}");
        assert!(compile(&policy(&[word], &[])).is_err() && compile(&policy(&[], &[word])).is_err(), "{word}");
    }
}

#[test]
fn a_policy_serializes_in_kebab_case() {
    for (nested, word) in MODES.into_iter().zip(["none", "browser", "full"]) {
        let json = serde_json::to_value(Policy { nested, ..policy(&["@debug"], &[]) }).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "allow": ["@debug"], "deny": [], "nested": word, "chroot": false, "set-id": false })
        );
    }
}
