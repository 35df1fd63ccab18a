//! This program once more, in a PID and mount namespace of its own, where whatever a run leaves behind is seen: a process, a
//! zombie, a mount, a file, a key, a descriptor.

use crate::common::User;
use crate::stage::in_own_pid_namespace;
use crate::{kills, parent, signals_early, starts};
use nix::unistd::Pid;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The first argument of such a run.
const WORD: &str = "--driver";

/// How a driver's work ends.
pub(crate) type Done = Result<(), String>;

/// A driver's work.
type Work = fn(&[String]) -> Done;

/// Each of them by name.
const WORKS: &[(&str, Work)] = &[
    ("early-signals", signals_early::work),
    ("kills", kills::work),
    ("starts", starts::work),
    ("thread", parent::starts_from_a_thread),
    ("orphan", parent::ends_before_sbx),
    ("launch", parent::launch),
];

/// To be called first in `main`; nothing in the test program itself.
pub(crate) fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let done = match WORKS.iter().find(|(known, _)| *known == name) {
        Some((_, work)) => work(&arguments),
        None => Err(format!("no work {name}")),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    })
}

/// Such a run, as this user, below a shell that is PID 1 and reaps.
pub(crate) fn command(user: &User, name: &str, arguments: &[&str]) -> Command {
    let mut command = in_own_pid_namespace(user);
    command.env("DRIVER", user.edited_path()).env("SBX", user.sbx_path());
    command.args(["sh", "-c", "\"$DRIVER\" \"$@\"; exit $?", "sh", WORD, name]).args(arguments);
    command
}

/// This program, for another work.
pub(crate) fn again(name: &str) -> Command {
    let mut command = Command::new(std::env::var_os("DRIVER").unwrap_or_default());
    command.args([WORD, name]);
    command
}

/// `sbx`, in a driver.
pub(crate) fn sbx() -> Command {
    Command::new(std::env::var_os("SBX").unwrap_or_default())
}

/// A child's number.
pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// The number among the arguments, or none.
pub(crate) fn number(arguments: &[String], index: usize) -> u32 {
    arguments.get(index).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A moment between none and so many milliseconds.
pub(crate) fn moment(milliseconds: u64) -> Duration {
    let number = RandomState::new().build_hasher().finish();
    Duration::from_micros(number % (milliseconds * 1000 + 1))
}

/// Processes besides PID 1 and this one, zombies too.
pub(crate) fn others() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != 1 && *pid != own).collect()
}

/// Waits until nobody is left, for three seconds, or ten on a machine that is busy.
pub(crate) fn wait_until_alone() -> Done {
    let start = Instant::now();
    let mut left = others();
    while !left.is_empty() {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(format!("left behind:{}", describe(&left)));
        }
        sleep(Duration::from_millis(1));
        left = others();
    }
    Ok(())
}

fn describe(pids: &[i32]) -> String {
    let line = |pid: &i32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find(|line| line.starts_with("State")).unwrap_or_default().to_owned();
        format!("\n  {pid} {} {state} {}", read("comm").trim_end(), read("wchan"))
    };
    pids.iter().map(line).collect()
}

/// So many keys of the same user may come meanwhile: those of other tests, and those that the kernel is about to free.
const KEYS: u32 = 16;

/// What the allocator keeps.
const KIB: u32 = 4096;

/// What may not change from before many runs to after them.
#[derive(Debug)]
pub(crate) struct Footprint {
    mounts: usize,
    descriptors: usize,
    keys: u32,
    kib: u32,
}

impl Footprint {
    pub(crate) fn now() -> Self {
        let lines = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let status = lines("/proc/self/status");
            let line = status.lines().find(|line| line.starts_with(name)).map(str::to_owned);
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        Self {
            mounts: lines("/proc/self/mountinfo").lines().count(),
            descriptors: fs::read_dir("/proc/self/fd").into_iter().flatten().count(),
            keys: keys_of(field("Uid:")),
            kib: field("VmRSS:"),
        }
    }

    /// Compares with an earlier one.
    pub(crate) fn is_no_more_than(&self, before: &Self) -> Done {
        let same = self.mounts == before.mounts && self.descriptors == before.descriptors;
        if same && self.keys <= before.keys + KEYS && self.kib <= before.kib + KIB {
            return Ok(());
        }
        Err(format!("before: {before:?}, after: {self:?}"))
    }
}

/// How many keys a user holds, as the quota counts.
fn keys_of(uid: u32) -> u32 {
    let users = fs::read_to_string("/proc/key-users").unwrap_or_default();
    let of = |line: &str| {
        let (user, rest) = line.split_once(':')?;
        (user.trim().parse() == Ok(uid))
            .then(|| rest.split_whitespace().nth(2)?.split('/').next()?.parse().ok())?
    };
    users.lines().find_map(of).unwrap_or(0)
}

/// A repository, as far as the places of its settings go.
pub(crate) fn make_repository() -> Done {
    fs::create_dir_all(".git").map_err(|error| format!("cannot make .git: {error}"))
}

/// Fails if a placeholder is left in the working directory.
pub(crate) fn is_without_placeholders() -> Done {
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(Path::new(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let (above, below) = (names("."), names(".git"));
    if above == [".git"] && below.is_empty() {
        Ok(())
    } else {
        Err(format!("left there: {above:?} {below:?}"))
    }
}
