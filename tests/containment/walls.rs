//! The walls: each a part of the plan that a test can take out.

use sbx::plan::{Access, BindSource, Mount, MountOp, Plan};
use sbx::profile::{Level, Nested, NetworkMode, Origin, Setting};

/// A defence, and how a plan does without it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    /// What it is called in the names of cases.
    pub(crate) name: &'static str,
    pub(crate) down: fn(&mut Plan),
}

/// Declares walls: `NAME = "name": |plan| …`.
macro_rules! walls {
    ($($(#[$doc:meta])+ $name:ident = $text:literal: $down:expr),+ $(,)?) => {
        $($(#[$doc])+ pub(crate) const $name: Wall = Wall { name: $text, down: $down };)+
    };
}

walls! {
    /// The filter of system calls.
    FILTER = "filter": |plan| plan.seccomp = None,
    /// Empty capability sets.
    CAPABILITIES = "capabilities": |plan| plan.privileges.drop_capabilities = false,
    /// `no_new_privs`; the filter and Landlock set it too.
    NO_NEW_PRIVS = "no_new_privs": |plan| {
        plan.privileges.no_new_privs = false;
        plan.seccomp = None;
        plan.landlock_scope.clear();
    },
    /// PID 1 can't be read.
    HIDDEN_INIT = "hidden init": |plan| plan.privileges.hide_init = false,
    /// The session keyring is an empty one.
    KEYRING = "keyring": |plan| plan.privileges.session_keyring = Level::Off,
    /// Landlock's scopes.
    SCOPES = "landlock scopes": |plan| plan.landlock_scope.clear(),
    /// A PID namespace and a procfs of its own; without the one, the other can only be the host's.
    PID_NAMESPACE = "pid namespace": |plan| {
        plan.namespaces.pid = false;
        shared(plan, "/proc", Access::Writable);
    },
    /// A UTS namespace.
    UTS_NAMESPACE = "uts namespace": |plan| plan.namespaces.uts = false,
    /// An IPC namespace: the queues of another one can't be mounted.
    IPC_NAMESPACE = "ipc namespace": |plan| {
        plan.namespaces.ipc = false;
        plan.mounts.retain(|mount| mount.op != MountOp::Mqueue);
    },
    /// A cgroup namespace.
    CGROUP_NAMESPACE = "cgroup namespace": |plan| plan.namespaces.cgroup = false,
    /// A network namespace with loopback alone.
    NETWORK_NAMESPACE = "network namespace":
        |plan| plan.namespaces.network = Setting::default_value(NetworkMode::Host),
    /// The ceiling on nested namespaces.
    CEILING = "ceiling": |plan| plan.namespaces.nested = Setting::default_value(Nested::Full),
    /// An empty `/run`, and below it the runtime directory.
    PRIVATE_RUN = "private run": |plan| shared(plan, "/run", Access::ReadOnly),
    /// An empty `/tmp`.
    PRIVATE_TMP = "private tmp": |plan| shared(plan, "/tmp", Access::Writable),
    /// An empty `/dev/shm`.
    PRIVATE_SHM = "private shm": |plan| shared(plan, "/dev/shm", Access::Writable),
}

/// The host's directory in place of the sandbox's own and what is made in that.
fn shared(plan: &mut Plan, path: &str, access: Access) {
    plan.mounts.retain(|mount| !mount.dest.starts_with(path));
    let source = BindSource::Path(path.into());
    let op = MountOp::Bind { source, access, devices: false, optional: false, create: None };
    plan.mounts.push(Mount { dest: path.into(), op, origin: Origin::Default });
}
