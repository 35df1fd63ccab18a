//! Where on this machine a sandbox can have a cgroup of its own: looked at, not tried. What a service manager does when it is
//! asked shows only then.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::cgroup::{self, Group};
use crate::diag::{errno_words, quote};

/// How the machine's cgroups are mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2 alone.
    Unified,
    /// Version 1 with an almost empty version 2 beside it.
    Hybrid,
    /// Version 1.
    V1,
    /// Nothing is mounted.
    #[default]
    None,
}

/// Where cgroups are mounted.
const TOP: &str = "/sys/fs/cgroup";

/// The unit whose cgroup holds those of sandboxes.
pub const KEEPER_UNIT: &str = "sbx-keeper.service";
/// The cgroup in the keeper's that holds them.
pub const BOXES: &str = "boxes";

/// A service manager that makes cgroups for this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The machine's, for root; else the user's.
    pub is_system: bool,
    /// The cgroup of the keeper's unit, whether it is there or not.
    pub keeper: PathBuf,
    /// Sandboxes can be made in the keeper's cgroup without asking anybody.
    pub keeper_is_ready: bool,
    /// This process may start others in the manager's cgroups: the cgroup above both is this user's.
    pub is_above: bool,
    /// What it can hand on.
    pub controllers: Vec<String>,
    /// The socket of the bus that it listens on.
    pub bus: PathBuf,
    /// `busctl`.
    pub program: PathBuf,
}

/// Why there is no service manager to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoManager {
    /// None runs for this user.
    #[default]
    NotRunning,
    /// It can't be reached.
    NoBus,
    /// Nothing to reach it with.
    NoProgram,
}

/// A cgroup that sandboxes' own can be made in, without a service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// What it can hand on.
    pub controllers: Vec<String>,
}

/// A disk, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Its major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
}

/// The lowest limit that a cgroup above sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// The file: `memory.max`.
    pub file: &'static str,
    /// Bytes, processes; for `cpu.max` processors.
    pub most: f64,
    /// The cgroup.
    pub path: PathBuf,
}

/// What there is of cgroups.
#[derive(Clone, Debug, PartialEq)]
pub struct Cgroups {
    /// How they are mounted.
    pub hierarchy: Hierarchy,
    /// A service manager.
    pub manager: Result<Manager, NoManager>,
    /// The cgroup that sbx runs in, where that is this user's to divide.
    pub own: Option<Directory>,
    /// The one that the profile names.
    pub given: Option<Result<Directory, String>>,
    /// Limits of the cgroups above a sandbox's.
    pub ceilings: Vec<Ceiling>,
    /// The disks below the paths that the profile names.
    pub devices: Vec<(PathBuf, Result<Device, String>)>,
}

/// What a plan asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedCgroups {
    /// The directory that the profile names.
    pub parent: Option<PathBuf>,
    /// Paths whose disks are to be limited.
    pub disks: Vec<PathBuf>,
    /// Files whose limits in the cgroups above matter.
    pub ceilings: Vec<&'static str>,
}

impl Cgroups {
    /// Looks.
    pub fn look(uid: u32, runtime_dir: Option<&Path>, wanted: &WantedCgroups) -> Self {
        let top = Path::new(TOP);
        let hierarchy = hierarchy(top);
        let own = cgroup::of_self().map(|own| top.join(own)).filter(|_| hierarchy == Hierarchy::Unified);
        let manager = match (&own, uid) {
            (None, _) => Err(NoManager::NotRunning),
            (Some(_), 0) => system_manager(top),
            (Some(own), _) => user_manager(top, own, uid, runtime_dir),
        };
        let given = wanted.parent.as_deref().map(directory);
        let free = own.filter(|_| manager.is_err()).and_then(|own| directory(&own).ok());
        let above = match (&given, &manager, &free) {
            (Some(Ok(given)), ..) => Some(given.path.as_path()),
            (None, Ok(manager), _) => manager.keeper.parent(),
            (None, _, Some(free)) => Some(free.path.as_path()),
            _ => None,
        };
        let ceilings = above.map(|above| ceilings(above, &wanted.ceilings)).unwrap_or_default();
        let devices = wanted.disks.iter().map(|path| (path.clone(), disk(path))).collect();
        Self { hierarchy, manager, own: free, given, ceilings, devices }
    }

