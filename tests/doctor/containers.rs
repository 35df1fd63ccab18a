//! Places where the kernel makes no sandbox, real ones: masks over `/proc`, a chroot, sbx itself; and settings of `/proc/sys` and
//! `/etc` that are files of the test's own.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::filters::filtered;
use crate::limits::{IN_CHILDREN, IN_USER, MAPPED};
use crate::report::{Expected, compare, finds, outer, parse, plain};
use nix::errno::Errno;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(masked_proc),
        case!(no_proc),
        case!(a_chroot).needs(Need::Program("chroot")),
        case!(a_chroot_on_a_mount_point).needs(Need::Program("chroot")),
        case!(inside_sbx),
        case!(debian_switched_off),
        case!(apparmor_takes_capabilities),
        case!(the_id_map_is_refused),
        case!(a_program_that_cannot_be_read).only_as_user(),
        case!(cgroups),
        case!(a_powerful_group),
        case!(a_home_without_programs),
    ];
    cases.into_iter().map(|case| case.needs(Need::Program("unshare"))).collect()
}

fn masked_proc(user: &User) -> Verdict {
    let cause = "parts of this system's `/proc` are masked";
    let expected = ("proc", "missing", cause, "systempaths=unconfined");
    for mask in ["mount -t tmpfs none /proc/irq", "mount --bind /dev/null /proc/version"] {
        finds(user, outer, &format!("{mask}; exec"), &[expected], &["ceilings"])?;
    }
    Ok(())
}

fn no_proc(user: &User) -> Verdict {
    let script = "mount -t tmpfs none /proc; exec $SBX doctor --format json";
    let output = output(&mut outer(user, script))?;
    let report = parse(&output)?;
    let told = &report["procfs"];
    let right = told.status == "missing"
        && told.cause == "procfs is not mounted on /proc"
        && told.remedy == "mount procfs on /proc";
    output.check(right, || format!("{told:?}"))?;
    output.check(report["clone3"].status == "ok", || "clone3 needs no procfs".to_owned())?;
    Ok(())
}

/// A directory with what is mounted in it, and the program with what it is linked to.
const CHROOT: &str = "mkdir -p jail/proc jail/etc jail/dev jail/sys; \
    for file in $SBX $(ldd $SBX 2>/dev/null | grep -o '/[^ ]*'); do cp -L --parents $file jail; done; \
    for dir in proc etc dev sys; do mount --rbind /$dir jail/$dir; done; mkdir -p jail$HOME; exec chroot jail";

fn a_chroot(user: &User) -> Verdict {
    let cause = "this process runs in a chroot, where the kernel makes no user namespaces";
    let remedy = "run sbx outside the chroot, or enter it with pivot_root";
    // What is installed outside is not there.
    let lost = ("fuse-overlayfs", "info", "it is not installed", "install the package fuse-overlayfs");
    finds(user, outer, CHROOT, &[("user-namespace", "missing", cause, remedy), lost], IN_USER).map(drop)
}

/// What `/proc` shows is a root like any other; the message names this among the causes.
fn a_chroot_on_a_mount_point(user: &User) -> Verdict {
    let fault = "mkdir jail; mount --rbind / jail; exec chroot jail";
    let expected = ("user-namespace", "missing", "a chroot on a mount point", "run sbx outside");
    finds(user, outer, fault, &[expected], IN_USER).map(drop)
}

/// In a sandbox there are no others.
fn inside_sbx(user: &User) -> Verdict {
    let sbx = user.sbx_path();
    let mut command = user.sbx();
    command.arg("--ro").arg(sbx).arg("--").arg(sbx).args(["doctor", "--format", "json"]);
    let output = output(&mut command)?;
    output.exits(1)?;
    let report = parse(&output)?;
    let cause =
        "this runs in a sandbox, where user namespaces are switched off: `user.max_user_namespaces` is 0";
    for name in ["clone3", "user-namespace"] {
        let told = &report[name];
        output
            .check(told.cause == cause && told.remedy == "run sbx outside of it", || format!("{told:?}"))?;
    }
    let told = &report["openat2"];
    let forbidden = told.cause == "the sandbox that this runs in forbids it";
    output.check(forbidden && told.remedy == "run sbx outside of it", || format!("{told:?}"))?;
    for name in ["close-range", "seccomp", "landlock", "home"] {
        output.check(report[name].status == "ok", || format!("{name}: {:?}", report[name]))?;
    }
    Ok(())
}

/// Files over `/proc/sys/kernel`, by name and contents.
fn settings(all: &str) -> String {
    format!(
        "mkdir -p kernel; for file in {all}; do echo ${{file#*=}} >kernel/${{file%=*}}; done; \
         mount --bind kernel /proc/sys/kernel;"
    )
}

/// What the settings are has changed with them.
const YAMA: Expected<'_> = ("ptrace", "info", "your programs outside sandboxes may do it", "yama");

