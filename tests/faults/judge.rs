//! Whether a run under a fault came to what it may: the same sandbox, or a refusal.

use crate::common::edited::Edit;
use crate::common::{Output, Snapshot, User, Verdict, output_within};
use crate::observation::{CODE, Observation};
use crate::scenario::Scenario;
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A run that takes longer hangs. A hundred times what one takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// How long what is killed may take to go.
const GRACE: Duration = Duration::from_secs(2);

/// The exit status of a sandbox whose PID 1 was killed.
const INIT_KILLED: i32 = 137;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same sandbox as without the fault, and the payload's own exit status.
    Harmless,
    /// Nothing ran, and one message says so.
    Refused,
    /// Anything else.
    Bad(String),
}

/// What runs of a scenario are held against.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    user: &'a User,
    reference: Observation,
    home: Snapshot,
}

impl<'a> Judge<'a> {
    /// A command without a fault is the reference.
    pub(crate) fn new(user: &'a User, without_fault: &mut Command) -> Result<Self, Failed> {
        let home = Snapshot::of(user.home())?;
        let output = output_within(LIMIT, without_fault)?;
        output.exits(CODE.into())?;
        Ok(Self { user, reference: Observation::parse(&output.text())?, home })
    }

    /// Runs the command. With `late` the payload may run before the fault: then its exit status may get lost, with a message.
    pub(crate) fn run(&self, command: &mut Command, late: bool, limit: Duration) -> Result<Outcome, Failed> {
        let output = output_within(limit, command);
        let left = self.left_behind();
        let spared = self.empty_layers();
        let changed = Snapshot::of(self.user.home())?;
        let mut outcome = match output {
            Ok(output) => self.judge(&output, late)?,
            Err(failure) => Outcome::Bad(failure.message().unwrap_or("no reason").to_owned()),
        };
        if !left.is_empty() {
            outcome = Outcome::Bad(format!("left behind: {}", left.join(", ")));
        } else if !self.home.difference(&changed).is_empty() {
            outcome = Outcome::Bad(format!("files changed: {}", self.home.difference(&changed)));
        } else if spared && outcome == Outcome::Refused && !late {
            outcome = Outcome::Bad("an empty layer is left".to_owned());
        }
        Ok(outcome)
    }