    /// Why no sandbox can have a cgroup here, and what to do about it; nothing where one can.
    pub fn obstacle(&self) -> Option<(String, String)> {
        let no = |why: &str, remedy: &str| Some((why.to_owned(), remedy.to_owned()));
        let unified = "boot with systemd.unified_cgroup_hierarchy=1; with OpenRC: rc_cgroup_mode=\"unified\"";
        match (&self.given, self.hierarchy) {
            (Some(Ok(_)), _) => return None,
            (Some(Err(why)), _) => {
                return Some((
                    why.clone(),
                    "give this user a cgroup of version 2, its cgroup.procs and cgroup.subtree_control, or leave \
                     `limits.cgroup-parent` out"
                        .to_owned(),
                ));
            }
            (None, Hierarchy::None) => {
                return no("no cgroups are mounted on /sys/fs/cgroup", "mount cgroup2 there");
            }
            (None, Hierarchy::V1) => return no("the machine uses version 1 of cgroups", unified),
            (None, Hierarchy::Hybrid) => {
                return no(
                    "the machine uses version 1 of cgroups, with an almost empty version 2 beside it",
                    unified,
                );
            }
            (None, Hierarchy::Unified) => {}
        }
        match self.manager {
            Ok(_) => None,
            Err(_) if self.own.is_some() => None,
            Err(NoManager::NotRunning) => no(
                "no cgroup is delegated to this user: no systemd runs for them, and the one that sbx runs in is not theirs",
                "log in through systemd, or as root: loginctl enable-linger USER",
            ),
            Err(NoManager::NoBus) => no(
                "this user's systemd can't be asked: there is no session bus",
                "install the package dbus-user-session and log in again",
            ),
            Err(NoManager::NoProgram) => no("systemd's busctl is not installed", "install all of systemd"),
        }
    }

    /// The controllers that a sandbox's cgroup can have here.
    pub fn controllers(&self) -> &[String] {
        match (&self.given, &self.manager, &self.own) {
            (Some(Ok(given)), ..) => &given.controllers,
            (None, Ok(manager), _) => &manager.controllers,
            (None, Err(_), Some(own)) => &own.controllers,
            _ => &[],
        }
    }

    /// How to get a controller that is missing.
    pub fn remedy_for_controllers(&self) -> String {
        let directory = match (&self.given, &self.manager) {
            (Some(given), _) => given.as_ref().ok(),
            (None, Err(_)) => self.own.as_ref(),
            (None, Ok(manager)) if manager.is_system => None,
            (None, Ok(_)) => {
                return "as root, write \"[Service]\" and \"Delegate=cpu cpuset io memory pids\" to \
                        /etc/systemd/system/user@.service.d/delegate.conf and run systemctl daemon-reload; log in again"
                    .to_owned();
            }
        };
        match directory.and_then(|directory| directory.path.parent()) {
            Some(above) => {
                format!("as root, write it with a + to {}", quote(above.join("cgroup.subtree_control")))
            }
            None => "use a kernel that has it, and does not use it for version 1".to_owned(),
        }
    }
}

/// How the hierarchy on this directory is mounted.
fn hierarchy(top: &Path) -> Hierarchy {
    match () {
        () if top.join("cgroup.controllers").exists() => Hierarchy::Unified,
        () if top.join("unified/cgroup.procs").exists() => Hierarchy::Hybrid,
        () if fs::read_dir(top).is_ok_and(|mut entries| entries.next().is_some()) => Hierarchy::V1,
        () => Hierarchy::None,
    }
}

fn system_manager(top: &Path) -> Result<Manager, NoManager> {
    if !is_socket(Path::new("/run/systemd/private")) {
        return Err(NoManager::NotRunning);
    }
    let bus = PathBuf::from("/run/dbus/system_bus_socket");
    manager(top, top.join("system.slice"), true, true, bus)
}

fn user_manager(top: &Path, own: &Path, uid: u32, runtime_dir: Option<&Path>) -> Result<Manager, NoManager> {
    let unit = format!("user@{uid}.service");
    let above = own.ancestors().find(|path| path.file_name().is_some_and(|name| *name == *unit));
    let base = match above {
        Some(above) => above.to_owned(),
        None => top.join(format!("user.slice/user-{uid}.slice")).join(unit),
    };
    let Some(runtime_dir) = runtime_dir.filter(|_| base.is_dir()) else { return Err(NoManager::NotRunning) };
    if !is_socket(&runtime_dir.join("systemd/private")) && !is_socket(&runtime_dir.join("bus")) {
        return Err(NoManager::NotRunning);
    }
    manager(&base, base.join("app.slice"), false, above.is_some(), runtime_dir.join("bus"))
}

