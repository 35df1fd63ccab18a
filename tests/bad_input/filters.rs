//! Machines that forbid user namespaces: a container's filter, Debian's switch, Ubuntu's AppArmor. The filters are real; the
//! settings are files over `/proc/sys/kernel` in a mount namespace of the test's own.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::support::{refused, shell};
use nix::errno::Errno;
use std::process::Command;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(a_filter_forbids),
        case!(a_filter_hides),
        case!(debian_switched_off),
        case!(apparmor_takes_capabilities),
        case!(the_id_map_is_refused),
    ];
    cases.into_iter().map(|case| case.needs(Need::Program("cc")).needs(Need::Program("unshare"))).collect()
}

/// A shell with `$FILTER`, the program in `filter.c`.
fn filtered(user: &User, script: &str, words: &[&str]) -> Result<Command, libtest_mimic::Failed> {
    user.put(user.project().join("filter.c"), include_str!("filter.c"))?;
    output(user.command("cc").args(["-o", "filter", "filter.c"]))?.exits(0)?;
    let mut command = shell(user, script, words);
    command.env("FILTER", user.project().join("filter"));
    Ok(command)
}

/// A script in which files of `/proc/sys/kernel` are others, and `call` fails with this errno (`length` as in `filter.c`).
fn pretend(settings: &str, call: &str, errno: Errno, length: usize) -> String {
    format!(
        "mkdir -p kernel && cd kernel && for file in {settings}; do echo ${{file#*=}} >${{file%=*}}; done && cd .. && \
         ln -sf $SBX link && exec unshare -Urm sh -c 'mount --bind kernel /proc/sys/kernel && \
         exec $FILTER {call} {} {length} ./link touch it-ran'",
        errno as i32
    )
}

/// As long as the line for `uid_map` of the root of an outer namespace.
const ROOT_MAP: usize = "0 0 1".len();

fn a_filter_forbids(user: &User) -> Verdict {
    let script = "exec $FILTER clone3 $1 0 $SBX touch it-ran";
    for errno in [Errno::EPERM, Errno::EACCES] {
        let mut command = filtered(user, script, &[&(errno as i32).to_string()])?;
        let error = "namespaces: a seccomp filter that this process runs under forbids user namespaces";
        refused(user, &mut command, 125, error, Some("seccomp profile, or run sbx outside the container"))?;
    }
    Ok(())
}

fn a_filter_hides(user: &User) -> Verdict {
    let script = format!("exec $FILTER clone3 {} 0 $SBX touch it-ran", Errno::ENOSYS as i32);
    let error = "namespaces: the clone3 system call is not available here (a container's seccomp filter, or a kernel before 5.3)";
    refused(user, &mut filtered(user, &script, &[])?, 125, error, Some("allow clone3"))?;
    Ok(())
}

/// The errno is that of a filter, and the filter is there; but the setting decides.
fn debian_switched_off(user: &User) -> Verdict {
    let error = "unprivileged user namespaces are switched off: `kernel.unprivileged_userns_clone` is 0";
    let hint = Some("as root: sysctl -w kernel.unprivileged_userns_clone=1");
    let script = pretend("unprivileged_userns_clone=0", "clone3", Errno::EPERM, 0);
    refused(user, &mut filtered(user, &script, &[])?, 125, error, hint)?;
    // Switched on it is not the cause.
    let script = pretend("unprivileged_userns_clone=1", "clone3", Errno::EPERM, 0);
    refused(user, &mut filtered(user, &script, &[])?, 125, "a seccomp filter", Some("run sbx outside"))?;
    Ok(())
}

/// The namespaces are made, and then the map is refused. The remedy names the program by its real path.
fn apparmor_takes_capabilities(user: &User) -> Verdict {
    let script = pretend("apparmor_restrict_unprivileged_userns=1", "write", Errno::EPERM, ROOT_MAP);
    let error = "cannot map the user into the user namespace: AppArmor takes all capabilities away in user namespaces: \
                 `kernel.apparmor_restrict_unprivileged_userns` is 1";
    let output = refused(
        user,
        &mut filtered(user, &script, &[])?,
        125,
        error,
        Some("as root, write to /etc/apparmor.d/sbx: "),
    )?;
    let real = user.sbx_path().display().to_string();
    for part in [
        "abi <abi/4.0>,",
        &format!("profile sbx {real} flags=(unconfined) {{"),
        "userns,",
        "apparmor_parser -r",
    ] {
        output.stderr_has(part)?;
    }
    Ok(())
}

fn the_id_map_is_refused(user: &User) -> Verdict {
    let error = "cannot map the user into the user namespace: the kernel refuses the id map";
    let script = pretend("apparmor_restrict_unprivileged_userns=0", "write", Errno::EPERM, ROOT_MAP);
    refused(user, &mut filtered(user, &script, &[])?, 125, error, Some("allow user namespaces"))?;
    Ok(())
}
