//! Filters of system calls, real ones, as container engines have them: this program puts itself under one and becomes the
//! doctor.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::limits::IN_CHILDREN;
use crate::report::{Expected, finds, outer, parse, plain};
use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(clone3_is_refused),
        case!(clone3_is_hidden),
        case!(clone3_kills),
        case!(a_container_engines_filter),
        case!(mount_calls_are_refused),
        case!(one_mount_call_is_hidden),
        case!(other_calls_are_hidden),
        case!(landlock_is_hidden),
        case!(filters_are_refused),
        case!(keyrings_are_refused),
        case!(pivot_root_is_refused),
        case!(old_mount_is_refused),
        case!(time_namespaces_are_refused),
        case!(host_names_are_refused),
        case!(a_call_that_lies),
    ];
    cases.into_iter().map(|case| case.needs(Need::Program("unshare"))).collect()
}

/// The first argument of this program where it puts itself under a filter: then come rules such as `clone3=EPERM`, and after
/// `--` the command.
const WORD: &str = "--filtered";

/// To be called first in `main`.
pub(crate) fn answer() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first()? != WORD {
        return None;
    }
    let at = arguments.iter().position(|word| word == "--")?;
    for rule in &arguments[1..at] {
        let (call, errno) = rule.split_once('=')?;
        seccompiler::apply_filter(&filter(call, errno.parse().ok()?)).ok()?;
    }
    let _ = Command::new(&arguments[at + 1]).args(&arguments[at + 2..]).exec();
    Some(ExitCode::from(99))
}

/// Lets this call fail; 0 makes it do nothing, -1 kills.
fn filter(call: &str, errno: i32) -> BpfProgram {
    let flag = |argument| {
        let bit = u64::try_from(libc::CLONE_NEWUSER).expect("a flag");
        let set = SeccompCmpOp::MaskedEq(bit);
        let condition =
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, set, bit).expect("a condition");
        vec![SeccompRule::new(vec![condition]).expect("a rule")]
    };
    let length = |length| {
        let equal = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, length);
        vec![SeccompRule::new(vec![equal.expect("a condition")]).expect("a rule")]
    };
    let (number, rules) = match call {
        "clone3" => (libc::SYS_clone3, vec![]),
        "clone-newuser" => (libc::SYS_clone, flag(0)),
        "unshare-newuser" => (libc::SYS_unshare, flag(0)),
        "unshare" => (libc::SYS_unshare, vec![]),
        // As long as the line for `uid_map` of the root of an outer namespace, `0 0 1`.
        "write-map" => (libc::SYS_write, length(5)),
        "fsopen" => (libc::SYS_fsopen, vec![]),
        "fsmount" => (libc::SYS_fsmount, vec![]),
        "open_tree" => (libc::SYS_open_tree, vec![]),
        "move_mount" => (libc::SYS_move_mount, vec![]),
        "mount_setattr" => (libc::SYS_mount_setattr, vec![]),
        "mount" => (libc::SYS_mount, vec![]),
        "pivot_root" => (libc::SYS_pivot_root, vec![]),
        "openat2" => (libc::SYS_openat2, vec![]),
        "close_range" => (libc::SYS_close_range, vec![]),
        "landlock" => (libc::SYS_landlock_create_ruleset, vec![]),
        "landlock_restrict_self" => (libc::SYS_landlock_restrict_self, vec![]),
        "keyctl" => (libc::SYS_keyctl, vec![]),
        "sethostname" => (libc::SYS_sethostname, vec![]),
        "seccomp" => (libc::SYS_seccomp, vec![]),
        other => panic!("the test is wrong: no call {other}"),
    };
    let action = match u32::try_from(errno) {
        Ok(errno) => SeccompAction::Errno(errno),
        Err(_) => SeccompAction::KillProcess,
    };
    let arch = std::env::consts::ARCH.try_into().expect("a known machine");
    let filter = SeccompFilter::new(BTreeMap::from([(number, rules)]), SeccompAction::Allow, action, arch);
    filter.expect("a filter").try_into().expect("a program")
}

