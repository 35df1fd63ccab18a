//! A9, A11, A14: the launcher's file, signals and the working directory.

use crate::common::process::Status;
use crate::common::{output, wait_for};
use crate::processes;
use crate::row::{Attempt, Reach, Row, canary, ran};
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, Directory, Mount, MountOp};
use sbx::profile::{Origin, Setting};
use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            "A9 overwrites the launcher",
            [walls::HIDDEN_INIT, walls::PID_NAMESPACE],
            overwrite_launcher,
        ),
        // Signals are reset whatever the plan says.
        Row::outside("A11 signals that the caller ignores or blocks", ignored_signals),
        Row::new("A14 a working directory that is not inside", [OWN_DIRECTORY], working_directory),
    ]
}

/// The file can't be written while it runs: the probe leaves a daemon that waits for the end.
fn overwrite_launcher(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let probe = attempt.probe(&[], &["overwrite-launcher", &canary]);
    // A copy, as others run the same file.
    let launcher = attempt.user.put_program("launcher", "")?;
    output(Command::new("cp").arg(probe.get_program()).arg(&launcher))?.exits(0)?;
    let before = fs::read(&launcher)?;
    ran(attempt.user.command(&launcher).args(probe.get_args()))?;
    wait_for("the end of the probe", || processes::that_say(&canary).is_empty().then_some(()))?;
    Ok(Reach::through_if(fs::read(&launcher)? != before))
}

fn ignored_signals(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let mut command = attempt.user.command("sh");
    command.args(["-c", "trap '' CHLD INT PIPE; exec \"$@\"", "sh"]);
    command.args(["env", "--block-signal=USR2", "--block-signal=CHLD"]);
    let inner = attempt.sbx(&[]);
    let status = processes::status_of_sleep(command.arg(inner.get_program()).args(inner.get_args()))?;
    let set = |name| Ok::<_, Failed>((name, number(&status, name)? != 0));
    Reach::of_all([set("SigIgn")?, set("SigBlk")?])
}

/// A set of signals, without the two that the C library keeps for itself and ignores in whatever it starts.
fn number(status: &Status, name: &str) -> Result<u64, Failed> {
    let text = status.field(name)?;
    let set = u64::from_str_radix(text, 16).map_err(|_| format!("{name}: {text}"))?;
    Ok(set & !(0b11 << 31))
}

/// The payload starts in a directory that the sandbox has. A careless program starts it where the caller is.
const OWN_DIRECTORY: Wall = Wall {
    name: "own working directory",
    down: |plan| {
        let here = std::env::current_dir().unwrap_or_default();
        let source = BindSource::Path(here.clone());
        let op =
            MountOp::Bind { source, access: Access::ReadOnly, devices: false, optional: false, create: None };
        plan.mounts.push(Mount { dest: here.clone(), op, origin: Origin::Default });
        plan.directory = Setting::default_value(Directory(here));
    },
};

fn working_directory(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    let file = attempt.user.put("hidden/file", &canary)?;
    let hidden = file.parent().unwrap_or(Path::new("/"));
    let script = "up=; i=0; while [ $i -lt 50 ]; do up=$up../; i=$((i+1)); done
        for path in file ../hidden/file /proc/self/cwd/file /proc/self/cwd/$up$1 $up$1 \"$OLDPWD/file\"; do
            echo \"$path:$(cat \"$path\")\"; done";
    let mut command = attempt.sbx(&["--cwd", "none"]);
    let out = output(command.args(["sh", "-c", script, "sh"]).arg(&file).current_dir(hidden))?;
    let ways = ["file", "../hidden/file", "/proc/self/cwd/file"];
    let text = out.text();
    let found = |way: &str| text.lines().any(|line| line == format!("{way}:{canary}"));
    out.check(ways.iter().all(|way| text.contains(&format!("{way}:"))), || "all ways are tried".to_owned())?;
    let up = text.lines().any(|line| line.starts_with("/proc/self/cwd/../") && line.ends_with(&canary));
    Reach::of_all(ways.map(|way| (way, found(way))).into_iter().chain([("up", up)]))
}
