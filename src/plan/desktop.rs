//! What of the desktop the sandbox gets: display servers, sound, GPUs.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Variable;
use super::error::PlanError;
use super::mount::{Access, BindSource, Content, Mount, MountOp};
use crate::diag::quote;
use crate::host::{Desktop, DeviceNode, Host, X11Display};
use crate::profile::{Origin, Profile, Setting, Wayland, X11Mode};

/// What a display's number is more inside: clients try an abstract socket of the number first, and give up when that one is
/// there but out of reach, as Landlock's scope has it (libxcb's `_xcb_open`). One of this number is not there.
const X11_SHIFT: u32 = 1000;

/// Mounts, variables, and what they mean for the user, as `explain` says it.
#[derive(Default)]
pub(super) struct Given {
    pub(super) mounts: Vec<Mount>,
    pub(super) variables: Vec<Variable>,
    pub(super) exposed: Vec<Setting<String>>,
}

/// What the profile asks for of what there is. Nothing where the machine was not looked at, as when a profile is only
/// checked.
pub(super) fn resolve(profile: &Profile, host: &Host, runtime_dir: &Path) -> Result<Given, PlanError> {
    let mut given = Given::default();
    let Some(desktop) = &host.desktop else { return Ok(given) };
    given.wayland(profile, desktop, runtime_dir)?;
    given.x11(profile, desktop, runtime_dir)?;
    given.sound(profile, desktop, runtime_dir);
    given.gpu(profile, desktop);
    Ok(given)
}

impl Given {
    fn wayland(&mut self, profile: &Profile, desktop: &Desktop, runtime_dir: &Path) -> Result<(), PlanError> {
        let wanted = &profile.display.wayland;
        match (&desktop.wayland, wanted.value) {
            (_, Wayland::Off) | (None, Wayland::Optional) => Ok(()),
            (None, Wayland::On) => Err(PlanError::Conflict {
                why: "cannot give the sandbox a Wayland display: `WAYLAND_DISPLAY` names no socket"
                    .to_owned(),
                origin: wanted.origin.clone(),
                hint: "start sbx in a Wayland session, or set `display.wayland` to \"optional\"".to_owned(),
            }),
            (Some(socket), _) => {
                let name = socket.file_name().unwrap_or_default();
                self.socket(socket, runtime_dir.join(name), &wanted.origin);
                self.variable("WAYLAND_DISPLAY", name, &wanted.origin);
                self.variable("XDG_SESSION_TYPE", "wayland", &wanted.origin);
                self.expose(
                    "wayland: the compositor, with every protocol that it offers to programs outside",
                    &wanted.origin,
                );
                Ok(())
            }
        }
    }

    fn x11(&mut self, profile: &Profile, desktop: &Desktop, runtime_dir: &Path) -> Result<(), PlanError> {
        let origin = &profile.display.x11.origin;
        if profile.display.x11.value != X11Mode::Host {
            return Ok(());
        }
        let why = match &desktop.x11 {
            X11Display::Local { number, screen, socket, cookies } => {
                let number = number + X11_SHIFT;
                self.socket(socket, PathBuf::from(format!("/tmp/.X11-unix/X{number}")), origin);
                if !cookies.is_empty() {
                    let path = runtime_dir.join("Xauthority");
                    let content = Content::Secret(authority(cookies, number));
                    let op = MountOp::File { content, mode: 0o600 };
                    self.mount(path.clone(), op, origin);
                    self.variable("XAUTHORITY", path, origin);
                }
                self.variable("DISPLAY", format!(":{number}{screen}"), origin);
                if !self.variables.iter().any(|variable| variable.name == "XDG_SESSION_TYPE") {
                    self.variable("XDG_SESSION_TYPE", "x11", origin);
                }
                self.expose("x11: the host's display; who has it reads the screen, the clipboard and every key, and types", origin);
                return Ok(());
            }
            X11Display::Unset => "`DISPLAY` is not set".to_owned(),
            X11Display::Remote => "`DISPLAY` names no local display".to_owned(),
            X11Display::Gone(socket) => format!("there is no socket {}", quote(socket)),
        };
        Err(PlanError::Conflict {
            why: format!("cannot give the sandbox the host's X display: {why}"),
            origin: origin.clone(),
            hint: "start sbx where X programs work, or leave `display.x11` at \"off\"".to_owned(),
        })
    }

