//! From what was asked for to what will be done. Pure: the same three values give the same plan on any machine.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::base::{self, Base};
use super::entries::{self, Tokens};
use super::environment::Facts;
use super::image::Asked;
use super::lay_out::lay_out;
use super::{Directory, Identity, Namespaces, Plan, PlanError, Root};
use super::{
    command, desktop, environment, identity, image, limits, protect, roots, server, toolchains, unbuilt,
    walls,
};
use crate::host::{DesktopParts, Host, Wanted};
use crate::invocation::Invocation;
use crate::profile::{
    ArgumentsMode, Nested, Origin, OverlayDriver, Profile, Setting, UidMap, Wayland, X11Mode,
};

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
        subordinate: profile.privileges.uid.value == UidMap::Subordinate,
        fuse_overlayfs: profile.filesystem.overlay_driver.value == OverlayDriver::FuseOverlayfs,
    })
}

/// Makes the plan.
///
/// # Errors
/// [`PlanError`]: nothing was touched.
pub fn resolve(profile: &Profile, invocation: &Invocation, host: &Host) -> Result<Plan, PlanError> {
    unbuilt::refuse(profile, invocation)?;
    let identity = identity::resolve(profile, host)?;
    let (user, runtime_dir) = user(&identity, host);
    let home = home_inside(host, user)?;
    let namespaces = namespaces(profile, invocation, host)?;
    let hostname = override_with(&profile.namespaces.hostname, &invocation.hostname, "--hostname");
    let root = roots::resolve(&profile.filesystem, invocation, &tokens(host, &home))?;
    let image = Asked::of(host, &root.origin, &identity)?;
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
        image: image.as_ref(),
    };
    let desktop = desktop::resolve(profile, host, &runtime_dir)?;
    let laid = lay_out(profile, invocation, &base, desktop.mounts)?;
    let facts = Facts::of(&base, &desktop.variables);
    let environment = set_pwd(environment::resolve(profile, invocation, host, &facts)?, &laid.directory);
    let (limits, cgroup, mut misses) = limits::resolve(profile, invocation, host)?;
    let privileges = identity::privileges(profile, invocation, &identity, &laid.mounts)?;
    Ok(Plan {
        profile: profile.name.clone(),
        layers: profile.layers.clone(),
        seccomp: Some(walls::seccomp(profile, namespaces.nested.value, &privileges)?),
        identity,
        namespaces,
        hostname,
        root: bounded(&root),
        privileges,
        overlay_server: server::of(profile, host, &laid.mounts)?,
        mounts: laid.mounts,
        mount_points_on_host: false,
        guarded: guarded(host),
        protect: protect::protected(profile),
        landlock_scope: walls::landlock_scope(profile, invocation, host, &mut misses)?,
        landlock_files: walls::landlock_files(profile, invocation, host, &mut misses)?,
        limits,
        cgroup,
        name: name(invocation)?,
        registry: laid.registry,
        report: invocation.report,
        exposed: desktop.exposed,
        candidates: candidates(&laid.command, &environment, &laid.directory.value.0),
        environment,
        terminal: profile.terminal.clone(),
        background: profile.background.clone(),
        die_with_parent: invocation.die_with_parent,
        keep_fds: keep_fds(invocation)?,
        command: laid.command,
        directory: laid.directory,
        misses,
    })
}

/// The payload's name inside, and its runtime directory.
fn user<'a>(identity: &Identity, host: &'a Host) -> (&'a str, PathBuf) {
    let (uid, _) = identity.of_payload();
    let name = match &identity.runs_as {
        _ if uid == 0 => "root",
        Some(_) => image::user_name(host),
        None => &host.user,
    };
    (name, PathBuf::from(format!("/run/user/{uid}")))
}

/// What tokens stand for. The home is that of outside.
pub(super) fn tokens<'a>(host: &'a Host, inside: &'a Path) -> Tokens<'a> {
    Tokens { host, home: host.home.as_deref().unwrap_or(inside), uid: host.uid.to_string() }
}

/// The tmpfs below all, sealed unless the program may write in the root.
fn bounded(root: &roots::Root) -> Root {
    Root { size: base::ROOT_SIZE, inodes: base::ROOT_INODES, read_only: !root.writable }
}

/// The home directory inside: at the same path as outside, except where that is the root itself.
fn home_inside(host: &Host, user: &str) -> Result<PathBuf, PlanError> {
    match &host.home {
        Some(home) if home.as_path() == Path::new("/") => Ok(Path::new("/home").join(user)),
        Some(home) => Ok(entries::normalize(home)),
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

/// Where the command is looked for.
fn candidates(command: &[OsString], environment: &[super::Variable], directory: &Path) -> Vec<PathBuf> {
    let search =
        environment.iter().find(|variable| variable.name == "PATH").map(|path| path.value.as_os_str());
    let of = |program: &OsString| command::candidates(program, search.unwrap_or(OsStr::new("")), directory);
    command.first().map_or_else(Vec::new, of)
}

fn set_pwd(mut environment: Vec<super::Variable>, directory: &Setting<Directory>) -> Vec<super::Variable> {
    environment.retain(|variable| variable.name != "PWD");
    environment.push(super::Variable {
        name: "PWD".into(),
        value: directory.value.0.clone().into_os_string(),
        origin: directory.origin.clone(),
    });
    environment.sort_by(|left, right| left.name.cmp(&right.name));
    environment
}

/// sbx's own directories: what lies there decides what the next sandbox may do.
fn guarded(host: &Host) -> Vec<PathBuf> {
    let own = [&host.config_home, &host.state_home, &host.data_home, &host.session_dir]
        .into_iter()
        .flatten()
        .map(|directory| directory.join("sbx"));
    own.chain(["/etc/sbx", "/usr/share/sbx"].map(PathBuf::from)).collect()
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
pub(super) fn override_with<T: Clone>(setting: &Setting<T>, flag: &Option<T>, name: &str) -> Setting<T> {
    match flag {
        Some(value) => Setting::new(value.clone(), Origin::Flag(name.to_owned())),
        None => setting.clone(),
    }
}
