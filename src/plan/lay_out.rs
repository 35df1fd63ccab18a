//! What the root filesystem holds: the base, the working directory, what profile and options add, and where the command starts.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::base::Base;
use super::entries::{self, Layout, Tokens};
use super::image::{self, Asked};
use super::mount::{Access, BindSource, Mount, MountOp};
use super::resolve::{override_with, tokens};
use super::{Directory, PlanError};
use super::{arguments, changes, toolchains};
use crate::diag::quote;
use crate::host::{Host, WorkingDirectory};
use crate::invocation::Invocation;
use crate::profile::{CwdMode, EntryKind, HomeMode, Origin, Profile, Setting};

/// Directories that many programs share: as the working directory they would be handed over by accident, with the
/// sockets and files of everything else on the machine.
const SHARED_DIRECTORIES: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/tmp",
    "/run/user",
    "/dev/shm",
];

/// What all mounts together come to.
pub(super) struct LaidOut {
    pub(super) mounts: Vec<Mount>,
    /// The program and its arguments, as they are inside.
    pub(super) command: Vec<OsString>,
    pub(super) registry: Option<PathBuf>,
    pub(super) directory: Setting<Directory>,
}

/// Lays out all that the root filesystem holds, and with it where the command starts, and by which words.
///
/// # Errors
/// [`PlanError`]: what can't be there, or not together.
pub(super) fn lay_out(
    profile: &Profile,
    invocation: &Invocation,
    base: &Base<'_>,
    desktop: Vec<Mount>,
) -> Result<LaidOut, PlanError> {
    let host = base.host;
    let own = desktop.into_iter().chain(base.image.and_then(Asked::mount)).collect();
    let mut layout = layout(profile, invocation, &tokens(host, base.home), base, own)?;
    let shown = arguments::show(&mut layout, profile, host, base.runtime_dir)?;
    let registry = registry(host, &mut layout);
    let said = base.image.and_then(Asked::directory);
    let directory = directory(profile, invocation, host, base.home, &layout, said)?;
    let typed = || (Vec::new(), invocation.command.clone());
    let (mut command, typed) = base.image.map_or_else(typed, |image| image.words(&invocation.command));
    command.extend(arguments::words(&typed, &shown, host, &directory.value.0));
    let mut mounts = layout.into_mounts();
    if base.root.overlay.is_some() {
        // A link of the root's own may lead to these from anywhere, as `/etc/resolv.conf` does.
        mounts.sort_by_key(|mount| match mount.dest.to_str() {
            Some("/") => 0,
            Some("/dev" | "/run" | "/tmp") => 1,
            _ => 2,
        });
    }
    if let Some(user) = &base.identity.runs_as {
        image::give_away(&mut mounts, user, base.runtime_dir);
    }
    Ok(LaidOut { mounts, command, registry, directory })
}

fn layout(
    profile: &Profile,
    invocation: &Invocation,
    tokens: &Tokens<'_>,
    base: &Base<'_>,
    desktop: Vec<Mount>,
) -> Result<Layout, PlanError> {
    let host = tokens.host;
    check_private_home(profile, host)?;
    let mut layout = Layout::new(base.mounts());
    for mount in desktop.into_iter().chain(toolchains::mounts(profile, host)).chain(delegated(profile)) {
        layout.add(0, mount);
    }
    let cwd = override_with(&profile.filesystem.cwd, &invocation.cwd, "--cwd");
    let numbers = entries::layer_numbers(&profile.filesystem.entries);
    let flags_start = numbers.last().map_or(2, |last| last + 1);
    if let Some(mount) = working_directory(&cwd, host)? {
        let layer = if invocation.cwd.is_some() { flags_start } else { 1 };
        layout.add(layer, mount);
    }
    for (entry, layer) in profile.filesystem.entries.iter().zip(numbers) {
        if base.root.overlay.is_none() || !is_of_the_system(&entry.value) {
            layout.add(layer, tokens.entry(entry)?);
        }
    }
    for (index, mount) in entries::flags(invocation, host)?.into_iter().enumerate() {
        layout.add(flags_start + 1 + index, mount);
    }
    Ok(layout)
}

/// What programs of the host's system find there, if it is there: another root has its own, or needs none.
fn is_of_the_system(entry: &crate::profile::FilesystemEntry) -> bool {
    entry.kind == EntryKind::Read && entry.optional && entry.dest.is_none() && entry.path.is_literal()
}