    fn sound(&mut self, profile: &Profile, desktop: &Desktop, runtime_dir: &Path) {
        let wanted = &profile.audio_playback;
        let Some(socket) = desktop.sound.as_ref().filter(|_| wanted.value) else { return };
        let dest = runtime_dir.join("pulse/native");
        self.socket(socket, dest.clone(), &wanted.origin);
        // The server's shared memory stays outside, and its library stops at what it can't map.
        let settings = runtime_dir.join("pulse/client.conf");
        let content = Content::Bytes(b"enable-shm = no\nautospawn = no\n".to_vec());
        self.mount(settings.clone(), MountOp::File { content, mode: 0o644 }, &wanted.origin);
        let mut server = OsString::from("unix:");
        server.push(dest);
        self.variable("PULSE_SERVER", server, &wanted.origin);
        self.variable("PULSE_CLIENTCONFIG", settings, &wanted.origin);
        self.expose("sound: playing, and recording too: the server does not tell them apart", &wanted.origin);
    }

    fn gpu(&mut self, profile: &Profile, desktop: &Desktop) {
        let wanted = &profile.devices_gpu;
        if !wanted.value || desktop.gpu.is_empty() {
            return;
        }
        for DeviceNode { path, major, minor, link } in &desktop.gpu {
            let op = MountOp::Device { source: path.clone(), major: *major, minor: *minor };
            self.mount(path.clone(), op, &wanted.origin);
            if let Some(target) = link {
                let dest = PathBuf::from(format!("/sys/dev/char/{major}:{minor}"));
                self.mount(dest, MountOp::Symlink { target: target.clone() }, &wanted.origin);
            }
        }
        for directory in &desktop.gpu_sysfs {
            self.bind(directory, directory.clone(), Access::ReadOnly, &wanted.origin);
        }
        self.expose("gpu: the drivers of its GPUs, for drawing and computing", &wanted.origin);
    }

    fn mount(&mut self, dest: PathBuf, op: MountOp, origin: &Origin) {
        self.mounts.push(Mount { dest, op, origin: origin.clone() });
    }

    /// A socket is written to, whatever the mount says, but for Landlock's rules.
    fn socket(&mut self, source: &Path, dest: PathBuf, origin: &Origin) {
        self.bind(source, dest, Access::Writable, origin);
    }

    fn bind(&mut self, source: &Path, dest: PathBuf, access: Access, origin: &Origin) {
        let source = BindSource::Path(source.to_owned());
        self.mount(
            dest,
            MountOp::Bind { source, access, devices: false, optional: false, create: None },
            origin,
        );
    }

    fn variable(&mut self, name: &str, value: impl Into<OsString>, origin: &Origin) {
        self.variables.push(Variable { name: name.into(), value: value.into(), origin: origin.clone() });
    }

    fn expose(&mut self, what: &str, origin: &Origin) {
        self.exposed.push(Setting::new(what.to_owned(), origin.clone()));
    }
}

/// An Xauthority file (Xsecurity(7)) with these cookies for one display, whatever the client's host is called: a sandbox has
/// a name of its own. An entry is a number of two bytes, here that of "any host", and four fields counted by two bytes each.
fn authority(cookies: &[Vec<u8>], number: u32) -> Vec<u8> {
    let number = number.to_string();
    let mut file = Vec::new();
    for cookie in cookies {
        file.extend(u16::MAX.to_be_bytes());
        for field in [&[][..], number.as_bytes(), b"MIT-MAGIC-COOKIE-1", cookie] {
            file.extend(u16::try_from(field.len()).unwrap_or(0).to_be_bytes());
            file.extend(field);
        }
    }
    file
}
