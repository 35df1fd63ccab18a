//! Why a step failed, and what to do about it.
#![forbid(unsafe_code)]

use nix::errno::Errno;

use super::facts::{Facts, Step, Tried};
use crate::cause::{Cause, Machine, masked_proc, no_effect, unreadable_program};
use crate::diag::{errno_words, escape};
use crate::sys::NO_EFFECT;

/// Why this step does not work.
pub(super) fn of(facts: &Facts, step: Step, tried: Tried) -> Cause {
    let cause = match tried {
        Tried::Hung => Cause::new(
            "no answer within some seconds",
            "look for a tracer, a filter that asks somebody, or a network mount that hangs",
        ),
        Tried::Killed => Cause::new(
            "whoever tries it is killed, by a seccomp filter or for want of memory",
            "allow it in the container's seccomp profile, or run sbx outside the container",
        ),
        Tried::Failed(NO_EFFECT) => no_effect(),
        Tried::Failed(errno) => of_errno(facts, step, errno),
        Tried::Works | Tried::Answered(_) => Cause { what: String::new(), hint: None },
    };
    with_remedy(facts, cause)
}

/// With the file to write where that is the remedy, and never without any.
fn with_remedy(facts: &Facts, cause: Cause) -> Cause {
    if facts.machine.of_apparmor().as_ref() == Some(&cause) {
        return Cause { hint: Some(apparmor_remedy(facts)), ..cause };
    }
    match cause.hint {
        Some(_) => cause,
        None => Cause::new(cause.what, "look into the kernel's log (dmesg, journalctl -k) for more"),
    }
}

/// Whether this runs in a sandbox that keeps others from being made in it.
pub(super) fn is_sandboxed(machine: &Machine) -> bool {
    machine.is_filtered && machine.setting("user/max_user_namespaces") == Some("0")
}

/// For a sandbox in a sandbox.
pub(super) fn sandboxed() -> Cause {
    Cause::new(
        "this runs in a sandbox, where user namespaces are switched off: `user.max_user_namespaces` is 0",
        "run sbx outside of it",
    )
}

fn of_errno(facts: &Facts, step: Step, errno: Errno) -> Cause {
    let machine = &facts.machine;
    if is_sandboxed(machine) {
        if matches!(step, Step::Clone3 | Step::UserNamespace) {
            return sandboxed();
        }
        if matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOSYS) {
            return Cause::new("the sandbox that this runs in forbids it", "run sbx outside of it");
        }
    }
    of_namespace(machine, step, errno)
        .or_else(|| of_mount(facts, step, errno))
        .or_else(|| of_part(machine, step, errno))
        .or_else(|| refused(machine, errno))
        .unwrap_or_else(|| Cause { what: errno_words(errno), hint: None })
}

/// What keeps a namespace from being made.
fn of_namespace(machine: &Machine, step: Step, errno: Errno) -> Option<Cause> {
    if matches!(step, Step::Clone3 | Step::Together) {
        return Some(machine.of_clone(errno));
    }
    let (kind, option) = kind(step)?;
    match errno {
        Errno::EINVAL if step != Step::UserNamespace => {
            Some(Cause::new("this kernel is built without them", format!("use a kernel with {option}")))
        }
        Errno::EINVAL if !machine.has_user_namespaces => Some(Cause::new(
            "this kernel is built without user namespaces",
            "use a kernel with CONFIG_USER_NS; on WSL 1: wsl --set-version DISTRIBUTION 2",
        )),
        Errno::ENOSPC | Errno::EUSERS => Some(machine.of_limit(&[kind])),
        _ if step == Step::UserNamespace => Some(machine.of_clone(errno)),
        _ => None,
    }
}

/// What keeps the user from being mapped, and filesystems from being mounted.
fn of_mount(facts: &Facts, step: Step, errno: Errno) -> Option<Cause> {
    let machine = &facts.machine;
    match (step, errno) {
        // The kernel counts a mount that is not attached yet as a namespace.
        (Step::Proc | Step::Tmpfs | Step::CloneTree | Step::Devpts | Step::Mqueue, Errno::ENOSPC) => {
            Some(machine.of_limit(&["mnt"]))
        }
        // A procfs alone.
        (Step::Proc, Errno::EPERM | Errno::EACCES) if facts.of(Step::Tmpfs) != Some(Tried::Failed(errno)) => {
            Some(machine.of_apparmor().unwrap_or_else(masked_proc))
        }
        (Step::IdMaps | Step::Proc, Errno::ENOENT) if !machine.has_proc => Some(no_proc()),
        (Step::IdMaps, Errno::EROFS) => Some(masked_proc()),
        (Step::IdMaps, Errno::EPERM | Errno::EACCES) => {
            Some(refused(machine, errno).unwrap_or_else(unreadable_program))
        }
        (Step::Overlay, Errno::EIO) => Some(Cause::new(
            "a directory of a lower layer cannot be removed where changes are kept in memory",
            "use Linux 6.6 or later",
        )),
        (Step::Overlay, Errno::EINVAL | Errno::EPERM) if refused(machine, errno).is_none() => {
            Some(Cause::new(
                "this kernel has no overlays in user namespaces",
                "use Linux 5.11 or later, with CONFIG_OVERLAY_FS; or install fuse-overlayfs and set `filesystem.overlay-driver` to it",
            ))
        }
        (Step::Overlay | Step::Mqueue | Step::Devpts, Errno::ENODEV) => Some(Cause::new(
            "this kernel does not have the filesystem",
            "load its module, or use a kernel that has it",
        )),
        _ => None,
    }
}

