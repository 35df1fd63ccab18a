//! What every sandbox holds before anybody asks for anything.

use crate::plan::given::{at, below, host, line, plan, plan_on, root_host};
use sbx::host::{Entry, Host};
use sbx::plan::MountOp;

#[test]
fn the_base_is_this_and_no_more() {
    let wanted = "/bin symlink usr/bin
/dev/fd symlink /proc/self/fd
/dev/full device
/dev/mqueue mqueue
/dev/null device
/dev/ptmx symlink pts/ptmx
/dev/pts devpts
/dev/random device
/dev/shm private
/dev/stderr symlink /proc/self/fd/2
/dev/stdin symlink /proc/self/fd/0
/dev/stdout symlink /proc/self/fd/1
/dev/tty device
/dev/urandom device
/dev/zero device
/etc/group file
/etc/hostname file
/etc/hosts file
/etc/localtime symlink /usr/share/zoneinfo/UTC
/etc/machine-id file
/etc/passwd file
/etc/resolv.conf file
/etc/shells copy
/etc/ssl ro
/home/ann private
/lib symlink usr/lib
/lib64 ro
/proc proc
/proc/keys hide
/proc/sys/kernel/random/boot_id data
/run private
/run/user/1000 dir
/tmp private
/usr ro
/var/run symlink /run
/var/tmp private";
    let found: Vec<_> = plan(&[], &[]).mounts.iter().map(line).collect();
    assert_eq!(found.join("\n"), wanted);
}

#[test]
fn an_empty_root_has_nothing_of_the_system() {
    let plan = plan(&["filesystem.root = \"empty\""], &[]);
    for place in ["/usr", "/etc", "/bin", "/lib", "/lib64", "/nix"] {
        assert!(below(&plan, place).is_empty(), "{place}");
    }
    for place in ["/proc", "/dev/null", "/dev/pts", "/tmp", "/run", "/home/ann", "/var/tmp"] {
        assert!(at(&plan, place).is_some(), "{place}");
    }
}

#[test]
fn links_of_etc_stay_where_they_lead_to_what_is_inside() {
    for (target, stays) in [
        ("/usr/share/zoneinfo/UTC", true),
        ("../usr/lib/os-release", true),
        ("/proc/self/mounts", true),
        ("/nix/store/abc", true),
        ("/gnu/store/abc", true),
        ("../run/resolv.conf", false),
        ("/run/systemd/x", false),
        ("/home/ann/x", false),
        ("other", false),
        ("../../../usr/x", true),
        ("/usr/../home/ann", false),
        ("/usrx/y", false),
        ("/nix/var/x", false),
    ] {
        let host = Host { etc: vec![("os-release", Entry::Link(target.into()))], ..host() };
        let plan = plan_on(&host, &[], &[]).expect(target);
        let wanted =
            if stays { format!("/etc/os-release symlink {target}") } else { "/etc/os-release ro".to_owned() };
        assert_eq!(at(&plan, "/etc/os-release").map(line), Some(wanted), "{target}");
    }
}

#[test]
fn what_acts_on_the_machine_is_read_only_for_root() {
    let plan = plan_on(&root_host(), &[], &[]).expect("a plan");
    let boot_id = "/proc/sys/kernel/random/boot_id data";
    let wanted = ["/proc proc", "/proc/irq read-only", "/proc/keys hide", "/proc/sys read-only", boot_id];
    assert_eq!(below(&plan, "/proc"), wanted);
    for keys in ["/etc/ssl/private", "/etc/pki/tls/private", "/etc/pki/CA/private"] {
        assert_eq!(at(&plan, keys).map(|mount| &mount.op), Some(&MountOp::Mask), "{keys}");
    }
    let user = plan_on(&host(), &[], &[]).expect("a plan");
    assert!(
        below(&user, "/proc") == ["/proc proc", "/proc/keys hide", boot_id]
            && at(&user, "/etc/ssl/private").is_none()
    );
}

/// The kernel makes no procfs in a nested namespace under one with mounts over it.
#[test]
fn nothing_is_over_proc_where_everything_nests() {
    for (nested, wanted) in [("browser", 3), ("full", 1)] {
        let found = plan(&[&format!("namespaces.nested = \"{nested}\"")], &[]);
        assert_eq!(below(&found, "/proc").len(), wanted, "{nested}");
    }
}

#[test]
fn devices_are_these_six() {
    let plan = plan(&[], &[]);
    let mut found: Vec<_> = plan
        .mounts
        .iter()
        .filter_map(|mount| match &mount.op {
            MountOp::Device { source, major, minor } => {
                assert_eq!(*source, mount.dest);
                Some((source.to_str().expect("text"), *major, *minor))
            }
            _ => None,
        })
        .collect();
    found.sort_unstable();
    let wanted = [
        ("/dev/full", 1, 7),
        ("/dev/null", 1, 3),
        ("/dev/random", 1, 8),
        ("/dev/tty", 5, 0),
        ("/dev/urandom", 1, 9),
        ("/dev/zero", 1, 5),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn stores_are_shown() {
    let stores =
        vec![("/nix/store", Entry::Real), ("/run/current-system", Entry::Link("/nix/store/x-system".into()))];
    let plan = plan_on(&Host { stores, ..host() }, &[], &[]).expect("a plan");
    assert_eq!(below(&plan, "/nix"), ["/nix/store ro"]);
    assert_eq!(below(&plan, "/run/current-system"), ["/run/current-system symlink /nix/store/x-system"]);
}
