//! Places where the kernel makes no sandbox: a chroot, a `/proc` with masks, no `/proc`, a program that its user can't read.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::support::{refused, shell};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_chroot).needs(Need::Program("unshare")).needs(Need::Program("chroot")),
        case!(a_chroot_on_a_mount_point).needs(Need::Program("unshare")).needs(Need::Program("chroot")),
        case!(masked_proc).needs(Need::Program("unshare")),
        case!(no_proc).needs(Need::Program("unshare")),
        case!(a_program_that_cannot_be_read).only_as_user(),
    ]
}

const NOTHING: &[&str] = &[];

/// A plain directory with the program and what it is linked to.
const CHROOT: &str = "mkdir -p jail/proc jail/usr jail/etc jail/dev jail/tmp; \
    for file in $SBX $(ldd $SBX 2>/dev/null | grep -o '/[^ ]*'); do cp -L --parents $file jail; done; \
    exec unshare -Urm sh -c 'mount --rbind /proc jail/proc; exec chroot jail $SBX --cwd none touch /it-ran'";

fn a_chroot(user: &User) -> Verdict {
    let error =
        "cannot make the sandbox's namespaces: this process runs in a chroot, where the kernel makes no user";
    let hint = Some("run sbx outside the chroot, or enter it with pivot_root");
    refused(user, &mut shell(user, CHROOT, NOTHING), 125, error, hint)?;
    Ok(())
}

/// What `/proc` shows is a root like any other; the message names this among the causes.
fn a_chroot_on_a_mount_point(user: &User) -> Verdict {
    let script = "mkdir jail; exec unshare -Urm sh -c 'mount --rbind / jail; exec chroot jail $SBX --cwd none touch /it-ran'";
    refused(
        user,
        &mut shell(user, script, NOTHING),
        125,
        "a chroot on a mount point",
        Some("run sbx outside"),
    )?;
    Ok(())
}

/// A mount over a part of `/proc`, as container engines make them: a new procfs would show what it covers.
fn masked_proc(user: &User) -> Verdict {
    let error = "cannot mount a new procfs: parts of this system's `/proc` are masked";
    for mask in [
        "mount -t tmpfs none /proc/sys",
        "mount -t tmpfs none /proc/irq",
        "mount --bind /dev/null /proc/version",
    ] {
        let script = format!("exec unshare -Urm sh -c '{mask} && exec $SBX touch it-ran'");
        refused(user, &mut shell(user, &script, NOTHING), 125, error, Some("systempaths=unconfined"))?;
    }
    Ok(())
}

fn no_proc(user: &User) -> Verdict {
    let script = "exec unshare -Urm sh -c 'mount -t tmpfs none /proc; exec $SBX touch it-ran'";
    let error = "cannot read `/proc`: no such file or directory";
    refused(user, &mut shell(user, script, NOTHING), 125, error, Some("mount procfs on /proc"))?;
    Ok(())
}

/// The kernel keeps the id maps of such a process to root.
fn a_program_that_cannot_be_read(user: &User) -> Verdict {
    let script = "cp $SBX own && chmod 111 own && exec ./own touch it-ran";
    let error = "the sbx program itself is not readable for this user";
    refused(user, &mut shell(user, script, NOTHING), 125, error, Some("chmod a+r"))?;
    output(&mut shell(user, "chmod 555 own && exec ./own true", NOTHING))?.exits(0)?;
    Ok(())
}