/// A private home is kept in a directory of the profile's name: the name must be one, and nothing like `..`.
fn check_private_home(profile: &Profile, host: &Host) -> Result<(), PlanError> {
    if profile.home.value != HomeMode::Private {
        return Ok(());
    }
    if host.data_home.is_none() {
        return Err(PlanError::NoHome);
    }
    if Path::new(&profile.name).file_name() == Some(OsStr::new(&profile.name)) {
        return Ok(());
    }
    Err(PlanError::Conflict {
        why: format!(
            "cannot keep a private home for the profile {}: no directory can have that name",
            quote(&profile.name)
        ),
        origin: profile.home.origin.clone(),
        hint: "give the profile's file another name".to_owned(),
    })
}

fn working_directory(cwd: &Setting<CwdMode>, host: &Host) -> Result<Option<Mount>, PlanError> {
    let access = match cwd.value {
        CwdMode::None => return Ok(None),
        CwdMode::Ro => Some(Access::ReadOnly),
        CwdMode::Rw => Some(Access::Writable),
        CwdMode::Overlay => None,
    };
    let path = match &host.cwd {
        WorkingDirectory::Known(path) => path,
        WorkingDirectory::Deleted => return Err(PlanError::WorkingDirectoryDeleted),
        WorkingDirectory::Unreadable(errno) => return Err(PlanError::WorkingDirectoryUnreadable(*errno)),
    };
    let why = if path == Path::new("/") {
        Some("is the root directory")
    } else if host.real_homes.iter().any(|home| home == path) {
        Some("is your home directory")
    } else if host.real_homes.iter().any(|home| home.starts_with(path)) {
        Some("contains your home directory")
    } else if SHARED_DIRECTORIES.iter().any(|shared| Path::new(shared) == path)
        || host.runtime_dir.as_ref() == Some(path)
        || ["/proc", "/sys", "/dev"].iter().any(|kernel| path.starts_with(kernel))
    {
        Some("is shared by the whole system")
    } else {
        None
    };
    if let Some(why) = why {
        return Err(PlanError::WorkingDirectoryTooWide { path: path.clone(), why });
    }
    let op = match access {
        None => changes::overlay(path, None, false, host, &cwd.origin)?,
        Some(access) => MountOp::Bind {
            source: BindSource::Path(path.clone()),
            access,
            devices: false,
            optional: false,
            create: None,
        },
    };
    Ok(Some(Mount { dest: path.clone(), op, origin: cwd.origin.clone() }))
}

/// Where the payload starts: as told, else where the image says, else the working directory when the sandbox has it, else its home.
fn directory(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    home: &Path,
    layout: &Layout,
    said: Option<Setting<Directory>>,
) -> Result<Setting<Directory>, PlanError> {
    if let Some(path) = &invocation.chdir {
        let origin = Origin::Flag(format!("--chdir {}", crate::diag::escape(path)));
        return match &host.cwd {
            _ if path.is_absolute() => Ok(Setting::new(Directory(entries::normalize(path)), origin)),
            WorkingDirectory::Known(cwd) => {
                Ok(Setting::new(Directory(entries::normalize(&cwd.join(path))), origin))
            }
            WorkingDirectory::Deleted => Err(PlanError::WorkingDirectoryDeleted),
            WorkingDirectory::Unreadable(errno) => Err(PlanError::WorkingDirectoryUnreadable(*errno)),
        };
    }
    if let Some(said) = said {
        return Ok(said);
    }
    let given = invocation.cwd.unwrap_or(profile.filesystem.cwd.value) != CwdMode::None;
    match &host.cwd {
        WorkingDirectory::Known(cwd) if given && layout.covers(cwd) => {
            Ok(Setting::new(Directory(cwd.clone()), profile.filesystem.cwd.origin.clone()))
        }
        _ => Ok(Setting::default_value(Directory(home.to_owned()))),
    }
}

/// Where sandboxes are registered. Who reaches it can end others, and start programs in them.
fn registry(host: &Host, layout: &mut Layout) -> Option<PathBuf> {
    let registry = host.session_dir.as_ref().map(|dir| dir.join("sbx"))?;
    layout.keep_out(&registry);
    Some(registry)
}

/// A cgroup filesystem for a payload that may make cgroups.
fn delegated(profile: &Profile) -> Option<Mount> {
    let delegate = &profile.limits.delegate;
    let mount = Mount { dest: "/sys/fs/cgroup".into(), op: MountOp::Cgroup, origin: delegate.origin.clone() };
    delegate.value.then_some(mount)
}
