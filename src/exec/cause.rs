//! Why a step of the set-up failed.
#![forbid(unsafe_code)]

use std::path::Path;

use nix::errno::Errno;

use super::step::{Failure, Step};
use crate::cause::{Cause, KINDS, Machine, masked_proc, no_effect, unreadable_program};
use crate::host::FuseOverlayfs;
use crate::plan::{Mount, MountOp, OverlayUpper, Plan};
use crate::sys::NO_EFFECT;

/// Why a step inside failed, where that is more than its errno.
pub(super) fn of_step(plan: &Plan, failure: Failure) -> Option<Cause> {
    let mount = plan.mounts.get(failure.item as usize);
    let refused = matches!(failure.errno, Errno::EPERM | Errno::EACCES);
    if failure.errno == NO_EFFECT {
        return Some(no_effect());
    }
    if let Some(cause) = of_layers(plan, failure) {
        return Some(cause);
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
        Step::Root | Step::Proc if failure.errno == Errno::ENOSPC => Some(Machine::look().of_limit(&KINDS)),
        Step::Proc if refused => Machine::look().of_apparmor().or_else(|| Some(masked_proc())),
        Step::Proc => None,
        Step::IdMap | Step::Loopback | Step::Root | Step::Hostname | Step::Ceilings if refused => {
            Machine::look()
                .of_apparmor()
                .or_else(|| matches!(failure.step, Step::IdMap).then(unreadable_program))
        }
        Step::Priority if refused => Some(Cause::new(
            "it would come before programs of other users, which takes privileges (RLIMIT_NICE)",
            "ask for a priority that is not above the caller's own",
        )),
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

fn is_apart(mount: &Mount) -> bool {
    matches!(mount.op, MountOp::Overlay { upper: OverlayUpper::Changes { .. }, .. })
}

/// The same where it is about an overlay, or a root that is one.
fn of_layers(plan: &Plan, failure: Failure) -> Option<Cause> {
    let is_overlay = |mount: &&Mount| matches!(mount.op, MountOp::Overlay { .. });
    let root = plan.mounts.first().filter(is_overlay).filter(|mount| mount.dest == Path::new("/"));
    let overlay = plan.mounts.get(failure.item as usize).filter(is_overlay);
    match (failure.step, failure.errno) {
        (Step::Filesystem, Errno::EINVAL | Errno::EPERM | Errno::EACCES | Errno::ENODEV | Errno::ENOENT)
            if overlay.is_some() && plan.overlay_server.is_some() =>
        {
            let cause = Cause::new(
                "`/dev/fuse` can't be opened, or mounted, in a user namespace",
                "use Linux 4.18 or later with FUSE, and let everybody open the device: chmod 666 /dev/fuse",
            );
            Some(Machine::look().of_apparmor().unwrap_or(cause))
        }
        (Step::Target | Step::Create, Errno::EACCES | Errno::EOVERFLOW) if root.is_some() => {
            Some(Cause::new(
                "the directory above it is somebody else's in the root filesystem, and nothing can be made there",
                "make it there beforehand, or use a root filesystem that is your own",
            ))
        }
        (Step::Filesystem, Errno::EINVAL) if overlay.is_some_and(is_apart) => Some(Cause::new(
            "its filesystem, or the one that layers are kept on, can't be part of an overlay",
            "set XDG_STATE_HOME to a directory on a local filesystem such as ext4, XFS or Btrfs",
        )),
        (Step::Filesystem, Errno::EINVAL) if overlay.is_some() => Some(Cause::new(
            "one of the directories has other filesystems mounted in it, or is on one that can't be a layer",
            "name directories without mounts below them",
        )),
        (Step::Filesystem, Errno::EPERM | Errno::EACCES | Errno::ENODEV) if overlay.is_some() => {
            let other = FuseOverlayfs::look();
            let hint = match (other.program, other.device) {
                (Some(_), None) => {
                    "set `filesystem.overlay-driver` to \"fuse-overlayfs\", which is installed"
                }
                _ => "use Linux 5.11 or later with overlayfs; `sbx doctor` looks closer",
            };
            let cause = Cause::new("this kernel has no overlays in user namespaces", hint);
            Some(Machine::look().of_apparmor().unwrap_or(cause))
        }
        _ => None,
    }
}
