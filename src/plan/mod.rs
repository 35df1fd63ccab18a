//! The plan: all that will be done, as plain data. [`resolve`] makes it from what the profiles say, what the
//! user typed and what the machine is, without touching any of them; [`crate::exec::run`] carries it out.
//!
//! Everything is public and mutable on purpose: tests switch a defence off by editing a plan, never by a switch
//! in the program.
#![forbid(unsafe_code)]

mod arguments;
mod base;
mod bytes;
mod cgroup;
mod changes;
mod command;
mod desktop;
mod entries;
mod environment;
mod error;
mod identity;
mod image;
mod lay_out;
mod limits;
mod mount;
mod protect;
mod resolve;
mod roots;
mod server;
mod toolchains;
mod unbuilt;
mod walls;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::profile::{
    Background, IoPriority, LandlockScope, Level, Nested, NetworkMode, Setting, TerminalMode, TimeOffsets,
};
use crate::seccomp::{NestedCalls, Policy};

pub use cgroup::{CONTROLLERS, Cgroup, CgroupPlace, Knob, Service, most_in_words};
pub use command::candidates;
pub use error::PlanError;
pub use limits::{limit_knobs, wanted_for_limits};
pub use mount::{Access, BindSource, ChangesLayer, Content, Mount, MountOp, OverlayUpper};
pub use protect::{Placeholder, Protected};
pub use resolve::{resolve, wanted};
pub use server::OverlayServer;

/// Everything that a run will do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The profile's name.
    pub profile: String,
    /// The files it was merged from, lowest first.
    pub layers: Vec<String>,
    /// Who runs it, outside and inside.
    pub identity: Identity,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The host name inside.
    pub hostname: Setting<String>,
    /// The root filesystem that the mounts go into.
    pub root: Root,
    /// What is mounted or made there, in order.
    pub mounts: Vec<Mount>,
    /// What serves the overlays among them, where it isn't the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay_server: Option<OverlayServer>,
    /// Whether a missing mount point may be made on the host's side of a writable bind. Off in sbx's own plans:
    /// it would leave files behind.
    pub mount_points_on_host: bool,
    /// Directories of the host, with all above and below them, that no writable bind may have as its source:
    /// sbx's own profiles and state, which a sandbox could widen its next run with.
    #[serde(serialize_with = "bytes::paths")]
    pub guarded: Vec<PathBuf>,
    /// What stays read-only in the host's directories that are bound writable.
    pub protect: Vec<Protected>,
    /// Privileges of PID 1 and the payload.
    pub privileges: Privileges,
    /// The filter of system calls; none only in a test that switches it off.
    pub seccomp: Option<Seccomp>,
    /// What Landlock scopes: empty where it is off, or the kernel can't.
    pub landlock_scope: Vec<Setting<LandlockScope>>,
    /// Whether Landlock has the mount view once more as rules about files, and by which version of its interface.
    pub landlock_files: Option<Setting<u32>>,
    /// Resource limits.
    pub limits: Limits,
    /// A cgroup of its own, for the other limits.
    pub cgroup: Option<Cgroup>,
    /// What the sandbox is called; one is made up without it.
    pub name: Option<String>,
    /// Where it is registered, so that others find it by that name; nowhere without a login's directory.
    #[serde(serialize_with = "bytes::optional_path")]
    pub registry: Option<PathBuf>,
    /// At the end it is said what was used.
    pub report: bool,
    /// What of the user's session the sandbox reaches, and what that means, in words.
    pub exposed: Vec<Setting<String>>,
    /// The payload's environment.
    pub environment: Vec<Variable>,
    /// The payload's terminal.
    pub terminal: Setting<TerminalMode>,
    /// What becomes of the processes that the command leaves behind.
    pub background: Setting<Background>,
    /// The sandbox ends when the process that started sbx does.
    pub die_with_parent: bool,
    /// Inherited descriptors that the payload gets besides 0, 1 and 2.
    pub keep_fds: Vec<i32>,
    /// Where the payload starts.
    pub directory: Setting<Directory>,
    /// The program and its arguments; nothing for an `explain` without a command.
    #[serde(serialize_with = "bytes::words")]
    pub command: Vec<OsString>,
    /// Where the program is looked for, in order, inside.
    #[serde(serialize_with = "bytes::paths")]
    pub candidates: Vec<PathBuf>,
    /// What was preferred and can't be had: one line each on stderr.
    pub misses: Vec<String>,
}

/// A directory inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Directory(#[serde(serialize_with = "bytes::path")] pub PathBuf);

/// The id map: one id of the host, one id inside; and the caller's subordinate ids, where they are mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// The caller's uid.
    pub outside_uid: u32,
    /// The caller's gid.
    pub outside_gid: u32,
    /// The uid that it is inside.
    pub uid: u32,
    /// The gid that it is inside.
    pub gid: u32,
    /// Further ids: they take `newuidmap` and `newgidmap` to map, and leave the payload no supplementary groups of the caller's.
    pub subordinate: Option<Subordinate>,
    /// Which of these ids PID 1 and the payload become, when all is set up; those above without it.
    pub runs_as: Option<RunsAs>,
}

