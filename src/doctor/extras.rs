//! Programs and settings that sandboxes can do without, and what is good to know about the machine.
#![forbid(unsafe_code)]

use nix::errno::Errno;

use super::facts::{Facts, Proxy, Step, Tried};
use super::findings::{Finding, Status};
use crate::cause::Cause;
use crate::diag::escape;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    vec![
        cgroups(facts),
        subordinate_ids(facts),
        fuse_overlayfs(facts),
        pasta(facts),
        dbus_proxy(facts),
        terminal_input(facts),
        ptrace(facts),
        groups(facts),
        runtime_directory(facts),
        home(facts),
    ]
}

fn cgroups(facts: &Facts) -> Finding {
    let (name, what) = ("cgroups", "cgroups for limits of memory and processors");
    let degraded =
        |cause, remedy: &str| Finding::new(name, Status::Degraded, what, Cause::new(cause, remedy));
    if let Some((cause, remedy)) = &facts.cgroups.obstacle {
        return degraded(cause.clone(), remedy);
    }
    let has = |name: &&str| facts.cgroups.controllers.iter().any(|known| known == name);
    let lacking: Vec<_> = ["cpu", "memory", "pids"].into_iter().filter(|name| !has(name)).collect();
    if lacking.is_empty() {
        return Finding::ok(name, format!("{what}: {}", facts.cgroups.controllers.join(" ")));
    }
    degraded(
        format!("not delegated to this user: {}", lacking.join(" ")),
        "as root, write \"[Service]\" and \"Delegate=cpu cpuset io memory pids\" to /etc/systemd/system/user@.service.d/delegate.conf; log in again",
    )
}

fn subordinate_ids(facts: &Facts) -> Finding {
    let (name, what) = ("subordinate-ids", "more users than one in a sandbox");
    let info = |cause: &str, remedy: &str| Finding::new(name, Status::Info, what, Cause::new(cause, remedy));
    match facts.subordinate {
        (0, _) | (_, 0) => info(
            "/etc/subuid and /etc/subgid give this user no ids",
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        ),
        _ if !facts.has_newidmap => {
            info("newuidmap and newgidmap are not installed", "install the package uidmap (shadow-utils)")
        }
        (uids, gids) => Finding::ok(name, format!("{what}: {uids} uids, {gids} gids")),
    }
}

fn fuse_overlayfs(facts: &Facts) -> Finding {
    let (name, what) = ("fuse-overlayfs", "fuse-overlayfs, for overlays that the kernel does not have");
    let info = |cause, remedy| Finding::new(name, Status::Info, what, Cause::new(cause, remedy));
    match facts.fuse_overlayfs {
        (true, true) => Finding::ok(name, what),
        (false, _) => info("it is not installed", "install the package fuse-overlayfs, when you want them"),
        (true, false) => info(
            "this user can't open `/dev/fuse`",
            "as root: modprobe fuse, chmod 666 /dev/fuse, when you want them",
        ),
    }
}

fn pasta(facts: &Facts) -> Finding {
    let (name, what) = ("pasta", "pasta, for networks of a sandbox's own");
    match facts.pasta {
        Some(_) => Finding::ok(name, what),
        None => Finding::new(
            name,
            Status::Info,
            what,
            Cause::new("it is not in PATH", "install the package passt, when you want them"),
        ),
    }
}

/// The first version that keeps a program from listening in on the bus.
const SAFE_PROXY: [u32; 3] = [0, 1, 7];