/// The start of a command line under a filter in which these calls fail with this errno.
pub(crate) fn filtered(calls: &[&str], errno: Errno) -> String {
    // A filter of seccomp itself comes last.
    let rules: Vec<_> = calls.iter().map(|call| format!("{call}={}", errno as i32)).collect();
    format!("exec $FILTERED {WORD} {} --", rules.join(" "))
}

const OUTSIDE: &str = "or run sbx outside the container";

fn clone3_is_refused(user: &User) -> Verdict {
    let cause = "a seccomp filter that this process runs under forbids user namespaces";
    for errno in [Errno::EPERM, Errno::EACCES] {
        let fault = filtered(&["clone3"], errno);
        finds(user, plain, &fault, &[("clone3", "missing", cause, OUTSIDE)], IN_CHILDREN)?;
    }
    Ok(())
}

fn clone3_is_hidden(user: &User) -> Verdict {
    let cause = "the clone3 system call is not available here (a container's seccomp filter, or a kernel";
    let expected = ("clone3", "missing", cause, "allow clone3 and user namespaces");
    finds(user, plain, &filtered(&["clone3"], Errno::ENOSYS), &[expected], IN_CHILDREN).map(drop)
}

fn clone3_kills(user: &User) -> Verdict {
    let fault = format!("exec $FILTERED {WORD} clone3=-1 --");
    let expected = ("clone3", "missing", "whoever tries it is killed", OUTSIDE);
    finds(user, plain, &fault, &[expected], IN_CHILDREN).map(drop)
}

/// clone3 is hidden, so that its flags can be seen; then clone and unshare for a user namespace are refused.
fn a_container_engines_filter(user: &User) -> Verdict {
    let fault = "exec $FILTERED --filtered clone-newuser=1 unshare-newuser=1 clone3=38 --";
    let expected = ("clone3", "missing", "a container's seccomp filter", OUTSIDE);
    finds(user, plain, fault, &[expected], IN_CHILDREN)?;
    // A filter that forgets clone3 forbids nothing that sbx needs.
    let fault = "exec $FILTERED --filtered clone-newuser=1 unshare-newuser=1 --";
    finds(user, plain, fault, &[], &[])?;
    Ok(())
}

fn mount_calls_are_refused(user: &User) -> Verdict {
    let fault = filtered(
        &["fsopen", "fsmount", "open_tree", "move_mount", "mount_setattr", "mount", "pivot_root"],
        Errno::EPERM,
    );
    let cause = "a seccomp filter that this process runs under forbids it";
    let missing = |name| (name, "missing", cause, OUTSIDE);
    let expected = ["mounts", "proc", "devpts", "mqueue"].map(missing);
    finds(user, plain, &fault, &expected, &["ceilings", "pivot-root", "overlay"]).map(drop)
}

fn one_mount_call_is_hidden(user: &User) -> Verdict {
    let hidden = |call: &str, untried: &[&str]| {
        let cause = format!("hides {call}, or the kernel lacks it");
        let remedy = format!("allow {call} in the container's seccomp profile");
        let expected: Expected<'_> = ("mounts", "missing", &cause, &remedy);
        finds(user, plain, &filtered(&[call], Errno::ENOSYS), &[expected], untried).map(drop)
    };
    hidden("mount_setattr", &[])?;
    hidden("open_tree", &["pivot-root", "overlay"])?;
    hidden("move_mount", &["pivot-root", "overlay"])
}

fn other_calls_are_hidden(user: &User) -> Verdict {
    for (call, name) in [("openat2", "openat2"), ("close_range", "close-range")] {
        let remedy = format!("allow {call}");
        let expected: Expected<'_> = (name, "missing", call, &remedy);
        finds(user, plain, &filtered(&[call], Errno::ENOSYS), &[expected], &[])?;
    }
    Ok(())
}