fn manager(
    base: &Path,
    slice: PathBuf,
    is_system: bool,
    is_above: bool,
    bus: PathBuf,
) -> Result<Manager, NoManager> {
    let keeper = slice.join(KEEPER_UNIT);
    let words =
        |path: &Path, file: &str| Group::open(path).map(|group| group.words(file)).unwrap_or_default();
    let ready = words(&keeper.join(BOXES), "cgroup.subtree_control");
    let keeper_is_ready = !ready.is_empty();
    let controllers = if keeper_is_ready { ready } else { words(base, "cgroup.controllers") };
    // Where it is running nobody needs to be asked.
    if !keeper_is_ready && !is_socket(&bus) {
        return Err(NoManager::NoBus);
    }
    let program = program("busctl").ok_or(NoManager::NoProgram)?;
    Ok(Manager { is_system, keeper, keeper_is_ready, is_above, controllers, bus, program })
}

/// Where a program of the system lies; never in a directory of a user's.
pub fn program(name: &str) -> Option<PathBuf> {
    const PLACES: [&str; 3] = ["/usr/bin", "/bin", "/run/current-system/sw/bin"];
    PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| super::is_executable(path))
}

/// A cgroup that this user may make others in.
fn directory(path: &Path) -> Result<Directory, String> {
    let group = Group::open(path).map_err(|errno| match errno {
        Errno::ENOTSUP => format!("{} is no cgroup of version 2", quote(path)),
        errno => format!("{} can't be opened: {}", quote(path), errno_words(errno)),
    })?;
    if !group.is_ours() {
        return Err(format!("the cgroup {} is not this user's", quote(path)));
    }
    Ok(Directory { path: path.to_owned(), controllers: group.words("cgroup.controllers") })
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// For each file the lowest limit that a cgroup sets, from this one up to the top.
pub fn ceilings(from: &Path, files: &[&'static str]) -> Vec<Ceiling> {
    let above = || from.ancestors().take_while(|path| path.parent().is_some_and(|up| up.starts_with(TOP)));
    let ceiling = |file: &&'static str| {
        let limits = above().filter_map(|path| {
            let text = fs::read_to_string(path.join(file)).ok()?;
            let mut words = text.split_whitespace().map(|word| word.parse::<f64>().ok());
            let first = words.next()??;
            // `cpu.max` has the microseconds of each period, and the period.
            let most = words.next().flatten().map_or(first, |period| first / period);
            Some(Ceiling { file, most, path: path.to_owned() })
        });
        limits.min_by(|one, other| one.most.total_cmp(&other.most))
    };
    files.iter().filter_map(ceiling).collect()
}

/// The whole disk that a path lies on: limits of a partition alone are none (`io.max`).
fn disk(path: &Path) -> Result<Device, String> {
    let found = fs::metadata(path).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        format!("{}: {}", quote(path), errno_words(errno))
    })?;
    let number = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    let none = || format!("{} lies on no disk that the kernel can limit", quote(path));
    let number = match libc::major(number) {
        // A filesystem of several devices has a number of its own.
        0 => mounted_from(number).ok_or_else(none)?,
        _ => number,
    };
    let (major, minor) = (libc::major(number), libc::minor(number));
    let entry = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let whole = match entry.join("partition").exists() {
        true => entry.join("../dev"),
        false => entry.join("dev"),
    };
    let text = fs::read_to_string(whole).map_err(|_| none())?;
    let (major, minor) = text.trim().split_once(':').ok_or_else(none)?;
    let numbers = major.parse().ok().zip(minor.parse().ok());
    numbers.map(|(major, minor)| Device { major, minor }).ok_or_else(none)
}

/// The device that a filesystem was mounted from, where that is one.
fn mounted_from(number: u64) -> Option<u64> {
    let own = format!("{}:{}", libc::major(number), libc::minor(number));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&own))?;
    let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
    let found = fs::metadata(source).ok().filter(|found| found.file_type().is_block_device())?;
    Some(found.rdev())
}
