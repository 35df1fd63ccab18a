//! What the cases share: sandboxes by name, their cgroups, and what is left of them.

use crate::common::{Account, Output, Running, User, output, wait_for};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where cgroups are mounted.
pub(crate) const TOP: &str = "/sys/fs/cgroup";

/// A name that no other case has.
pub(crate) fn name(word: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{word}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A shell script in a sandbox with these options.
pub(crate) fn sh(user: &User, options: &[&str], script: &str) -> Result<Output, Failed> {
    output(user.sbx().args(options).args(["sh", "-c", script]))
}

/// A verb and its arguments.
pub(crate) fn verb(user: &User, words: &[&str]) -> Result<Output, Failed> {
    output(user.sbx().args(words))
}

/// A sandbox that runs a script.
#[derive(Debug)]
pub(crate) struct Box {
    pub(crate) name: String,
    pub(crate) running: Running,
    /// As `sbx ps` lists it.
    pub(crate) seen: Value,
}

impl Box {
    /// Starts one, and waits until its command runs.
    pub(crate) fn start(user: &User, options: &[&str], script: &str) -> Result<Self, Failed> {
        Self::start_by(user, user.sbx(), options, script)
    }

    /// The same by a command that is `sbx` or leads to it.
    pub(crate) fn start_by(
        user: &User,
        mut command: Command,
        options: &[&str],
        script: &str,
    ) -> Result<Self, Failed> {
        let name = name("box");
        command.args(options).args(["--name", &name, "sh", "-c", script]);
        let running = Running::start(&mut command)?;
        let found = wait_for(&format!("the sandbox {name}"), || {
            let seen = list(user).ok()?;
            let one = seen.as_array()?.iter().find(|one| one["name"] == *name)?.clone();
            // Its command has taken the place of sbx's own process.
            let init = one["init"].as_i64()?;
            let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
            let first = children.split_whitespace().next()?;
            let comm = fs::read_to_string(format!("/proc/{first}/comm")).ok()?;
            (!comm.starts_with("sbx") && !comm.starts_with("edited")).then_some(one)
        });
        match found {
            Ok(seen) => Ok(Self { name, running, seen }),
            Err(failed) => {
                running.signal(Signal::SIGTERM)?;
                let out = running.finish()?;
                let why = failed.message().unwrap_or_default();
                Err(format!("{why}; {:?} after {:?}: {}", out.status, out.took, out.errors()).into())
            }
        }
    }

    /// The directory of its cgroup.
    pub(crate) fn cgroup(&self) -> Result<PathBuf, Failed> {
        self.seen["cgroup"]
            .as_str()
            .map(PathBuf::from)
            .ok_or_else(|| format!("no cgroup: {}", self.seen).into())
    }

    /// What a file of its cgroup says.
    pub(crate) fn knob(&self, file: &str) -> Result<String, Failed> {
        let path = self.cgroup()?.join(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Files of its cgroup say this.
    pub(crate) fn has(&self, wanted: &[(&str, &str)]) -> Result<(), Failed> {
        for (file, value) in wanted {
            let found = self.knob(file)?;
            if found != *value {
                return Err(format!("{file} should be {value:?}, is {found:?}").into());
            }
        }
        Ok(())
    }

    /// Microseconds of processors so far.
    pub(crate) fn used(&self) -> Result<u64, Failed> {
        field(&self.knob("cpu.stat")?, "usage_usec")
    }

    /// Processors that it takes within some time.
    pub(crate) fn processors(&self, time: Duration) -> Result<f64, Failed> {
        let (before, start) = (self.used()?, Instant::now());
        std::thread::sleep(time);
        let (after, took) = (self.used()?, start.elapsed());
        Ok((after - before) as f64 / took.as_micros() as f64)
    }

    /// As `sbx ps` lists it now.
    pub(crate) fn look(&self, user: &User) -> Result<Value, Failed> {
        let seen = list(user)?;
        let found = seen.as_array().into_iter().flatten().find(|one| one["name"] == *self.name);
        found.cloned().ok_or_else(|| format!("{} is not listed: {seen}", self.name).into())
    }

    /// Ends it, and sees that nothing is left.
    pub(crate) fn end(self, user: &User) -> Result<(), Failed> {
        verb(user, &["stop", "--grace", "0s", &self.name])?.exits(0)?;
        let cgroup = self.seen["cgroup"].as_str().map(PathBuf::from);
        self.running.finish()?;
        gone(cgroup.as_deref())
    }
}

/// Waits until a cgroup is not there any more; a scope is systemd's to take away.
pub(crate) fn gone(cgroup: Option<&Path>) -> Result<(), Failed> {
    let Some(cgroup) = cgroup else { return Ok(()) };
    let scope = cgroup.parent().filter(|path| path.extension().is_some_and(|end| end == "scope"));
    wait_for(&format!("the end of {}", cgroup.display()), || {
        (!cgroup.exists() && scope.is_none_or(|scope| !scope.exists())).then_some(())
    })
}

/// The sandboxes that `sbx ps` lists.
pub(crate) fn list(user: &User) -> Result<Value, Failed> {
    let out = verb(user, &["ps", "--format", "json"])?;
    out.exits(0)?;
    let page: Value =
        serde_json::from_str(&out.text()).map_err(|error| format!("{error}: {}", out.text()))?;
    Ok(page["sandboxes"].clone())
}

/// The number behind a name in a file of a cgroup.
pub(crate) fn field(text: &str, name: &str) -> Result<u64, Failed> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).ok_or_else(|| format!("no {name} in {text:?}").into())
}

/// The cgroup that this test runs in.
pub(crate) fn own_cgroup() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

/// The rung of the ladder that this session's sandboxes are on.
pub(crate) fn rung(user: &User) -> &'static str {
    let manager = format!("/user@{}.service", user.uid());
    if user.is_root() || own_cgroup().contains(&manager) { "keeper" } else { "scope" }
}

