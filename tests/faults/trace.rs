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
    /// The payload runs already: what fails then is sbx's wait for its end.
    pub(crate) late: bool,
}

/// The calls in a trace of `strace -f`, in order. Processes are known by the order in which they appear.
pub(crate) fn calls(trace: &str) -> Vec<Call> {
    let mut pids: Vec<&str> = Vec::new();
    let mut counts: HashMap<(Process, &str), usize> = HashMap::new();
    let mut late = false;
    let mut found = Vec::new();
    for (pid, text) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let text = text.trim_start();
        if !pids.contains(&pid) {
            pids.push(pid);
        }
        let process = match pids.iter().position(|known| *known == pid) {
            Some(0) => Process::Outside,
            Some(1) => Process::Init,
            _ => Process::Payload,
        };
        let Some((name, _)) = text.split_once('(') else { continue };
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            continue;
        }
        let count = counts.entry((process, name)).or_default();
        *count += 1;
        // The wait for a child is no part of the set-up, wherever it begins.
        let wait = name == "wait4";
        found.push(Call {
            process,
            name: name.to_owned(),
            nth: *count,
            text: text.to_owned(),
            late: late || wait,
        });
        late |= process == Process::Payload && text.contains("<detached");
    }
    found
}

/// How many of the first calls are made before sbx's `main`.
pub(crate) fn before_main(calls: &[Call]) -> usize {
    // The last thing that the Rust runtime does is to catch SIGBUS.
    let last = |call: &Call| call.process == Process::Outside && call.name == "rt_sigaction";
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

/// Whether the fault that was asked for hit a process: any, or one besides the first.
pub(crate) fn was_hit(trace: &str, besides_the_first: bool) -> bool {
    let first = trace.split_once(' ').map_or("", |(pid, _)| pid);
    let hits = trace.lines().filter(|line| line.contains("(INJECTED)"));
    hits.filter(|line| !besides_the_first || line.split(' ').next() != Some(first)).count() > 0
}