/// What is particular to one part of the kernel, or not there at all.
fn of_part(machine: &Machine, step: Step, errno: Errno) -> Option<Cause> {
    match (step, errno) {
        (_, Errno::ENOSYS) => Some(not_there(machine, step)),
        (Step::Keyring, Errno::EDQUOT) => Some(Cause::new(
            "the user's quota of keys is used up",
            "as root: sysctl -w kernel.keys.maxkeys=2000",
        )),
        (Step::Seccomp, Errno::EINVAL) => Some(Cause::new(
            "this kernel has no filters of system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )),
        (Step::Landlock, Errno::EOPNOTSUPP) => Some(Cause::new(
            "Landlock is switched off at boot",
            "add landlock to the list in the kernel's parameter lsm=",
        )),
        _ => None,
    }
}

/// The kind of namespace that a step makes: its ceiling, and the kernel's option.
fn kind(step: Step) -> Option<(&'static str, &'static str)> {
    Some(match step {
        Step::UserNamespace => ("user", "CONFIG_USER_NS"),
        Step::MountNamespace => ("mnt", "CONFIG_NAMESPACES"),
        Step::PidNamespace => ("pid", "CONFIG_PID_NS"),
        Step::UtsNamespace => ("uts", "CONFIG_UTS_NS"),
        Step::IpcNamespace => ("ipc", "CONFIG_IPC_NS"),
        Step::CgroupNamespace => ("cgroup", "CONFIG_CGROUPS"),
        Step::NetworkNamespace => ("net", "CONFIG_NET_NS"),
        Step::TimeNamespace => ("time", "CONFIG_TIME_NS, Linux 5.6 or later"),
        _ => return None,
    })
}

/// A call or file that the kernel lacks, or a filter hides.
fn not_there(machine: &Machine, step: Step) -> Cause {
    let (call, since) = match step {
        Step::CloseRange => ("close_range with CLOSE_RANGE_CLOEXEC", "5.11"),
        Step::Openat2 => ("openat2", "5.6"),
        Step::Tmpfs | Step::Devpts | Step::Mqueue | Step::Proc => ("fsopen", "5.2"),
        Step::CloneTree => ("open_tree", "5.2"),
        Step::Attach => ("move_mount", "5.2"),
        Step::Restrict => ("mount_setattr", "5.12"),
        Step::Landlock => ("Landlock", "5.13"),
        Step::Keyring => ("keyctl", "2.6"),
        Step::Seccomp => ("seccomp", "3.17"),
        _ => ("the call", "5.14"),
    };
    if machine.is_filtered {
        return Cause::new(
            format!("a seccomp filter that this process runs under hides {call}, or the kernel lacks it"),
            format!("allow {call} in the container's seccomp profile, or run sbx outside the container"),
        );
    }
    let what = format!("this kernel does not have {call}");
    match step {
        Step::Landlock | Step::Keyring | Step::Seccomp => {
            let option = match step {
                Step::Landlock => "CONFIG_SECURITY_LANDLOCK",
                Step::Keyring => "CONFIG_KEYS",
                _ => "CONFIG_SECCOMP_FILTER",
            };
            Cause::new(what, format!("use Linux {since} or later, with {option}"))
        }
        _ => Cause::new(what, format!("use Linux {since} or later")),
    }
}

/// Who else may have said no: security modules by what they say of themselves, filters.
fn refused(machine: &Machine, errno: Errno) -> Option<Cause> {
    if !matches!(errno, Errno::EPERM | Errno::EACCES) {
        return None;
    }
    let apparmor = machine.label.strip_suffix(" (enforce)").filter(|name| !name.is_empty());
    if let Some(cause) = machine.of_apparmor() {
        return Some(cause);
    }
    if let Some(profile) = apparmor {
        return Some(Cause::new(
            format!("AppArmor's profile {} that this process runs under may forbid it", escape(profile)),
            "start the container with --security-opt apparmor=unconfined, or run sbx outside of it",
        ));
    }
    if machine.is_filtered {
        return Some(Cause::new(
            "a seccomp filter that this process runs under forbids it, as container engines do by default",
            "allow it in the container's seccomp profile, or run sbx outside the container",
        ));
    }
    machine.of_selinux(errno)
}

/// For a machine, or a container, that nobody has set up in full.
pub(super) fn no_proc() -> Cause {
    Cause::new("procfs is not mounted on /proc", "mount procfs on /proc")
}

/// AppArmor's profile for this very program, as far as AppArmor here can read it.
fn apparmor_remedy(facts: &Facts) -> String {
    if !facts.apparmor_knows_userns {
        return "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (AppArmor here has no rules for user \
                namespaces, which /etc/apparmor.d/abi/4.0 would say)"
            .to_owned();
    }
    let path = apparmor_path(&facts.machine.program.to_string_lossy());
    let first = match facts.program_is_writable {
        true => {
            "first move sbx to where only root can write: the profile is for whatever lies at its path.\n"
        }
        false => "",
    };
    format!(
        "{first}as root, write this to /etc/apparmor.d/sbx and load it with apparmor_parser -r /etc/apparmor.d/sbx:\n\
         # Allows everything, and exists only to let sbx make user namespaces.\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         \n\
         profile sbx {path} flags=(unconfined) {{\n  \
           userns,\n\
         \n  \
           include if exists <local/sbx>\n\
         }}"
    )
}

/// A path in AppArmor's language: its wildcards are letters here.
fn apparmor_path(path: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if path.chars().all(is_plain) {
        return path.to_owned();
    }
    let letters = path.chars().flat_map(|letter| {
        let special = "*?[]{}^\"\\@,!".contains(letter);
        special.then_some('\\').into_iter().chain([letter])
    });
    format!("\"{}\"", letters.collect::<String>())
}
