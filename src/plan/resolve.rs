//! From what was asked for to what will be done. Pure: the same three values give the same plan on any machine.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::base::{self, Base};
use super::entries::{self, Layout, Tokens};
use super::environment::Facts;
use super::image::Asked;
use super::mount::{Access, BindSource, Mount, MountOp};
use super::{Directory, Identity, Namespaces, Plan, PlanError, Privileges, Root};
use super::{arguments, command, desktop, environment, limits, protect, roots, toolchains, unbuilt, walls};
use crate::diag::quote;
use crate::host::{DesktopParts, Host, Wanted, WorkingDirectory};
use crate::invocation::Invocation;
use crate::profile::{
    ArgumentsMode, CwdMode, EntryKind, HomeMode, Level, Nested, Origin, Profile, Setting, UidMap, Wayland,
    X11Mode,
};

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

/// What [`resolve`] has to know of the machine besides what it always knows.
///
/// # Errors
/// [`PlanError`]: a path that has no value here.
pub fn wanted(profile: &Profile, invocation: &Invocation, host: &Host) -> Result<Wanted, PlanError> {
    Ok(Wanted {
        desktop: DesktopParts {
            wayland: profile.display.wayland.value != Wayland::Off,
            x11: profile.display.x11.value != X11Mode::Off,
            sound: profile.audio_playback.value,
            gpu: profile.devices_gpu.value,
        },
        toolchains: profile.toolchains.iter().map(|toolchain| toolchains::kind(toolchain.value)).collect(),
        command: match profile.filesystem.arguments.value {
            ArgumentsMode::None => Vec::new(),
            ArgumentsMode::Ro | ArgumentsMode::Rw => invocation.command.clone(),
        },
        image: roots::image(&profile.filesystem, invocation, host)?,
        cgroups: limits::wanted(profile, invocation, host)?,
    })
}

/// Makes the plan.
///
/// # Errors
/// [`PlanError`]: nothing was touched.
pub fn resolve(profile: &Profile, invocation: &Invocation, host: &Host) -> Result<Plan, PlanError> {
    unbuilt::refuse(profile, invocation)?;
    let (identity, user, home) = who(profile, host)?;
    let runtime_dir = PathBuf::from(format!("/run/user/{}", identity.uid));
    let namespaces = namespaces(profile, invocation, host)?;
    let hostname = override_with(&profile.namespaces.hostname, &invocation.hostname, "--hostname");
    let root = roots::resolve(&profile.filesystem, invocation, &tokens(host, &home))?;
    let image = Asked::of(host, &root.origin, &identity, profile.privileges.uid.value)?;
    let base = Base {
        profile,
        host,
        home: &home,
        runtime_dir: &runtime_dir,
        hostname: &hostname.value,
        network: namespaces.network.value,
        identity: &identity,
        user,
        root: &root,
    };
    let desktop = desktop::resolve(profile, host, &runtime_dir)?;
    let mut layout = layout(profile, invocation, &tokens(host, &home), &base, desktop.mounts, &image)?;
    let shown = arguments::show(&mut layout, profile, host, &runtime_dir)?;
    let directory = directory(profile, invocation, host, &home, &layout, &image)?;
    let facts =
        Facts { home: &home, user, runtime_dir: &runtime_dir, desktop: &desktop.variables, image: &image };
    let environment = environment::resolve(profile, invocation, host, &facts, &directory)?;
    let (limits, cgroup, mut misses) = limits::resolve(profile, invocation, host)?;
    let command = arguments::words(&invocation.command, &shown, host, &directory.value.0, &image);
    Ok(Plan {
        profile: profile.name.clone(),
        layers: profile.layers.clone(),
        seccomp: Some(walls::seccomp(profile, namespaces.nested.value)?),
        identity,
        namespaces,
        hostname,
        root: bounded(&root),
        registry: registry(host, &mut layout),
        mounts: layout.into_mounts(),
        mount_points_on_host: false,
        guarded: guarded(host),
        protect: protect::protected(profile),
        privileges: privileges(invocation),
        landlock_scope: walls::landlock_scope(profile, invocation, host, &mut misses)?,
        landlock_files: walls::landlock_files(profile, invocation, host, &mut misses)?,
        limits,
        cgroup,
        name: name(invocation)?,
        report: invocation.report,
        exposed: desktop.exposed,
        candidates: command::of_environment(&command, &environment, &directory.value.0),
        environment,
        terminal: profile.terminal.clone(),
        background: profile.background.clone(),
        die_with_parent: invocation.die_with_parent,
        keep_fds: keep_fds(invocation)?,
        command,
        directory,
        misses,
    })
}

/// What tokens stand for. The home is that of outside.
fn tokens<'a>(host: &'a Host, inside: &'a Path) -> Tokens<'a> {
    Tokens { host, home: host.home.as_deref().unwrap_or(inside), uid: host.uid.to_string() }
}

/// The tmpfs below all, sealed unless the program may write in the root.
fn bounded(root: &roots::Root) -> Root {
    Root { size: base::ROOT_SIZE, inodes: base::ROOT_INODES, read_only: !root.writable }
}

