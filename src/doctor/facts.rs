//! What the doctor found out: plain data, so that a test can make up a machine that it has not got.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::cause::Machine;

/// One thing that a throw-away child tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// `clone3` with a pidfd, without namespaces.
    Clone3,
    /// `close_range` that marks descriptors close-on-exec.
    CloseRange,
    /// `openat2` that stays below a directory.
    Openat2,
    /// A session keyring of sbx's own.
    Keyring,
    /// Landlock's version; and a rule that forbids.
    Landlock,
    /// `no_new_privs`.
    NoNewPrivs,
    /// A filter that forbids one call.
    Seccomp,
    /// A home directory where programs may run.
    Home,
    /// Files and settings, none of which hangs.
    Look,
    /// A user namespace.
    UserNamespace,
    /// A mount namespace in one, and so on.
    MountNamespace,
    /// PID.
    PidNamespace,
    /// UTS.
    UtsNamespace,
    /// IPC.
    IpcNamespace,
    /// Cgroup.
    CgroupNamespace,
    /// Network.
    NetworkNamespace,
    /// All that worked alone, in one call.
    Together,
    /// setgroups, uid_map, gid_map.
    IdMaps,
    /// Another host name.
    Hostname,
    /// The loopback interface up.
    Loopback,
    /// A time namespace.
    TimeNamespace,
    /// A new procfs.
    Proc,
    /// `fsopen` and what belongs to it: a new tmpfs.
    Tmpfs,
    /// `open_tree`: everything once more.
    CloneTree,
    /// `mount_setattr`: all of it read-only.
    Restrict,
    /// `move_mount`: both attached.
    Attach,
    /// Terminals of its own.
    Devpts,
    /// Message queues of its own.
    Mqueue,
    /// The ceilings that keep user namespaces off inside.
    Ceilings,
    /// `pivot_root`, and the old root gone.
    Pivot,
    /// An overlay, and a directory of a lower layer removed in it.
    Overlay,
    /// All capabilities given up.
    Capabilities,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It works.
    Works,
    /// It works, and answered a number.
    Answered(u32),
    /// The kernel said no.
    Failed(Errno),
    /// It took longer than some seconds.
    Hung,
    /// The process that tried it was killed.
    Killed,
}

impl Tried {
    /// Whether it works.
    pub fn works(self) -> bool {
        matches!(self, Tried::Works | Tried::Answered(_))
    }
}

/// What can be done with cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// Why no sandbox can have one, and what to do about it.
    pub obstacle: Option<(String, String)>,
    /// The controllers that one can have.
    pub controllers: Vec<String>,
}

/// An installed `xdg-dbus-proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says of itself, such as `0.1.6`.
    pub version: Option<String>,
}

/// What the doctor found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was tried; what is not here was not, because something before it failed.
    pub tried: BTreeMap<Step, Tried>,
    /// What can be in the way.
    pub machine: Machine,
    /// AppArmor's rules know user namespaces here: `/etc/apparmor.d/abi/4.0` exists.
    pub apparmor_knows_userns: bool,
    /// Somebody other than root may change the program.
    pub program_is_writable: bool,
    /// Cgroups.
    pub cgroups: Cgroups,
    /// How many subordinate uids and gids the user has.
    pub subordinate: (u64, u64),
    /// `newuidmap` and `newgidmap` are installed.
    pub has_newidmap: bool,
    /// Where `pasta` lies.
    pub pasta: Option<PathBuf>,
    /// `fuse-overlayfs` is installed, and everybody may open `/dev/fuse`.
    pub fuse_overlayfs: (bool, bool),
    /// `xdg-dbus-proxy`.
    pub dbus_proxy: Option<Proxy>,
    /// Groups of this process that make their members root, or nearly so.
    pub powerful_groups: Vec<String>,
    /// `$XDG_RUNTIME_DIR` is set, absolute, and a directory.
    pub has_runtime_dir: bool,
}

impl Facts {
    /// What came of a step; nothing when it was not tried.
    pub fn of(&self, step: Step) -> Option<Tried> {
        self.tried.get(&step).copied()
    }
}