/// Sandboxes work without.
fn landlock_is_hidden(user: &User) -> Verdict {
    let check = |call: &str, errno, cause, remedy| {
        let report =
            finds(user, plain, &filtered(&[call], errno), &[("landlock", "degraded", cause, remedy)], &[]);
        report.map(drop)
    };
    check("landlock", Errno::ENOSYS, "hides Landlock, or the kernel lacks it", "allow Landlock")?;
    check("landlock", Errno::EOPNOTSUPP, "Landlock is switched off at boot", "lsm=")?;
    check("landlock_restrict_self", Errno::EPERM, "a seccomp filter that this process runs under", OUTSIDE)
}

fn filters_are_refused(user: &User) -> Verdict {
    let cause = "a seccomp filter that this process runs under forbids it";
    let expected = ("seccomp", "missing", cause, OUTSIDE);
    finds(user, plain, &filtered(&["seccomp"], Errno::EPERM), &[expected], &[]).map(drop)
}

fn keyrings_are_refused(user: &User) -> Verdict {
    for (errno, cause, remedy) in [
        (Errno::EPERM, "a seccomp filter that this process runs under forbids it", OUTSIDE),
        (Errno::ENOSYS, "hides keyctl, or the kernel lacks it", "allow keyctl"),
        (Errno::EDQUOT, "the user's quota of keys is used up", "kernel.keys.maxkeys"),
    ] {
        let expected = ("keyring", "degraded", cause, remedy);
        finds(user, plain, &filtered(&["keyctl"], errno), &[expected], &[])?;
    }
    Ok(())
}

fn pivot_root_is_refused(user: &User) -> Verdict {
    let cause = "a seccomp filter that this process runs under forbids it";
    let expected = ("pivot-root", "missing", cause, OUTSIDE);
    finds(user, plain, &filtered(&["pivot_root"], Errno::EPERM), &[expected], &["overlay"]).map(drop)
}

/// Only overlays need it.
fn old_mount_is_refused(user: &User) -> Verdict {
    let cause = "a seccomp filter that this process runs under forbids it";
    let expected = ("overlay", "degraded", cause, OUTSIDE);
    finds(user, plain, &filtered(&["mount"], Errno::EPERM), &[expected], &[]).map(drop)
}

fn time_namespaces_are_refused(user: &User) -> Verdict {
    let expected = ("time-namespace", "degraded", "this kernel is built without them", "CONFIG_TIME_NS");
    finds(user, plain, &filtered(&["unshare"], Errno::EINVAL), &[expected], &[])?;
    let expected = ("time-namespace", "degraded", "a seccomp filter", OUTSIDE);
    finds(user, plain, &filtered(&["unshare"], Errno::EPERM), &[expected], &[]).map(drop)
}

fn host_names_are_refused(user: &User) -> Verdict {
    let expected = ("uts-namespace", "missing", "a seccomp filter", OUTSIDE);
    finds(user, plain, &filtered(&["sethostname"], Errno::EPERM), &[expected], &[]).map(drop)
}

/// Calls that are answered without being done: what can be looked at afterwards is.
fn a_call_that_lies(user: &User) -> Verdict {
    for (call, name, status) in
        [("seccomp", "seccomp", "missing"), ("landlock_restrict_self", "landlock", "degraded")]
    {
        let fault = format!("exec $FILTERED {WORD} {call}=0 --");
        let expected = (name, status, "the kernel took the call, and it had no effect", "no tracer");
        finds(user, plain, &fault, &[expected], &[])?;
    }
    // In an outer namespace as well, where more filters may stand one upon the other.
    let output =
        output(&mut outer(user, &format!("exec $FILTERED {WORD} seccomp=0 -- $SBX doctor --format=json")))?;
    parse(&output)?;
    Ok(())
}