fn dbus_proxy(facts: &Facts) -> Finding {
    let (name, what) = ("dbus-proxy", "xdg-dbus-proxy, for a session bus");
    let finding =
        |status, cause: &str, remedy: &str| Finding::new(name, status, what, Cause::new(cause, remedy));
    match &facts.dbus_proxy {
        None => finding(
            Status::Info,
            "it is not in PATH, so that there is no bus inside",
            "install the package xdg-dbus-proxy, when you want one",
        ),
        Some(Proxy { version: None, path }) => {
            let cause = format!("{} does not tell its version", escape(path));
            finding(Status::Degraded, &cause, "install xdg-dbus-proxy 0.1.7 or later")
        }
        Some(Proxy { version: Some(version), .. }) => {
            let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
            let numbers = [(); 3].map(|()| numbers.next().unwrap_or(0));
            if numbers >= SAFE_PROXY {
                return Finding::ok(name, format!("{what}: {}", escape(version)));
            }
            let cause = format!(
                "version {} lets a program listen in on the bus, unless it was mended since",
                escape(version)
            );
            finding(Status::Degraded, &cause, "install xdg-dbus-proxy 0.1.7 or later")
        }
    }
}

fn terminal_input(facts: &Facts) -> Finding {
    let (name, what) = ("terminal-input", "typing into other programs' terminals");
    let info = |cause, remedy| Finding::new(name, Status::Info, what, Cause::new(cause, remedy));
    match facts.machine.setting("dev/tty/legacy_tiocsti") {
        Some("0") => Finding::ok(name, format!("{what} is switched off")),
        Some(_) => info(
            "programs outside sandboxes may do it: `dev.tty.legacy_tiocsti` is 1",
            "as root: sysctl -w dev.tty.legacy_tiocsti=0",
        ),
        None => info("programs outside sandboxes may do it", "use Linux 6.2 or later to switch it off"),
    }
}

fn ptrace(facts: &Facts) -> Finding {
    let (name, what) = ("ptrace", "reading other programs' memory");
    match facts.machine.setting("kernel/yama/ptrace_scope") {
        Some(scope) if scope != "0" => Finding::ok(name, format!("{what} is restricted")),
        Some(_) => Finding::new(
            name,
            Status::Info,
            what,
            Cause::new(
                "your programs outside sandboxes may do it to each other: `kernel.yama.ptrace_scope` is 0",
                "as root: sysctl -w kernel.yama.ptrace_scope=1",
            ),
        ),
        None => Finding::new(
            name,
            Status::Info,
            what,
            Cause::new(
                "your programs outside sandboxes may do it to each other: the kernel has no Yama",
                "add yama to the list in the kernel's parameter lsm=",
            ),
        ),
    }
}

fn groups(facts: &Facts) -> Finding {
    let (name, what) = ("groups", "groups of this user");
    if facts.powerful_groups.is_empty() {
        return Finding::ok(name, format!("{what} give no power over the machine"));
    }
    let cause = format!(
        "{} can make this user root, also from inside a sandbox that gets their sockets or devices",
        escape(facts.powerful_groups.join(", "))
    );
    let remedy = "leave the groups, or give no sandbox what they open";
    Finding::new(name, Status::Info, what, Cause::new(cause, remedy))
}

fn runtime_directory(facts: &Facts) -> Finding {
    let (name, what) = ("runtime-directory", "XDG_RUNTIME_DIR");
    if facts.has_runtime_dir {
        return Finding::ok(name, what);
    }
    let cause = "it is not set to a directory: a sandbox finds no display, sound or bus to be given";
    let remedy = "log in with pam_systemd or elogind, when you want them";
    Finding::new(name, Status::Info, what, Cause::new(cause, remedy))
}

fn home(facts: &Facts) -> Finding {
    let (name, what) = ("home", "the home directory");
    let info = |cause: &str, remedy| Finding::new(name, Status::Info, what, Cause::new(cause, remedy));
    match facts.of(Step::Home) {
        Some(Tried::Works | Tried::Answered(_)) => Finding::ok(name, what),
        Some(Tried::Failed(Errno::EACCES)) => info(
            "no program can be run from it: it is mounted noexec",
            "build elsewhere, or mount it without noexec",
        ),
        Some(Tried::Hung) => info("it does not answer", "look at the network mount that it lies on"),
        _ => info("HOME is not set to a directory", "set HOME"),
    }
}