/// Why sandboxes share no keeper, where they don't.
pub(crate) fn no_keeper(account: &Account) -> Option<String> {
    let manager = format!("/user@{}.service", account.uid());
    let below = account.is_root() || own_cgroup().contains(&manager);
    (!below).then(|| "in a login's scope each sandbox has a scope of its own".to_owned())
}

/// The slice that the user's service manager has units in.
pub(crate) fn slice(user: &User) -> PathBuf {
    let uid = user.uid();
    match user.is_root() {
        true => Path::new(TOP).join("system.slice"),
        false => Path::new(TOP).join(format!("user.slice/user-{uid}.slice/user@{uid}.service/app.slice")),
    }
}

/// The keeper's cgroup.
pub(crate) fn keeper(user: &User) -> PathBuf {
    slice(user).join("sbx-keeper.service")
}

/// Whether anything is in the keeper's cgroup. It may outlive the unit, empty.
pub(crate) fn is_kept(user: &User) -> bool {
    fs::read_to_string(keeper(user).join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"))
}

/// The cgroups of sandboxes, on both rungs.
pub(crate) fn groups(user: &User) -> Vec<PathBuf> {
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let boxes = entries(keeper(user).join("boxes")).filter(|path| path.is_dir());
    let is_scope =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("app-sbx-"));
    boxes.chain(entries(slice(user)).filter(is_scope)).collect()
}

/// Waits until no sandbox has a cgroup.
pub(crate) fn no_group_is_left(user: &User) -> Result<(), Failed> {
    wait_for(&format!("the end of {:?}", groups(user)), || groups(user).is_empty().then_some(()))
}

/// `systemctl` for the user's service manager, or the machine's for root.
pub(crate) fn systemctl(user: &User, words: &[&str]) -> Result<Output, Failed> {
    let mut command = user.command("systemctl");
    if !user.is_root() {
        command.arg("--user").env("XDG_RUNTIME_DIR", user.runtime_dir());
    }
    output(command.args(words))
}

/// `sbx` with a registry of this case's own.
pub(crate) fn with_registry(user: &User) -> Result<(Command, PathBuf), Failed> {
    let dir = user.mkdir("run")?;
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let mut command = user.sbx();
    command.env("XDG_RUNTIME_DIR", &dir);
    Ok((command, dir))
}

/// Waits until a cgroup is there, with a process in it.
pub(crate) fn wait_for_cgroup(dir: &Path) -> Result<(), Failed> {
    wait_for(&format!("processes in {}", dir.display()), || {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let below = fs::read_to_string(dir.join("cgroup.events")).unwrap_or_default();
        (!procs.is_empty() || below.contains("populated 1")).then_some(())
    })
}
