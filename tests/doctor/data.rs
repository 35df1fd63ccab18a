//! Machines that are not at hand, as data: AppArmor, SELinux, old kernels, kernels without parts.

use crate::common::{Case, User, Verdict};
use crate::limits::{IN_CHILDREN, IN_USER, MAPPED};
use crate::report::{Expected, Report, Told, compare};
use nix::errno::Errno;
use sbx::cause::Machine;
use sbx::doctor::{Cgroups, Facts, Proxy, Step, Tried, diagnose, works};

/// A machine with one fault, what is told of it, and what can't be tried.
struct Row {
    name: &'static str,
    fault: fn(&mut Facts),
    expected: &'static [Expected<'static>],
    untried: &'static [&'static str],
}

const fn row(
    name: &'static str,
    fault: fn(&mut Facts),
    expected: &'static [Expected<'static>],
    untried: &'static [&'static str],
) -> Row {
    Row { name, fault, expected, untried }
}

pub(crate) fn cases() -> Vec<Case> {
    let of = |row: &'static Row| {
        Case::new(&format!("data::{}", row.name), move |_: &User| check(row)).only_as_user()
    };
    let mut cases: Vec<Case> = ROWS.iter().map(of).collect();
    cases.push(Case::new("data::everything_works", |_: &User| all_is_well()).only_as_user());
    cases
}

const STEPS: [Step; 31] = [
    Step::Clone3,
    Step::CloseRange,
    Step::Openat2,
    Step::Keyring,
    Step::Landlock,
    Step::NoNewPrivs,
    Step::Seccomp,
    Step::Home,
    Step::UserNamespace,
    Step::MountNamespace,
    Step::PidNamespace,
    Step::UtsNamespace,
    Step::IpcNamespace,
    Step::CgroupNamespace,
    Step::NetworkNamespace,
    Step::Together,
    Step::IdMaps,
    Step::Hostname,
    Step::Loopback,
    Step::TimeNamespace,
    Step::Proc,
    Step::Ceilings,
    Step::Tmpfs,
    Step::CloneTree,
    Step::Restrict,
    Step::Attach,
    Step::Devpts,
    Step::Mqueue,
    Step::Pivot,
    Step::Overlay,
    Step::Capabilities,
];

/// From this step on nothing else inside is tried.
const AFTER_USER: usize = 9;
const AFTER_MAPS: usize = 17;