    /// Takes away what a run has left of empty layers: one that can't be looked at when the sandbox has ended is kept, for
    /// nothing of it may be lost; one that can't be removed goes with the next. Whether there were any.
    fn empty_layers(&self) -> bool {
        let layers = fs::read_dir(self.user.home().join(".local/state/sbx/layers"));
        let is_empty = |upper: &Path| fs::read_dir(upper).is_ok_and(|mut entries| entries.next().is_none());
        let mut found = false;
        for path in layers.into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let passing = name.starts_with(b".passing-");
            let empty = name.starts_with(b"over-") && is_empty(&path.join("upper"));
            if passing || empty {
                // What the kernel has closed.
                let _ = fs::set_permissions(path.join("work/work"), fs::Permissions::from_mode(0o700));
                found |= fs::remove_dir_all(&path).is_ok();
            }
        }
        found
    }

    fn judge(&self, output: &Output, late: bool) -> Result<Outcome, Failed> {
        let bad = |what: &str| {
            Ok(Outcome::Bad(format!("{what}: {}, {:?}", output.status, output.errors().trim_end())))
        };
        let errors = output.errors();
        if errors.contains("panicked") {
            return bad("panic");
        }
        let one_message = errors.lines().filter(|line| line.starts_with("sbx: error: ")).count() == 1;
        let refused = one_message
            && match output.status.code() {
                // 126 and 127: the fault was in the execve.
                Some(125..=127) => true,
                Some(INIT_KILLED) => late,
                _ => false,
            };
        let seen = output.text();
        if seen.is_empty() {
            return if refused { Ok(Outcome::Refused) } else { bad("nothing ran") };
        }
        let difference = self.reference.difference(&Observation::parse(&seen)?);
        if !difference.is_empty() {
            return bad(&format!("another sandbox ({})", shortened(&difference)));
        }
        match output.status.code() {
            Some(code) if code == i32::from(CODE) => Ok(Outcome::Harmless),
            _ if late && refused => Ok(Outcome::Harmless),
            _ => bad("the payload ran"),
        }
    }

    /// The processes of a run that are there after it; they are killed.
    fn left_behind(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let found = processes_of(self.user);
            if found.is_empty() {
                return Vec::new();
            }
            if start.elapsed() > GRACE {
                return found.into_iter().map(end).collect();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The first of many lines.
fn shortened(lines: &[String]) -> String {
    const LINES: usize = 5;
    const LETTERS: usize = 400;
    let line = |line: &String| line.chars().take(LETTERS).collect::<String>();
    let shown: Vec<_> = lines.iter().take(LINES).map(line).collect();
    let rest = lines.len().saturating_sub(LINES);
    if rest == 0 { shown.join("; ") } else { format!("{}; and {rest} more", shown.join("; ")) }
}

/// The processes with the user's home, which is no other case's, in their environment.
fn processes_of(user: &User) -> Vec<i32> {
    let wanted = format!("HOME={}", user.home().display());
    let has = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has).collect()
}

/// Kills a process, and says which it was.
fn end(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    format!("{pid} {}", name.trim_end())
}

/// Walls off, one at a time.
pub(crate) const EDITS: &[Edit] = &[
    ("unfiltered", |plan| plan.seccomp = None),
    ("capable", |plan| plan.privileges.drop_capabilities = false),
    ("readable-init", |plan| plan.privileges.hide_init = false),
    ("unscoped", |plan| plan.landlock_scope.clear()),
    ("callers-cgroup", |plan| plan.namespaces.cgroup = false),
    ("callers-names", |plan| plan.namespaces.uts = false),
    ("writable-root", |plan| plan.root.read_only = false),
    ("more-files", |plan| {
        if let Some(files) = &mut plan.limits.open_files {
            files.value += 1;
        }
    }),
    ("a-variable", |plan| {
        plan.environment.pop();
    }),
    ("a-mount", |plan| plan.mounts.retain(|mount| mount.dest != Path::new("/mnt/tmp"))),
];

/// The judge sees each wall that is missing, and everything else that a run may do wrong.
pub(crate) fn notices_what_is_planted(user: &User) -> Verdict {
    let scenarios = Scenario::all(user)?;
    let scenario = scenarios.last().ok_or("no scenario")?;
    let judge = Judge::new(user, &mut scenario.sbx())?;
    let is = |wanted: &str, command: &mut Command, late| -> Verdict {
        let outcome = format!("{:?}", judge.run(command, late, Duration::from_secs(3))?);
        let shown = format!("{wanted} wanted, not {outcome}: {command:?}");
        if outcome.starts_with(wanted) { Ok(()) } else { Err(shown.into()) }
    };
    is("Harmless", &mut scenario.edited("as-planned"), false)?;
    for (name, _) in EDITS {
        is("Bad(\"another sandbox", &mut scenario.edited(name), false)?;
    }
    let script = |text: &str| {
        let mut command = user.command("sh");
        command.args(["-c", text]);
        command
    };
    is("Refused", &mut script("echo 'sbx: error: no' >&2; exit 125"), false)?;
    is("Refused", &mut script("echo 'sbx: error: no' >&2; exit 137"), true)?;
    is("Bad(\"nothing ran", &mut script("echo 'sbx: error: no' >&2; exit 137"), false)?;
    is("Bad(\"nothing ran", &mut script("exit 125"), false)?;
    is("Bad(\"nothing ran", &mut script("echo 'sbx: error: no' >&2"), false)?;
    is("Bad(\"nothing ran", &mut script("echo 'sbx: error: no\nsbx: error: no' >&2; exit 125"), false)?;
    is("Bad(\"panic", &mut script("echo 'sbx: error: panicked' >&2; exit 125"), false)?;
    is("Bad(\"HANG", &mut script("exec sleep 60"), false)?;
    is("Bad(\"left behind", &mut script("setsid sleep 60 >/dev/null 2>&1 & sleep 0.3; exit 125"), false)?;
    let sbx = scenario.sbx();
    let command = sbx.get_program().to_owned();
    let arguments: Vec<_> = sbx.get_args().map(ToOwned::to_owned).collect();
    let mut other_code = script("\"$@\"; exit 0");
    is("Bad(\"the payload ran", other_code.arg("sh").arg(command).args(arguments), false)?;
    is("Bad(\"files changed", &mut script("echo 'sbx: error: no' >&2; : >left; exit 125"), false)
}
