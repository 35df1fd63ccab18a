//! A run, as it is explained and as it is seen from outside while it runs.

use crate::common::process::{self, Limit, Mount, Status};
use crate::common::{Running, User, output, wait_for};
use libtest_mimic::Failed;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Command;

/// A command that stays until it is killed.
const PAYLOAD: [&str; 2] = ["sleep", "60"];

/// What a process can be seen to have.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) status: Status,
    pub(crate) limits: BTreeMap<String, Limit>,
    pub(crate) namespaces: BTreeMap<String, String>,
    pub(crate) interfaces: Vec<String>,
}

/// All that is seen of a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Whoever started it.
    pub(crate) own: Process,
    pub(crate) payload: Process,
    pub(crate) uid_map: Vec<u64>,
    pub(crate) gid_map: Vec<u64>,
    pub(crate) setgroups: String,
    pub(crate) environ: Vec<Vec<u8>>,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) cwd: PathBuf,
    pub(crate) descriptors: Vec<i32>,
    pub(crate) hostname: String,
    /// Seconds and nanoseconds of the offset of each clock.
    pub(crate) clocks: BTreeMap<String, (i64, i64)>,
    /// How many namespaces of a kind may be made inside, and how much may be watched.
    pub(crate) ceilings: BTreeMap<&'static str, u64>,
    /// The arguments of PID 1.
    pub(crate) init_argv: Vec<u8>,
    /// Files of the root filesystem: what a link says, what a file holds.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Explains the run and starts it, both as this user and in the same way.
pub(crate) fn observe(user: &User, options: &[&str]) -> Result<(Value, Seen), Failed> {
    let explained = output(sbx(user, &["explain", "--format", "json"]).args(options).args(PAYLOAD))?;
    let plan: Value = serde_json::from_slice(&explained.exits(0)?.stderr_is("")?.stdout)
        .map_err(|error| format!("explain: {error}"))?;
    let running = Running::start(sbx(user, &[]).args(options).args(PAYLOAD))?;
    let Some((init, payload)) = wait_for("the payload", || payload(running.pid()))? else {
        return Err(running.finish()?.failure("it should run until it is killed"));
    };
    let seen = look(user, &plan, init, payload)?;
    Ok((plan, seen))
}

/// `sbx` with descriptor 7 open, for those who keep it.
fn sbx(user: &User, verb: &[&str]) -> Command {
    let mut command = user.command("sh");
    command.args(["-c", "exec \"$@\" 7</dev/null", "sh"]).arg(user.sbx_path()).args(verb);
    command
}

/// PID 1 and PID 2 of the sandbox, once PID 2 runs its program; `Some(None)` when sbx has ended.
fn payload(sbx: i32) -> Option<Option<(i32, i32)>> {
    if Status::of(sbx).is_ok_and(|status| status.field("State").is_ok_and(|state| state.starts_with('Z'))) {
        return Some(None);
    }
    let inside = |number| {
        let is = |pid: &i32| Status::of(*pid)?.numbers("NSpid").map(|ids| ids.get(1) == Some(&number));
        process::descendants(sbx).into_iter().find(|pid| is(pid).unwrap_or(false))
    };
    let (init, payload) = (inside(1)?, inside(2)?);
    let line = fs::read(format!("/proc/{payload}/cmdline")).ok()?;
    (line == PAYLOAD.map(|word| format!("{word}\0")).concat().as_bytes()).then_some(Some((init, payload)))
}

/// Reads a file as the user: root's tests must not see more than the user can.
fn read(user: &User, pid: &str, name: &str) -> Result<Vec<u8>, Failed> {
    let read = output(user.command("cat").arg(format!("/proc/{pid}/{name}")))?;
    read.exits(0)?;
    Ok(read.stdout)
}

fn text(user: &User, pid: &str, name: &str) -> Result<String, Failed> {
    Ok(String::from_utf8_lossy(&read(user, pid, name)?).into_owned())
}

