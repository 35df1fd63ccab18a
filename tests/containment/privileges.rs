//! G1, G3 to G7: nested user namespaces, capabilities and groups.

use crate::common::{Running, output};
use crate::processes::{status_of_running_sleep, status_of_sleep};
use crate::row::{Attempt, Reach, Row, canary};
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("G1 a user namespace of its own", [walls::FILTER, walls::CEILING], nested),
        Row::new("G3 file capabilities", [CAPABILITIES, walls::NO_NEW_PRIVS], file_capabilities),
        Row::new("G4 the bounding set", [walls::CAPABILITIES], bounding_set),
        Row::new("G5 inheritable and ambient capabilities", [walls::CAPABILITIES], inherited),
        Row::new("G6 root inside regains capabilities", [walls::CAPABILITIES], regained),
        // Groups are denied whatever the plan says; an ordinary user may not change them outside either.
        Row::outside("G7 gives up a group to be let in", setgroups).only_as_root(),
    ]
}

/// Empty capability sets, without the filter's help.
const CAPABILITIES: Wall = Wall {
    name: "capabilities",
    down: |plan| {
        plan.privileges.drop_capabilities = false;
        plan.seccomp = None;
    },
};

/// The most that a sandbox can have.
const AS_ROOT: [&str; 2] = ["--set", "privileges.uid=root"];

fn nested(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let ways = ["unshare", "clone", "clone3"];
    let one = |way| Ok((way, !attempt.traced(way, &[], &["user-namespace", way])?.starts_with('E')));
    Reach::of_all(ways.into_iter().map(one).collect::<Result<Vec<_>, Failed>>()?)
}

/// On a filesystem of the probe's own: those of the sandbox are nosuid. A set-user-ID program would not do, because there is
/// only one user inside.
fn file_capabilities(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let running = Running::start(&mut attempt.probe(&AS_ROOT, &["file-capabilities"]))?;
    let [_, permitted, effective, ..] = status_of_running_sleep(&running)?.capabilities()?;
    Reach::of_all([("permitted", permitted != 0), ("effective", effective != 0)])
}

/// Also where the kernel refuses to empty it: then nothing runs.
fn bounding_set(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let [.., bounding, _] = status_of_sleep(&mut attempt.sbx(&[]))?.capabilities()?;
    let log = attempt.user.dir().join("trace");
    let strace = |inject: &[String]| {
        let sbx = attempt.sbx(&[]);
        let mut strace = attempt.user.command("strace");
        strace.args(["-f", "-qq", "-e", "trace=prctl", "-o"]).arg(&log).args(inject);
        strace.arg(sbx.get_program()).args(sbx.get_args()).args(["cat", "/proc/self/status"]);
        let out = output(&mut strace)?;
        Ok::<_, Failed>((out, fs::read_to_string(&log)?))
    };
    let (_, trace) = strace(&[])?;
    // Calls are counted for each process.
    let init =
        trace.lines().find(|line| line.contains("PR_CAPBSET_DROP")).and_then(|line| line.split(' ').next());
    let of_init = |line: &&str| line.split(' ').next() == init;
    let place = trace.lines().filter(of_init).position(|line| line.contains("PR_CAPBSET_DROP"));
    if let Some(place) = place {
        let inject = format!("inject=prctl:error=EPERM:when={}", place + 1);
        let (out, trace) = strace(&["-e".to_owned(), inject])?;
        let hit = trace.lines().any(|line| line.contains("PR_CAPBSET_DROP") && line.contains("(INJECTED)"));
        out.check(hit, || format!("a refusal at this place: {trace}"))?;
        out.exits(125)?.stdout_is("")?;
    }
    Ok(Reach::through_if(bounding != 0))
}

/// From a caller who has them, and whatever the payload can raise.
fn inherited(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let probe = attempt.probe(&AS_ROOT, &["raise-capabilities"]);
    let mut caller = attempt.user.command("unshare");
    caller.args(["--user", "--map-current-user", "--keep-caps"]);
    let running = Running::start(caller.arg(probe.get_program()).args(probe.get_args()))?;
    let [inheritable, .., ambient] = status_of_running_sleep(&running)?.capabilities()?;
    Reach::of_all([("inheritable", inheritable != 0), ("ambient", ambient != 0)])
}

fn regained(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let running = Running::start(&mut attempt.probe(&AS_ROOT, &["regain-capabilities"]))?;
    let [_, permitted, effective, ..] = status_of_running_sleep(&running)?.capabilities()?;
    Reach::of_all([("permitted", permitted != 0), ("effective", effective != 0)])
}

/// A file that everybody may read but a group, and a caller in that group, who can't ignore modes.
fn setgroups(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    const GROUP: u32 = 54321;
    let canary = canary()?;
    let file = attempt.user.put("denied", &canary)?;
    chown(&file, Some(1), Some(GROUP))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604))?;
    let path = file.display().to_string();
    let caller = |inner: &Command| {
        let mut caller = attempt.user.command("setpriv");
        caller.args(["--groups", &GROUP.to_string(), "--inh-caps", "-all"]);
        caller.args(["--bounding-set", "-dac_override,-dac_read_search"]);
        caller.arg(inner.get_program()).args(inner.get_args());
        caller
    };
    let mut plain = attempt.sbx(&["--ro", &path]);
    output(&mut caller(plain.args(["cat", &path])))?.stdout_is("")?.stderr_has("Permission denied")?;
    let out = output(&mut caller(&attempt.probe(&["--ro", &path], &["leave-groups", &path])))?;
    Ok(Reach::through_if(out.text().contains(&canary)))
}
