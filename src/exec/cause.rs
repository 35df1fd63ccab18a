//! Why the kernel said no: the machine's settings that forbid user namespaces, told apart by looking at them rather than at
//! the errno, which is the same for most.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::step::{Failure, Step};
use crate::diag::{errno_words, quote};
use crate::plan::{MountOp, Plan};
use crate::sys::NO_EFFECT;

/// A cause and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What is in the way.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Cause {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()) }
    }
}

/// A sysctl's value.
fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// Whether this process runs under somebody else's seccomp filter, as in most containers.
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Whether `/` is not the root of the mount namespace: user namespaces can't be made in a chroot (user_namespaces(7)).
fn is_chrooted() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    !mounts.is_empty() && !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"))
}

/// Why `clone3` failed.
pub(super) fn of_clone(errno: Errno) -> Cause {
    match errno {
        Errno::ENOSYS => Cause::new(
            "the clone3 system call is not available here (a container's seccomp filter, or a kernel before 5.3)",
            "allow clone3 and user namespaces in the container's seccomp profile, or run sbx outside the container",
        ),
        Errno::ENOSPC | Errno::EUSERS => of_limit(),
        Errno::EAGAIN => Cause::new(
            "the user's limit of processes is reached",
            "end some processes, or raise the limit (`ulimit -u`)",
        ),
        Errno::EPERM | Errno::EACCES | Errno::EINVAL => of_refusal(errno),
        other => Cause { what: errno_words(other), hint: None },
    }
}

/// A ceiling of namespaces is reached: find the one.
fn of_limit() -> Cause {
    const KINDS: [&str; 7] = ["user", "mnt", "pid", "uts", "ipc", "cgroup", "net"];
    for kind in KINDS {
        let name = format!("user/max_{kind}_namespaces");
        if sysctl(&name).as_deref() == Some("0") {
            return Cause::new(
                format!("{kind} namespaces are switched off: `{}` is 0", name.replace('/', ".")),
                format!("as root: sysctl -w {}=10000", name.replace('/', ".")),
            );
        }
    }
    Cause::new(
        "the limit of namespaces is reached: one of `user.max_*_namespaces`, here or in an outer namespace, or 32 nested levels",
        "end other sandboxes, or as root raise user.max_user_namespaces and its like",
    )
}

fn of_refusal(errno: Errno) -> Cause {
    if sysctl("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Cause::new(
            "unprivileged user namespaces are switched off: `kernel.unprivileged_userns_clone` is 0",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        );
    }
    if sysctl("user/max_user_namespaces").as_deref() == Some("0") {
        return of_limit();
    }
    if is_filtered() {
        return Cause::new(
            "a seccomp filter that this process runs under forbids user namespaces, as container engines do by default",
            "allow user namespaces in the container's seccomp profile, or run sbx outside the container",
        );
    }
    if is_chrooted() {
        return Cause::new(
            "this process runs in a chroot, where the kernel makes no user namespaces",
            "run sbx outside the chroot, or enter it with pivot_root",
        );
    }
    if let Some(cause) = of_apparmor() {
        return cause;
    }
    Cause::new(
        format!(
            "the kernel refuses user namespaces ({}): a security module, a chroot on a mount point, or an outer sandbox forbids them",
            errno_words(errno)
        ),
        "run sbx outside containers and sandboxes, or ask the machine's administrator to allow user namespaces",
    )
}

/// Ubuntu's restriction: the namespace is made, but without any capability in it, so that a later step fails.
fn of_apparmor() -> Option<Cause> {
    if sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() != Some("1") {
        return None;
    }
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/sbx".into());
    Some(Cause::new(
        "AppArmor takes all capabilities away in user namespaces: `kernel.apparmor_restrict_unprivileged_userns` is 1",
        format!(
            "as root, write to /etc/apparmor.d/sbx: abi <abi/4.0>, include <tunables/global> profile sbx {} \
             flags=(unconfined) {{ userns, }} and load it with apparmor_parser -r /etc/apparmor.d/sbx",
            quote(program).trim_matches('`')
        ),
    ))
}

/// Why a step inside failed, where that is more than its errno.
pub(super) fn of_step(plan: &Plan, failure: Failure) -> Option<Cause> {
    let mount = plan.mounts.get(failure.item as usize);
    let refused = matches!(failure.errno, Errno::EPERM | Errno::EACCES);
    if failure.errno == NO_EFFECT {
        return Some(Cause::new(
            "the kernel took the call, and it had no effect",
            "run sbx where no tracer and no emulated kernel stands between it and the kernel",
        ));
    }
    match failure.step {
        Step::PlantedLink => Some(Cause::new(
            "a symlink on the way lies in a directory that the sandbox can write, and may have been planted by it",
            "look at the link; if it is yours, name what it points to instead",
        )),
        Step::Target | Step::Create if failure.errno == Errno::EROFS => Some(Cause::new(
            "it would have to be made in a directory of the host's, where sbx makes nothing",
            "create it first, or choose another destination",
        )),
        Step::Root | Step::Proc if failure.errno == Errno::ENOSPC => Some(of_limit()),
        Step::Proc if refused => of_apparmor().or_else(|| Some(masked_proc())),
        Step::Proc => None,
        Step::IdMap | Step::Loopback | Step::Root | Step::Hostname | Step::Ceilings if refused => {
            of_apparmor().or_else(|| matches!(failure.step, Step::IdMap).then(unreadable_program))
        }
        Step::Directory if failure.errno == Errno::ENOENT => Some(Cause::new(
            "it does not exist inside",
            "give it with --ro or --rw, or start elsewhere with --chdir",
        )),
        Step::Source if failure.errno == Errno::ELOOP => Some(Cause::new(
            "a part of its path became a symlink while the sandbox was made",
            "run it again when nothing changes there",
        )),
        Step::Source if failure.errno == Errno::ENODEV => {
            Some(Cause::new("it is not the device node that it should be", "restore the node on the host"))
        }
        Step::Attach | Step::Filesystem if failure.errno == Errno::ENOSPC => Some(Cause::new(
            "the kernel's limit of mounts in a namespace is reached",
            "use fewer binds, or as root raise fs.mount-max",
        )),
        Step::Target | Step::Create if failure.errno == Errno::ENOSPC => {
            Some(Cause::new("the root filesystem has no room for more mount points", "use fewer binds"))
        }
        Step::Target | Step::Attach if matches!(failure.errno, Errno::ENOTDIR | Errno::EINVAL) => {
            let what = match mount.map(|mount| &mount.op) {
                Some(MountOp::Bind { .. }) => {
                    "one of source and destination is a directory and the other is not"
                }
                _ => "a part of its path is not a directory",
            };
            Some(Cause::new(what, "choose another destination"))
        }
        _ => None,
    }
}

fn masked_proc() -> Cause {
    Cause::new(
        "parts of this system's `/proc` are masked, as container engines do, and the kernel then refuses a new one",
        "run sbx outside the container, or start the container with an unmasked /proc (systempaths=unconfined)",
    )
}

/// A program that its user may execute but not read is not dumpable, and its maps belong to root.
fn unreadable_program() -> Cause {
    Cause::new(
        "the kernel refuses the id map: the sbx program itself is not readable for this user, or a security module forbids it",
        "make the program readable (chmod a+r), or ask the machine's administrator to allow user namespaces",
    )
}
