//! The sandbox that `fuse-overlayfs` runs in where the profile has overlays by it: a process for each overlay, outside of the
//! sandbox that it serves, with nothing to reach but the layers.
//!
//! sbx's own engine makes it, as it makes any other, so that all walls are there: namespaces, a filter of system calls, no
//! capabilities. It has the same ids as the sandbox that it serves, because the kernel hands it each request with the ids of
//! that one; where those are subordinate ids, it keeps the capabilities that it takes to make files of all of them.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use caps::Capability;
use serde::Serialize;

use super::mount::{Mount, MountOp};
use super::{Plan, PlanError, bytes, resolve};
use crate::diag::{errno_words, quote};
use crate::host::{FUSE_OVERLAYFS, Host};
use crate::invocation::Invocation;
use crate::profile::{Origin, OverlayDriver, Profile, Setting, TerminalMode, UidMap};

/// What serves the overlays of a plan instead of the kernel's overlayfs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OverlayServer {
    /// Who asked for it.
    #[serde(rename = "set-by", serialize_with = "bytes::display")]
    pub origin: Origin,
    /// Where a directory is made for mount points that no layer is to get, and removed at the end.
    #[serde(serialize_with = "bytes::optional_path")]
    pub scratch: Option<PathBuf>,
    /// The sandbox that each process of it has. Its layers come in when they are found.
    pub sandbox: Box<Plan>,
}

/// What the loader of programs reads.
const LOADERS: [&str; 4] = ["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload"];

/// What it takes to make, change and look at files of every owner that is mapped.
const ALL_OWNERS: [Capability; 5] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
];

/// What serves these mounts, if the profile wants it and there are overlays among them.
///
/// # Errors
/// [`PlanError::Conflict`] where it can't be had: there is nothing in its place.
pub(super) fn of(
    profile: &Profile,
    host: &Host,
    mounts: &[Mount],
) -> Result<Option<OverlayServer>, PlanError> {
    let driver = &profile.filesystem.overlay_driver;
    let overlays = mounts.iter().any(|mount| matches!(mount.op, MountOp::Overlay { .. }));
    if driver.value == OverlayDriver::Kernel || !overlays {
        return Ok(None);
    }
    let program = program(host, &driver.origin)?;
    let sandbox = Box::new(sandbox(profile, host, program)?);
    Ok(Some(OverlayServer { origin: driver.origin.clone(), scratch: host.layers(), sandbox }))
}

fn program(host: &Host, origin: &Origin) -> Result<PathBuf, PlanError> {
    // Nobody has looked: a profile is checked.
    let Some(found) = &host.fuse_overlayfs else { return Ok(Path::new("/usr/bin").join(FUSE_OVERLAYFS)) };
    let conflict = |why: &str, hint: &str| PlanError::Conflict {
        why: format!("cannot have overlays by {FUSE_OVERLAYFS}: {why}"),
        origin: origin.clone(),
        hint: hint.to_owned(),
    };
    match found.device {
        _ if found.program.is_none() => {
            Err(conflict("it is not installed", "install the package fuse-overlayfs"))
        }
        Some(libc::EACCES | libc::EPERM) => {
            Err(conflict("`/dev/fuse` is not for this user", "as root: chmod 666 /dev/fuse"))
        }
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            Err(conflict("there is no `/dev/fuse`", "as root: modprobe fuse"))
        }
        Some(other) => {
            let words = errno_words(nix::errno::Errno::from_raw(other));
            let why = format!("{} can't be opened: {words}", quote("/dev/fuse"));
            Err(conflict(&why, "see that it is the device node 10:229, which everybody may open"))
        }
        None => Ok(found.program.clone().unwrap_or_default()),
    }
}

/// Its sandbox: programs, and nothing of the caller's.
fn sandbox(served: &Profile, host: &Host, program: PathBuf) -> Result<Plan, PlanError> {
    let mut profile = Profile { name: FUSE_OVERLAYFS.to_owned(), ..Profile::default() };
    profile.privileges.uid = served.privileges.uid.clone();
    profile.terminal = Setting::default_value(TerminalMode::None);
    profile.filesystem.protect.clear();
    let host = Host { image: None, cgroups: None, toolchains: Vec::new(), ..host.clone() };
    let invocation = Invocation {
        command: vec![program.into_os_string()],
        chdir: Some("/".into()),
        die_with_parent: true,
        ..Invocation::default()
    };
    let mut plan = resolve(&profile, &invocation, &host)?;
    plan.mounts.retain(|mount| is_needed(&mount.dest, &host));
    plan.environment.clear();
    plan.misses.clear();
    plan.guarded.clear();
    plan.registry = None;
    plan.cgroup = None;
    plan.limits.data = None;
    // It copies files with the modes that they have, and marks what is gone by devices that are none.
    plan.seccomp.iter_mut().for_each(|filter| filter.set_id = true);
    if served.privileges.uid.value == UidMap::Subordinate {
        plan.privileges.capabilities = ALL_OWNERS.map(Setting::default_value).into();
    }
    Ok(plan)
}

/// Whether a program needs what every sandbox has there.
fn is_needed(dest: &Path, host: &Host) -> bool {
    let mut system = host.system.iter().chain(&host.stores).map(|(name, _)| Path::new("/").join(name));
    dest == Path::new("/usr")
        || dest == Path::new("/dev/null")
        || dest.starts_with("/proc")
        || LOADERS.iter().any(|loader| dest == Path::new(loader))
        || system.any(|path| dest == path)
}
