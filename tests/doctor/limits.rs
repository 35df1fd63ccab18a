//! Ceilings of namespaces, real ones: in an outer user namespace its owner may set them.

use crate::common::{Case, Need, User, Verdict, case};
use crate::report::{Expected, finds, outer};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(no_user_namespaces),
        case!(no_mount_namespaces),
        case!(no_pid_namespaces),
        case!(no_network_namespaces),
        case!(no_other_namespaces),
        case!(one_at_a_time_is_enough),
        case!(no_detached_mounts),
        case!(used_up),
    ];
    cases.into_iter().map(|case| case.needs(Need::Program("unshare"))).collect()
}

/// What is tried once processes can be made: the user namespace, then what needs one, then what needs the user mapped there.
pub(crate) const IN_CHILDREN: &[&str] = &[
    "user-namespace",
    "id-maps",
    "mount-namespace",
    "pid-namespace",
    "ipc-namespace",
    "cgroup-namespace",
    "network-namespace",
    "uts-namespace",
    "loopback",
    "mounts",
    "proc",
    "ceilings",
    "devpts",
    "mqueue",
    "pivot-root",
    "capabilities",
    "time-namespace",
    "overlay",
];

/// What is tried in a user namespace.
pub(crate) const IN_USER: &[&str] = IN_CHILDREN.split_at(1).1;

/// What is tried there once the user is mapped. A host name of its own counts with its namespace.
pub(crate) const MAPPED: &[&str] = IN_CHILDREN.split_at(7).1;

fn off(user: &User, kind: &str, name: &str, untried: &[&str]) -> Verdict {
    let fault = format!("echo 0 >/proc/sys/user/max_{kind}_namespaces; exec");
    let cause = format!("{kind} namespaces are switched off: `user.max_{kind}_namespaces` is 0");
    let remedy = format!("as root: sysctl -w user.max_{kind}_namespaces=");
    let expected: &[Expected<'_>] = &[(name, "missing", &cause, &remedy)];
    finds(user, outer, &fault, expected, untried).map(drop)
}

fn no_user_namespaces(user: &User) -> Verdict {
    off(user, "user", "user-namespace", IN_USER)
}

fn no_mount_namespaces(user: &User) -> Verdict {
    let untried = ["mounts", "proc", "ceilings", "devpts", "mqueue", "pivot-root", "overlay"];
    off(user, "mnt", "mount-namespace", &untried)
}

fn no_pid_namespaces(user: &User) -> Verdict {
    off(user, "pid", "pid-namespace", &["proc", "ceilings"])
}

fn no_network_namespaces(user: &User) -> Verdict {
    off(user, "net", "network-namespace", &["loopback"])
}

fn no_other_namespaces(user: &User) -> Verdict {
    off(user, "uts", "uts-namespace", &[])?;
    off(user, "ipc", "ipc-namespace", &["mqueue"])?;
    off(user, "cgroup", "cgroup-namespace", &[])
}

/// The doctor's own namespaces, one after the other, don't use a small limit up.
fn one_at_a_time_is_enough(user: &User) -> Verdict {
    let fault = "for kind in user pid uts ipc cgroup net; do echo 3 >/proc/sys/user/max_${kind}_namespaces; done; exec";
    finds(user, outer, fault, &[], &[]).map(drop)
}

/// The outer namespace and the sandbox's use this limit up: no mount can be made that is not attached yet.
fn no_detached_mounts(user: &User) -> Verdict {
    let fault = "echo 2 >/proc/sys/user/max_mnt_namespaces; exec";
    let missing = |name| (name, "missing", "the limit of namespaces is reached", "as root raise user.max_");
    let expected = ["mounts", "proc", "devpts", "mqueue"].map(missing);
    finds(user, outer, fault, &expected, &["ceilings", "pivot-root", "overlay"]).map(drop)
}

fn used_up(user: &User) -> Verdict {
    let fault = "echo 1 >/proc/sys/user/max_user_namespaces; unshare -U sleep 30 & \
                 while [ \"$(readlink /proc/$!/ns/user)\" = \"$(readlink /proc/self/ns/user)\" ]; do sleep 0.05; done; \
                 code=0; {} || code=$?; kill $!; wait $! 2>/dev/null || true; exit $code";
    let remedy = "end other sandboxes, or as root raise user.max_user_namespaces";
    let expected = ("user-namespace", "missing", "the limit of namespaces is reached", remedy);
    finds(user, outer, fault, &[expected], IN_USER).map(drop)
}