/// `/proc/PID` as the user sees it; `self` is a program that the user starts.
fn look_at(user: &User, pid: &str) -> Result<Process, Failed> {
    let script = "cd /proc/$0/ns && for n in *; do readlink -n $n; echo \" $n\"; done";
    let namespaces = output(user.command("sh").args(["-c", script, pid]))?;
    let pairs = namespaces.exits(0)?.text();
    let devices = text(user, pid, "net/dev")?;
    Ok(Process {
        mounts: Mount::parse(&text(user, pid, "mountinfo")?)?,
        status: Status::parse(&text(user, pid, "status")?),
        limits: process::parse_limits(&text(user, pid, "limits")?),
        namespaces: pairs
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, name)| (name.to_owned(), id.to_owned()))
            .collect(),
        interfaces: devices
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect(),
    })
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<_> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    words.pop();
    words
}

fn look(user: &User, plan: &Value, init: i32, payload: i32) -> Result<Seen, Failed> {
    let (init, payload) = (&*init.to_string(), &*payload.to_string());
    let cwd = output(user.command("readlink").args(["-n", &format!("/proc/{payload}/cwd")]))?;
    let descriptors = output(user.command("ls").arg(format!("/proc/{payload}/fd")))?;
    let mut descriptors: Vec<i32> =
        descriptors.exits(0)?.text().lines().filter_map(|line| line.parse().ok()).collect();
    descriptors.sort_unstable();
    Ok(Seen {
        own: look_at(user, "self")?,
        payload: look_at(user, payload)?,
        uid_map: numbers(&text(user, payload, "uid_map")?),
        gid_map: numbers(&text(user, payload, "gid_map")?),
        setgroups: text(user, payload, "setgroups")?.trim().to_owned(),
        environ: words(&read(user, payload, "environ")?),
        argv: words(&read(user, payload, "cmdline")?),
        cwd: cwd.exits(0)?.text().into(),
        descriptors,
        hostname: enter(user, payload, "uts", &["uname", "-n"])?,
        clocks: clocks(&text(user, payload, "timens_offsets")?),
        ceilings: ["user_namespaces", "mnt_namespaces", "inotify_instances", "inotify_watches"]
            .into_iter()
            .map(|name| Ok((name, ceiling(user, payload, name)?)))
            .collect::<Result<_, Failed>>()?,
        init_argv: read(user, init, "cmdline")?,
        files: files(plan, payload),
    })
}

/// What a program of the host's says in the user namespace of the sandbox and one more.
fn enter(user: &User, pid: &str, kind: &str, command: &[&str]) -> Result<String, Failed> {
    let mut nsenter = user.command("nsenter");
    nsenter.args(["--preserve-credentials", "--user", &format!("--{kind}"), "--target", pid, "--"]);
    Ok(output(nsenter.args(command))?.exits(0)?.text().trim().to_owned())
}

fn ceiling(user: &User, pid: &str, name: &str) -> Result<u64, Failed> {
    let file = format!("/proc/sys/user/max_{name}");
    Ok(enter(user, pid, "uts", &["cat", &file])?.parse().map_err(|_| format!("odd number in {file}"))?)
}

fn clocks(text: &str) -> BTreeMap<String, (i64, i64)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, (words.next()?.parse().ok()?, words.next()?.parse().ok()?)))
    };
    text.lines().filter_map(line).collect()
}

/// What the files and links that the plan makes hold, by way of the payload's root.
fn files(plan: &Value, pid: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let read = |mount: &Value| {
        let dest = crate::explained::path(&mount["dest"]);
        let path = root.join(dest.strip_prefix("/").unwrap_or(&dest));
        let bytes = match mount["op"].as_str()? {
            "symlink" => fs::read_link(path).ok()?.into_os_string().into_vec(),
            "file" | "data" | "copy" => fs::read(path).ok()?,
            _ => return None,
        };
        Some((dest, bytes))
    };
    plan["mounts"].as_array().into_iter().flatten().filter_map(read).collect()
}