/// A user inside that the caller is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunsAs {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups, ascending.
    pub groups: Vec<u32>,
}

impl Identity {
    /// The uid and the gid that the payload has, inside.
    pub fn of_payload(&self) -> (u32, u32) {
        self.runs_as.as_ref().map_or((self.uid, self.gid), |user| (user.uid, user.gid))
    }
}

/// The caller's subordinate ids (subuid(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Subordinate {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

/// One line of an id map (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The host's id that it is.
    pub outside: u32,
    /// How many follow each other, this one among them.
    pub count: u32,
}

/// The namespaces of the sandbox. User, mount, PID, UTS, IPC and cgroup namespaces are its own in every plan that
/// [`resolve`] makes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Namespaces {
    /// Its own PID namespace.
    pub pid: bool,
    /// Its own host name.
    pub uts: bool,
    /// Its own System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Its own view of the cgroup hierarchy.
    pub cgroup: bool,
    /// What it reaches; a network namespace of its own unless `host`.
    pub network: Setting<NetworkMode>,
    /// Offsets of its own clocks.
    pub time: Option<Setting<TimeOffsets>>,
    /// Which namespaces the payload may make.
    pub nested: Setting<Nested>,
}

/// The filesystem that all mounts go into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Root {
    /// Bytes of the tmpfs.
    pub size: u64,
    /// Files of the tmpfs.
    pub inodes: u64,
    /// Whether it is read-only once everything is in place.
    pub read_only: bool,
}

/// Privileges.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Privileges {
    /// All five capability sets are emptied, and the securebits locked; but for those kept.
    pub drop_capabilities: bool,
    /// What is kept in the permitted, the effective and the bounding set, of PID 1 as well: the securebits are then as ever, and
    /// `no_new_privs` is what stops the payload from gaining more.
    #[serde(serialize_with = "bytes::capabilities")]
    pub capabilities: Vec<Setting<caps::Capability>>,
    /// `no_new_privs` is set.
    pub no_new_privs: bool,
    /// PID 1 is non-dumpable and its arguments are wiped, so that the payload learns nothing from it.
    pub hide_init: bool,
    /// The named, empty session keyring is joined in place of the caller's.
    pub session_keyring: Level,
}

impl Privileges {
    /// The capabilities that are kept, as the bits of a set.
    pub fn kept(&self) -> u64 {
        self.capabilities.iter().fold(0, |set, kept| set | kept.value.bitmask())
    }
}

/// What differs from run to run in the filter of system calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seccomp {
    /// Calls and groups let through where the rules refuse them.
    pub allow: Vec<Setting<String>>,
    /// Calls and groups refused.
    pub deny: Vec<Setting<String>>,
    /// What the payload may do with namespaces of its own.
    pub nested: NestedCalls,
    /// `chroot`, for who keeps the capability for it.
    pub chroot: bool,
    /// Set-id modes, for who keeps the capability for them.
    pub set_id: bool,
}

impl Seccomp {
    /// What the filter is compiled from.
    pub fn policy(&self) -> Policy {
        let words = |list: &[Setting<String>]| list.iter().map(|word| word.value.clone()).collect();
        Policy {
            allow: words(&self.allow),
            deny: words(&self.deny),
            nested: self.nested,
            chroot: self.chroot,
            set_id: self.set_id,
        }
    }
}

/// Resource limits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Bytes of a core dump (`RLIMIT_CORE`).
    pub core: Setting<u64>,
    /// Processes and threads (`RLIMIT_NPROC`, counted in the user namespace).
    pub processes: Setting<u64>,
    /// Descriptors of each process (`RLIMIT_NOFILE`); the caller's own without it.
    pub open_files: Option<Setting<u64>>,
    /// Bytes of data of each process (`RLIMIT_DATA`), where no cgroup holds the memory of all of them.
    pub data: Option<Setting<u64>>,
    /// The nice value.
    pub nice: Option<Setting<i32>>,
    /// The I/O priority.
    pub io_priority: Option<Setting<IoPriority>>,
    /// What may be watched; nothing is said of it where the kernel has no such limits.
    pub watches: Option<Watches>,
    /// Wall-clock time.
    pub timeout: Option<Setting<Duration>>,
}

/// Ceilings on inotify in the user namespace (`/proc/sys/user`): the kernel counts per user, so without them a sandbox could
/// take all that its user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Watches {
    /// Instances of inotify.
    pub instances: u64,
    /// Files and directories that all of them watch.
    pub files: u64,
}

/// One variable of the payload's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Variable {
    /// Its name.
    #[serde(serialize_with = "bytes::word")]
    pub name: OsString,
    /// Its value.
    #[serde(serialize_with = "bytes::word")]
    pub value: OsString,
    /// Who asked for it.
    #[serde(rename = "set-by", serialize_with = "bytes::display")]
    pub origin: crate::profile::Origin,
}