fn healthy() -> Facts {
    let mut tried: std::collections::BTreeMap<_, _> =
        STEPS.into_iter().map(|step| (step, Tried::Works)).collect();
    tried.insert(Step::Landlock, Tried::Answered(9));
    let settings = [("dev/tty/legacy_tiocsti", "0"), ("kernel/yama/ptrace_scope", "1")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Facts {
        tried,
        machine: Machine {
            settings: settings.into_iter().collect(),
            has_proc: true,
            has_user_namespaces: true,
            program: "/usr/bin/sbx".into(),
            ..Machine::default()
        },
        apparmor_knows_userns: true,
        cgroups: Cgroups {
            obstacle: None,
            controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
        },
        subordinate: (65536, 65536),
        has_newidmap: true,
        fuse_overlayfs: (true, true),
        pasta: Some("/usr/bin/pasta".into()),
        dbus_proxy: Some(Proxy { path: "/usr/bin/xdg-dbus-proxy".into(), version: Some("0.1.7".to_owned()) }),
        has_runtime_dir: true,
        ..Facts::default()
    }
}

fn report(facts: &Facts) -> Report {
    let told = |finding: sbx::doctor::Finding| {
        let told = Told {
            status: finding.status.word().to_owned(),
            what: finding.what,
            cause: finding.cause.unwrap_or_default(),
            remedy: finding.remedy.unwrap_or_default(),
        };
        (finding.name.to_owned(), told)
    };
    diagnose(facts).into_iter().map(told).collect()
}

fn check(row: &Row) -> Verdict {
    let mut facts = healthy();
    (row.fault)(&mut facts);
    let after = report(&facts);
    compare(&report(&healthy()), &after, row.expected, row.untried)?;
    let missing = row.expected.iter().any(|(_, status, ..)| *status == "missing");
    if works(&diagnose(&facts)) == missing {
        return Err("whether sandboxes work should follow from what is missing".into());
    }
    Ok(())
}

fn all_is_well() -> Verdict {
    let report = report(&healthy());
    match report.iter().find(|(_, told)| told.status != "ok") {
        None => Ok(()),
        Some(wrong) => Err(format!("a false alarm: {wrong:?}").into()),
    }
}

fn fail(facts: &mut Facts, step: Step, errno: Errno) {
    facts.tried.insert(step, Tried::Failed(errno));
}

/// The step fails, and what lies behind it is not tried.
fn stop(facts: &mut Facts, step: Step, errno: Errno, after: usize) {
    fail(facts, step, errno);
    STEPS[after..].iter().for_each(|step| _ = facts.tried.remove(step));
}

fn set(facts: &mut Facts, name: &str, value: &str) {
    facts.machine.settings.insert(name.to_owned(), value.to_owned());
}

fn ubuntu(facts: &mut Facts) {
    set(facts, "kernel/apparmor_restrict_unprivileged_userns", "1");
}

const APPARMOR: &str = "AppArmor takes all capabilities away in user namespaces";
const PROFILE: &str =
    "profile sbx /usr/bin/sbx flags=(unconfined) {\n  userns,\n\n  include if exists <local/sbx>\n}";

const ROWS: &[Row] = &[
    row(
        "ubuntu",
        |facts| {
            ubuntu(facts);
            stop(facts, Step::IdMaps, Errno::EACCES, AFTER_MAPS);
        },
        &[("id-maps", "missing", APPARMOR, PROFILE)],
        MAPPED,
    ),
    row(
        "ubuntu_at_a_mount",
        |facts| {
            ubuntu(facts);
            fail(facts, Step::Tmpfs, Errno::EACCES);
            fail(facts, Step::Loopback, Errno::EPERM);
            facts.tried.remove(&Step::Pivot);
            facts.tried.remove(&Step::Overlay);
        },
        &[("mounts", "missing", APPARMOR, PROFILE), ("loopback", "missing", APPARMOR, PROFILE)],
        &["pivot-root", "overlay"],
    ),
    row("ubuntu_with_a_profile", ubuntu, &[], &[]),
    row(
        "ubuntu_with_an_odd_path",
        |facts| {
            ubuntu(facts);
            facts.machine.program = "/home/ann/my {bin}/sbx".into();
            facts.program_is_writable = true;
            stop(facts, Step::IdMaps, Errno::EPERM, AFTER_MAPS);
        },
        &[
            ("id-maps", "missing", APPARMOR, "profile sbx \"/home/ann/my \\{bin\\}/sbx\" flags="),
            ("id-maps", "missing", "", "first move sbx to where only root can write"),
        ],
        MAPPED,
    ),
    row(
        "apparmor_without_the_rule",
        |facts| {
            ubuntu(facts);
            facts.apparmor_knows_userns = false;
            stop(facts, Step::IdMaps, Errno::EPERM, AFTER_MAPS);
        },
        &[("id-maps", "missing", APPARMOR, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")],
        MAPPED,
    ),
    row(
        "a_containers_apparmor",
        |facts| {
            facts.machine.label = "docker-default (enforce)".to_owned();
            fail(facts, Step::Pivot, Errno::EACCES);
            facts.tried.remove(&Step::Overlay);
        },
        &[("pivot-root", "missing", "AppArmor's profile docker-default", "apparmor=unconfined")],
        &["overlay"],
    ),
    row(
        "selinux",
        |facts| {
            facts.machine.selinux_enforces = true;
            stop(facts, Step::UserNamespace, Errno::EACCES, AFTER_USER);
        },
        &[("user-namespace", "missing", "SELinux forbids it", "ausearch -m avc -c sbx")],
        IN_USER,
    ),
    row(
        "selinux_in_a_container",
        |facts| {
            facts.machine.selinux_enforces = true;
            fail(facts, Step::Pivot, Errno::EACCES);
            facts.tried.remove(&Step::Overlay);
        },
        &[("pivot-root", "missing", "SELinux forbids it", "--security-opt label=disable")],
        &["overlay"],
    ),
    row("selinux_at_peace", |facts| facts.machine.selinux_enforces = true, &[], &[]),
    row(
        "no_user_namespaces_in_the_kernel",
        |facts| {
            facts.machine.has_user_namespaces = false;
            stop(facts, Step::UserNamespace, Errno::EINVAL, AFTER_USER);
        },
        &[("user-namespace", "missing", "this kernel is built without user namespaces", "wsl --set-version")],
        IN_USER,
    ),
    row(
        "no_network_namespaces_in_the_kernel",
        |facts| {
            fail(facts, Step::NetworkNamespace, Errno::EINVAL);
            facts.tried.remove(&Step::Loopback);
        },
        &[("network-namespace", "missing", "this kernel is built without them", "CONFIG_NET_NS")],
        &["loopback"],
    ),
    row(
        "old_debian",
        |facts| {
            set(facts, "kernel/unprivileged_userns_clone", "0");
            stop(facts, Step::UserNamespace, Errno::EPERM, AFTER_USER);
        },
        &[(
            "user-namespace",
            "missing",
            "`kernel.unprivileged_userns_clone` is 0",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        )],
        IN_USER,
    ),
    row(
        "before_clone3",
        |facts| stop(facts, Step::Clone3, Errno::ENOSYS, 8),
        &[("clone3", "missing", "a kernel before 5.3", "clone3")],
        IN_CHILDREN,
    ),
    row(
        "before_mount_setattr",
        |facts| fail(facts, Step::Restrict, Errno::ENOSYS),
        &[("mounts", "missing", "this kernel does not have mount_setattr", "use Linux 5.12 or later")],
        &[],
    ),
    row(
        "before_close_range",
        |facts| fail(facts, Step::CloseRange, Errno::ENOSYS),
        &[("close-range", "missing", "this kernel does not have close_range", "use Linux 5.11 or later")],
        &[],
    ),
    row(
        "before_landlock",
        |facts| fail(facts, Step::Landlock, Errno::ENOSYS),
        &[("landlock", "degraded", "this kernel does not have Landlock", "CONFIG_SECURITY_LANDLOCK")],
        &[],
    ),
    row(
        "an_old_landlock",
        |facts| _ = facts.tried.insert(Step::Landlock, Tried::Answered(3)),
        &[(
            "landlock",
            "degraded",
            "6.7 adds TCP ports, 6.10 adds ioctl on devices, 6.12 adds signals and abstract Unix sockets",
            "use Linux 6.12 or later",
        )],
        &[],
    ),
    row(
        "a_good_landlock",
        |facts| _ = facts.tried.insert(Step::Landlock, Tried::Answered(6)),
        &[("landlock", "ok", "", "")],
        &[],
    ),
    row(
        "overlays_before_6_6",
        |facts| fail(facts, Step::Overlay, Errno::EIO),
        &[("overlay", "degraded", "a directory of a lower layer cannot be removed", "Linux 6.6 or later")],
        &[],
    ),
    row(
        "overlays_before_5_11",
        |facts| fail(facts, Step::Overlay, Errno::EPERM),
        &[("overlay", "degraded", "this kernel has no overlays in user namespaces", "Linux 5.11 or later")],
        &[],
    ),
    row(
        "a_kernel_without_message_queues",
        |facts| fail(facts, Step::Mqueue, Errno::ENODEV),
        &[("mqueue", "missing", "does not have the filesystem", "use a kernel that has it")],
        &[],
    ),
    row(
        "a_step_that_hangs",
        |facts| _ = facts.tried.insert(Step::Home, Tried::Hung),
        &[("home", "info", "it does not answer", "the network mount that it lies on")],
        &[],
    ),
    row(
        "a_needed_step_that_hangs",
        |facts| _ = facts.tried.insert(Step::Capabilities, Tried::Hung),
        &[("capabilities", "missing", "no answer within some seconds", "a tracer")],
        &[],
    ),
    row(
        "controllers_not_delegated",
        |facts| facts.cgroups.controllers = vec!["memory".to_owned(), "pids".to_owned()],
        &[("cgroups", "degraded", "not delegated to this user: cpu", "delegate.conf")],
        &[],
    ),
    row(
        "no_subordinate_ids",
        |facts| facts.subordinate = (65536, 0),
        &[("subordinate-ids", "info", "/etc/subgid give this user no ids", "usermod --add-subuids")],
        &[],
    ),
    row(
        "no_newuidmap",
        |facts| facts.has_newidmap = false,
        &[("subordinate-ids", "info", "newuidmap and newgidmap are not installed", "uidmap")],
        &[],
    ),
    row(
        "no_fuse_overlayfs",
        |facts| facts.fuse_overlayfs = (false, true),
        &[("fuse-overlayfs", "info", "it is not installed", "install the package fuse-overlayfs")],
        &[],
    ),
    row(
        "no_dev_fuse",
        |facts| facts.fuse_overlayfs = (true, false),
        &[("fuse-overlayfs", "info", "can't open `/dev/fuse`", "chmod 666 /dev/fuse")],
        &[],
    ),
    row(
        "typing_into_terminals",
        |facts| set(facts, "dev/tty/legacy_tiocsti", "1"),
        &[("terminal-input", "info", "`dev.tty.legacy_tiocsti` is 1", "sysctl -w dev.tty.legacy_tiocsti=0")],
        &[],
    ),
    row(
        "reading_memory",
        |facts| set(facts, "kernel/yama/ptrace_scope", "0"),
        &[("ptrace", "info", "`kernel.yama.ptrace_scope` is 0", "sysctl -w kernel.yama.ptrace_scope=1")],
        &[],
    ),
];
