//! What strace saw: each call with its place in its process.

use std::collections::HashMap;

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Process {
    Outside,
    Init,
    Payload,
}

impl Process {
    /// As the name of a fault has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Init => "init",
            Self::Payload => "payload",
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) process: Process,
    pub(crate) name: String,
    /// From 1 on, as strace counts.
    pub(crate) nth: usize,
    /// Its line.
    pub(crate) text: String,
    /// The sandbox is in its child's hands, and may run already: what fails is the watch over it.
    pub(crate) late: bool,
}

/// The calls in a trace of `strace -f`, in order, without those of threads.
pub(crate) fn calls(trace: &str) -> Vec<Call> {
    let known = processes(trace);
    let mut counts: HashMap<(Process, &str), usize> = HashMap::new();
    let (mut init_made, mut payload_made) = (false, false);
    let mut found = Vec::new();
    for (pid, text) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let text = text.trim_start();
        let Some(process) = process_of(&known, pid) else { continue };
        let Some((name, _)) = text.split_once('(') else { continue };
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            continue;
        }
        let count = counts.entry((process, name)).or_default();
        *count += 1;
        let late = match process {
            Process::Outside => init_made,
            Process::Init => payload_made,
            Process::Payload => false,
        };
        found.push(Call { process, name: name.to_owned(), nth: *count, text: text.to_owned(), late });
        init_made |= process == Process::Outside && makes_init(text);
        payload_made |= process == Process::Init && name == "clone";
    }
    found
}

fn makes_init(clone: &str) -> bool {
    clone.starts_with("clone3(") && clone.contains("CLONE_NEWUSER")
}

/// sbx and its children by number: PID 1, and nobody's for threads and what else is not judged.
fn processes(trace: &str) -> HashMap<&str, Option<Process>> {
    let first = trace.split_once(' ').map_or("", |(pid, _)| pid);
    let mut known = HashMap::from([(first, Some(Process::Outside))]);
    let mut of_init = false;
    for (pid, text) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let text = text.trim_start();
        let begins = text.starts_with("clone");
        if pid != first || !(begins || text.starts_with("<... clone")) {
            continue;
        }
        if begins {
            of_init = makes_init(text);
        }
        // A call that is interrupted by another's line has its result on a line of its own.
        if let Some((_, child)) = text.rsplit_once("= ") {
            known.insert(child.trim(), of_init.then_some(Process::Init));
        }
    }
    known
}

/// PID 1 has another number for its child than strace, so the payload is whoever nobody else is.
fn process_of(known: &HashMap<&str, Option<Process>>, pid: &str) -> Option<Process> {
    known.get(pid).copied().unwrap_or(Some(Process::Payload))
}

/// How many of the first calls are made before sbx's `main`.
pub(crate) fn before_main(calls: &[Call]) -> usize {
    // The last thing that the Rust runtime does is to catch SIGBUS.
    let last =
        |call: &Call| call.process == Process::Outside && call.text.starts_with("rt_sigaction(SIGBUS, {");
    calls.iter().rposition(last).map_or(0, |at| at + 1)
}

/// Those that set a sandbox up: not what a program does before its `main`, nor its end.
pub(crate) fn of_set_up(calls: &[Call]) -> Vec<&Call> {
    let outside = |call: &Call| call.process == Process::Outside;
    let made = calls.iter().skip(before_main(calls));
    made.filter(|call| {
        let ends = matches!(call.name.as_str(), "exit_group" | "exit" | "rt_sigreturn");
        // A debug build looks at each descriptor before it closes it.
        let debug = call.name == "fcntl" && call.text.contains("F_GETFD");
        // After the sandbox has ended.
        let tear_down =
            outside(call) && call.late && matches!(call.name.as_str(), "close" | "munmap" | "sigaltstack");
        !ends && !debug && !tear_down
    })
    .collect()
}

/// Which calls that confine can be skipped unnoticed by whoever makes them, and what they return.
pub(crate) fn false_success(call: &Call, calls: &[Call]) -> Option<i64> {
    const CONFINE: &[&str] = &[
        "capset",
        "chdir",
        "close_range",
        "fchdir",
        "fsconfig",
        "fsmount",
        "fsopen",
        "ioctl",
        "keyctl",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "pivot_root",
        "prctl",
        "prlimit64",
        "rt_sigprocmask",
        "seccomp",
        "sethostname",
        "setpgid",
        "setsid",
        "umount2",
        "unshare",
    ];
    match call.name.as_str() {
        // This asks the kernel and tells it nothing.
        "landlock_create_ruleset" if call.text.contains("LANDLOCK_CREATE_RULESET_VERSION") => None,
        name if CONFINE.contains(&name) && !call.late => Some(0),
        "write" if !call.late && writes_to_proc(call, calls) => {
            call.text.rsplit_once("= ")?.1.trim().parse().ok()
        }
        _ => None,
    }
}

/// Whether a write goes to a file that was there: id maps, ceilings, offsets. The others fill the root filesystem.
fn writes_to_proc(write: &Call, calls: &[Call]) -> bool {
    let fd = write.text.trim_start_matches("write(").split(',').next().unwrap_or_default();
    let opened = format!("= {fd}");
    let before = calls.iter().take_while(|call| !std::ptr::eq(*call, write));
    let of_same = before.filter(|call| call.process == write.process && call.name == "openat");
    let last = of_same.filter(|call| call.text.ends_with(&opened)).last();
    last.is_some_and(|call| !call.text.contains("O_CREAT"))
}

/// Whether the fault that was asked for hit anybody, or, in a trace with `clone3` in it, PID 1 or the payload.
pub(crate) fn was_hit(trace: &str, inside: bool) -> bool {
    let known = processes(trace);
    let is_inside = |line: &str| {
        let pid = line.split(' ').next().unwrap_or_default();
        matches!(process_of(&known, pid), Some(Process::Init | Process::Payload))
    };
    let mut hits = trace.lines().filter(|line| line.contains("(INJECTED)"));
    hits.any(|line| !inside || is_inside(line))
}
