//! Why the kernel said no: the machine's settings that forbid user namespaces, told apart by looking at them rather than at
//! the errno, which is the same for most.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::diag::{errno_words, quote};

/// A cause and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What is in the way.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Cause {
    /// A cause that something can be done about.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()) }
    }
}

/// The kinds of namespaces that have a ceiling, as its name spells them.
pub const KINDS: [&str; 7] = ["user", "mnt", "pid", "uts", "ipc", "cgroup", "net"];

/// Settings that forbid user namespaces, or that a report of the machine tells.
const SETTINGS: [&str; 4] = [
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
    "kernel/yama/ptrace_scope",
    "dev/tty/legacy_tiocsti",
];

/// What can be in the way on a machine, as it is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Files of `/proc/sys` by their names below it, those that could be read.
    pub settings: BTreeMap<String, String>,
    /// This process runs under somebody else's seccomp filter, as in most containers.
    pub is_filtered: bool,
    /// `/` is not the root of the mount namespace: user namespaces can't be made in a chroot (user_namespaces(7)).
    pub is_chrooted: bool,
    /// This process is in a user namespace other than the first.
    pub is_in_user_namespace: bool,
    /// A procfs is mounted on `/proc`.
    pub has_proc: bool,
    /// The kernel knows user namespaces.
    pub has_user_namespaces: bool,
    /// SELinux is there and enforces.
    pub selinux_enforces: bool,
    /// What a security module calls this process, such as `docker-default (enforce)`.
    pub label: String,
    /// Where the program of this process lies.
    pub program: PathBuf,
}

impl Machine {
    /// Looks at the machine. What can't be read counts as not there.
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let names = KINDS.map(|kind| format!("user/max_{kind}_namespaces"));
        let names = names.into_iter().chain(SETTINGS.map(str::to_owned));
        let setting = |name: String| {
            let text = fs::read_to_string(Path::new("/proc/sys").join(&name)).ok()?;
            Some((name, text.trim().to_owned()))
        };
        let mounts = read("/proc/self/mountinfo");
        let ids: Vec<_> = read("/proc/self/uid_map").split_whitespace().map(str::to_owned).collect();
        Self {
            settings: names.filter_map(setting).collect(),
            is_filtered: read("/proc/self/status")
                .lines()
                .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")),
            is_chrooted: !mounts.is_empty()
                && !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")),
            is_in_user_namespace: !ids.is_empty() && ids != ["0", "0", "4294967295"],
            has_proc: Path::new("/proc/self").exists(),
            has_user_namespaces: Path::new("/proc/self/ns/user").exists(),
            selinux_enforces: read("/sys/fs/selinux/enforce").trim() == "1",
            label: read("/proc/self/attr/current").trim_matches(['\0', '\n', ' ']).to_owned(),
            program: std::env::current_exe().unwrap_or_else(|_| "/usr/bin/sbx".into()),
        }
    }

    /// A setting's value.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Why `clone3` failed.
    pub fn of_clone(&self, errno: Errno) -> Cause {
        match errno {
            Errno::ENOSYS => Cause::new(
                "the clone3 system call is not available here (a container's seccomp filter, or a kernel before 5.3)",
                "allow clone3 and user namespaces in the container's seccomp profile, or run sbx outside the container",
            ),
            Errno::ENOSPC | Errno::EUSERS => self.of_limit(&KINDS),
            Errno::EAGAIN => Cause::new(
                "the user's limit of processes is reached",
                "end some processes, or raise the limit (`ulimit -u`)",
            ),
            Errno::EPERM | Errno::EACCES | Errno::EINVAL => self.of_refusal(errno),
            other => Cause { what: errno_words(other), hint: None },
        }
    }

    /// A ceiling of namespaces is reached: find the one among these kinds.
    pub fn of_limit(&self, kinds: &[&str]) -> Cause {
        for kind in kinds {
            let name = format!("user/max_{kind}_namespaces");
            if self.setting(&name) == Some("0") {
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

    fn of_refusal(&self, errno: Errno) -> Cause {
        if self.setting("kernel/unprivileged_userns_clone") == Some("0") {
            return Cause::new(
                "unprivileged user namespaces are switched off: `kernel.unprivileged_userns_clone` is 0",
                "as root: sysctl -w kernel.unprivileged_userns_clone=1",
            );
        }
        if self.setting("user/max_user_namespaces") == Some("0") {
            return self.of_limit(&KINDS);
        }
        if self.is_filtered {
            return Cause::new(
                "a seccomp filter that this process runs under forbids user namespaces, as container engines do by default",
                "allow user namespaces in the container's seccomp profile, or run sbx outside the container",
            );
        }
        if self.is_chrooted {
            return Cause::new(
                "this process runs in a chroot, where the kernel makes no user namespaces",
                "run sbx outside the chroot, or enter it with pivot_root",
            );
        }
        if let Some(cause) = self.of_apparmor().or_else(|| self.of_selinux(errno)) {
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

    /// SELinux says no with `EACCES` where it enforces a policy.
    pub fn of_selinux(&self, errno: Errno) -> Option<Cause> {
        (self.selinux_enforces && errno == Errno::EACCES).then(|| {
            Cause::new(
                "SELinux forbids it, by the policy that it enforces here",
                "as root, look at what was denied and allow it: ausearch -m avc -c sbx; \
                 for a container: --security-opt label=disable",
            )
        })
    }

    /// Ubuntu's restriction: the namespace is made, but without any capability in it, so that a later step fails.
    pub fn of_apparmor(&self) -> Option<Cause> {
        if self.setting("kernel/apparmor_restrict_unprivileged_userns") != Some("1") {
            return None;
        }
        Some(Cause::new(
            "AppArmor takes all capabilities away in user namespaces: `kernel.apparmor_restrict_unprivileged_userns` is 1",
            format!(
                "as root, write to /etc/apparmor.d/sbx: abi <abi/4.0>, include <tunables/global> profile sbx {} \
                 flags=(unconfined) {{ userns, }} and load it with apparmor_parser -r /etc/apparmor.d/sbx",
                quote(&self.program).trim_matches('`')
            ),
        ))
    }
}

/// Why a new procfs is refused.
pub fn masked_proc() -> Cause {
    Cause::new(
        "parts of this system's `/proc` are masked, as container engines do, and the kernel then refuses a new one",
        "run sbx outside the container, or start the container with an unmasked /proc (systempaths=unconfined)",
    )
}

/// A program that its user may execute but not read is not dumpable, and its maps belong to root.
pub fn unreadable_program() -> Cause {
    Cause::new(
        "the kernel refuses the id map: the sbx program itself is not readable for this user, or a security module forbids it",
        "make the program readable (chmod a+r), or ask the machine's administrator to allow user namespaces",
    )
}

/// Why a call that the kernel took can't be relied on.
pub fn no_effect() -> Cause {
    Cause::new(
        "the kernel took the call, and it had no effect",
        "run sbx where no tracer and no emulated kernel stands between it and the kernel",
    )
}