fn debian_switched_off(user: &User) -> Verdict {
    let cause = "unprivileged user namespaces are switched off: `kernel.unprivileged_userns_clone` is 0";
    let remedy = "as root: sysctl -w kernel.unprivileged_userns_clone=1";
    let fault =
        format!("{} {}", settings("unprivileged_userns_clone=0"), filtered(&["clone3"], Errno::EPERM));
    finds(user, outer, &fault, &[("clone3", "missing", cause, remedy), YAMA], IN_CHILDREN)?;
    // Switched on it is not the cause.
    let fault =
        format!("{} {}", settings("unprivileged_userns_clone=1"), filtered(&["clone3"], Errno::EPERM));
    finds(
        user,
        outer,
        &fault,
        &[("clone3", "missing", "a seccomp filter", "run sbx outside"), YAMA],
        IN_CHILDREN,
    )
    .map(drop)
}

/// The namespaces are made, and then the map is refused. Where AppArmor has the rule, the remedy is a file for this program.
fn apparmor_takes_capabilities(user: &User) -> Verdict {
    let cause = "AppArmor takes all capabilities away in user namespaces: \
                 `kernel.apparmor_restrict_unprivileged_userns` is 1";
    let refuse = filtered(&["write-map"], Errno::EACCES);
    let fault = format!("{} {refuse}", settings("apparmor_restrict_unprivileged_userns=1"));
    let remedy = "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
    let has_rules = std::path::Path::new("/etc/apparmor.d/abi/4.0").exists();
    if !has_rules {
        finds(user, outer, &fault, &[("id-maps", "missing", cause, remedy), YAMA], MAPPED)?;
    }
    let etc = "mkdir -p etc/apparmor.d/abi; touch etc/apparmor.d/abi/4.0; \
               for file in passwd group ld.so.cache subuid subgid; do cp /etc/$file etc 2>/dev/null || true; done; \
               mount --bind etc /etc;";
    let profile = format!("profile sbx {} flags=(unconfined) {{\n  userns,\n", user.sbx_path().display());
    let expected: Expected<'_> = ("id-maps", "missing", cause, &profile);
    let report = finds(user, outer, &format!("{etc} {fault}"), &[expected, YAMA], MAPPED)?;
    let remedy = &report["id-maps"].remedy;
    for part in [
        "abi <abi/4.0>,\ninclude <tunables/global>\n",
        "include if exists <local/sbx>\n}",
        "apparmor_parser -r /etc/apparmor.d/sbx",
    ] {
        if !remedy.contains(part) {
            return Err(format!("{part} is not in {remedy}").into());
        }
    }
    Ok(())
}

fn the_id_map_is_refused(user: &User) -> Verdict {
    let fault = filtered(&["write-map"], Errno::EPERM);
    let expected = ("id-maps", "missing", "a seccomp filter", "run sbx outside");
    finds(user, outer, &fault, &[expected], MAPPED).map(drop)
}

/// The kernel keeps the id maps of such a process to root.
fn a_program_that_cannot_be_read(user: &User) -> Verdict {
    let before = parse(&output(&mut plain(user, "exec $SBX doctor --format json"))?)?;
    let script = "cp $SBX own; chmod 111 own; exec ./own doctor --format json";
    let output = output(&mut plain(user, script))?;
    let cause = "the sbx program itself is not readable for this user";
    let expected = [("id-maps", "missing", cause, "chmod a+r")];
    compare(&before, &parse(&output)?, &expected, MAPPED).map_err(|what| output.failure(&what))?;
    Ok(())
}

fn cgroups(user: &User) -> Verdict {
    for (files, cause, remedy) in [
        ("true", "no cgroups are mounted", "mount cgroup2"),
        ("mkdir $top/memory", "version 1 of cgroups", "systemd.unified_cgroup_hierarchy=1"),
        (
            "mkdir -p $top/memory $top/unified; touch $top/unified/cgroup.procs",
            "an almost empty version 2",
            "rc_cgroup_mode",
        ),
        ("echo memory >$top/cgroup.controllers", "no cgroup is delegated", "loginctl enable-linger"),
    ] {
        let fault = format!("top=/sys/fs/cgroup; mount -t tmpfs none $top; {files}; exec");
        finds(user, outer, &fault, &[("cgroups", "degraded", cause, remedy)], &[])?;
    }
    Ok(())
}

/// The root of the outer namespace is in group 0.
fn a_powerful_group(user: &User) -> Verdict {
    let fault = "echo docker:x:0: >own; mount --bind own /etc/group; exec";
    let expected = ("groups", "info", "docker can make this user root", "leave the groups");
    finds(user, outer, fault, &[expected], &[]).map(drop)
}

fn a_home_without_programs(user: &User) -> Verdict {
    let fault = "mount -t tmpfs -o noexec none $HOME; exec";
    let expected = ("home", "info", "it is mounted noexec", "without noexec");
    finds(user, outer, fault, &[expected], &[])?;
    finds(user, plain, "HOME=/nonexistent exec", &[("home", "info", "HOME is not set", "set HOME")], &[])
        .map(drop)
}