fn identity(profile: &Profile, host: &Host) -> Identity {
    let root = profile.privileges.uid.value == UidMap::Root;
    Identity {
        outside_uid: host.uid,
        outside_gid: host.gid,
        uid: if root { 0 } else { host.uid },
        gid: if root { 0 } else { host.gid },
    }
}

/// The ids, the user's name, and the home directory inside: at the same path as outside, except where that is the root itself.
fn who<'a>(profile: &Profile, host: &'a Host) -> Result<(Identity, &'a str, PathBuf), PlanError> {
    let identity = identity(profile, host);
    let user = if identity.uid == 0 { "root" } else { &host.user };
    match &host.home {
        Some(home) if home.as_path() == Path::new("/") => Ok((identity, user, Path::new("/home").join(user))),
        Some(home) => Ok((identity, user, entries::normalize(home))),
        None => Err(PlanError::NoHome),
    }
}

fn namespaces(profile: &Profile, invocation: &Invocation, host: &Host) -> Result<Namespaces, PlanError> {
    let nested = profile.namespaces.nested.clone();
    if nested.value == Nested::Full && host.uid == 0 {
        return Err(PlanError::Conflict {
            why: "cannot allow all nested namespaces to a sandbox that root starts: they need a `/proc` without mounts \
                  over it, and root could then change the kernel's settings through it"
                .to_owned(),
            origin: nested.origin,
            hint: "run sbx as an ordinary user, or leave `namespaces.nested` at \"none\" or \"browser\"".to_owned(),
        });
    }
    // Without a capability uid 0 can't be mapped once more (Linux 5.12, user_namespaces(7)): a browser that can make such a
    // namespace finds out too late that it is of no use, where one that can't goes on with its filters alone.
    let useless = host.uid == 0 && nested.value == Nested::Browser;
    let nested = if useless { Setting::new(Nested::None, nested.origin) } else { nested };
    Ok(Namespaces {
        pid: true,
        uts: true,
        ipc: true,
        cgroup: true,
        network: override_with(&profile.network.mode, &invocation.net, "--net"),
        time: profile.namespaces.time.clone(),
        nested,
    })
}

fn layout(
    profile: &Profile,
    invocation: &Invocation,
    tokens: &Tokens<'_>,
    base: &Base<'_>,
    desktop: Vec<Mount>,
    image: &Option<Asked<'_>>,
) -> Result<Layout, PlanError> {
    let host = tokens.host;
    check_private_home(profile, host)?;
    let mut layout = Layout::new(base.mounts());
    for mount in desktop
        .into_iter()
        .chain(toolchains::mounts(profile, host))
        .chain(delegated(profile))
        .chain(image.as_ref().and_then(Asked::mount))
    {
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
        CwdMode::Ro => Access::ReadOnly,
        CwdMode::Rw => Access::Writable,
        CwdMode::Overlay => {
            return Err(PlanError::NotBuilt {
                what: "filesystem.cwd".to_owned(),
                origin: cwd.origin.clone(),
            });
        }
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
    let op = MountOp::Bind {
        source: BindSource::Path(path.clone()),
        access,
        devices: false,
        optional: false,
        create: None,
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
    image: &Option<Asked<'_>>,
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
    if let Some(said) = image.as_ref().and_then(Asked::directory) {
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

fn privileges(invocation: &Invocation) -> Privileges {
    Privileges {
        drop_capabilities: true,
        no_new_privs: true,
        hide_init: true,
        session_keyring: if invocation.strict { Level::Require } else { Level::Available },
    }
}

/// sbx's own directories: what lies there decides what the next sandbox may do.
fn guarded(host: &Host) -> Vec<PathBuf> {
    let own = [&host.config_home, &host.state_home, &host.data_home, &host.session_dir]
        .into_iter()
        .flatten()
        .map(|directory| directory.join("sbx"));
    own.chain(["/etc/sbx", "/usr/share/sbx"].map(PathBuf::from)).collect()
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

/// The name that was asked for. It is a directory's, a unit's and a word on command lines.
fn name(invocation: &Invocation) -> Result<Option<String>, PlanError> {
    let Some(name) = &invocation.name else { return Ok(None) };
    match crate::profile::value::parse_sandbox_name(name) {
        Ok(name) => Ok(Some(name)),
        Err(why) => Err(PlanError::Conflict {
            why: format!("cannot call the sandbox that: {why}"),
            origin: Origin::Flag("--name".to_owned()),
            hint: "choose another name".to_owned(),
        }),
    }
}

fn keep_fds(invocation: &Invocation) -> Result<Vec<i32>, PlanError> {
    match invocation.keep_fds.iter().find(|fd| **fd < 3) {
        Some(fd) => Err(PlanError::BadDescriptor(*fd)),
        None => Ok(invocation.keep_fds.clone()),
    }
}

/// The profile's value, or the option's when it was given.
fn override_with<T: Clone>(setting: &Setting<T>, flag: &Option<T>, name: &str) -> Setting<T> {
    match flag {
        Some(value) => Setting::new(value.clone(), Origin::Flag(name.to_owned())),
        None => setting.clone(),
    }
}
