//! The desktop around the caller: display servers, sound, GPUs. Looked at only for profiles that ask for it.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Host, HostError, look, xauthority};

/// Where the X server listens: one socket for each display.
const X11_SOCKETS: &str = "/tmp/.X11-unix";

/// The X display that the caller uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum X11Display {
    /// `DISPLAY` is not set.
    #[default]
    Unset,
    /// It names something that is no local socket: another machine, or text that makes no sense.
    Remote,
    /// There is no such socket.
    Gone(PathBuf),
    /// A local one.
    Local {
        /// Its number.
        number: u32,
        /// Its screen, as after the number in `DISPLAY`: empty, or `.1`.
        screen: String,
        /// Its socket.
        socket: PathBuf,
        /// The cookies for it.
        cookies: Vec<Vec<u8>>,
    },
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its path.
    pub path: PathBuf,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// What `/sys/dev/char/MAJOR:MINOR` says.
    pub link: Option<PathBuf>,
}

/// What a plan needs to know of the desktop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desktop {
    /// The Wayland compositor's socket, if there is one.
    pub wayland: Option<PathBuf>,
    /// The X display.
    pub x11: X11Display,
    /// The socket of a PulseAudio server, or of PipeWire in its place.
    pub sound: Option<PathBuf>,
    /// Nodes through which GPUs compute and draw, without the ones that set modes.
    pub gpu: Vec<DeviceNode>,
    /// Directories of sysfs that say what these devices are.
    pub gpu_sysfs: Vec<PathBuf>,
}

/// Which parts of it are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DesktopParts {
    /// [`Desktop::wayland`].
    pub wayland: bool,
    /// [`Desktop::x11`].
    pub x11: bool,
    /// [`Desktop::sound`].
    pub sound: bool,
    /// [`Desktop::gpu`].
    pub gpu: bool,
}

impl Desktop {
    pub(super) fn look(host: &Host, parts: DesktopParts) -> Result<Self, HostError> {
        let (gpu, gpu_sysfs) = if parts.gpu { gpus()? } else { Default::default() };
        Ok(Self {
            wayland: if parts.wayland { wayland(host)? } else { None },
            x11: if parts.x11 { x11(host)? } else { X11Display::Unset },
            sound: if parts.sound { sound(host)? } else { None },
            gpu,
            gpu_sysfs,
        })
    }
}

/// The path, if it is a socket.
fn socket(path: PathBuf) -> Result<Option<PathBuf>, HostError> {
    let found = look::unless_absent(&path, fs::metadata(&path))?;
    Ok(found.filter(|metadata| metadata.file_type().is_socket()).map(|_| path))
}

/// `WAYLAND_DISPLAY`: a path, or a name in the runtime directory.
fn wayland(host: &Host) -> Result<Option<PathBuf>, HostError> {
    let Some(name) = host.variable("WAYLAND_DISPLAY").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let below = host.runtime_dir.as_deref().unwrap_or(Path::new("/nonexistent"));
    socket(below.join(name))
}

/// `PULSE_SERVER` where it names a socket, else the usual one.
fn sound(host: &Host) -> Result<Option<PathBuf>, HostError> {
    let named = host.variable("PULSE_SERVER").map(OsStr::as_bytes).filter(|server| !server.is_empty());
    let path = match named {
        Some(server) => {
            Some(PathBuf::from(OsStr::from_bytes(server.strip_prefix(b"unix:").unwrap_or(server))))
        }
        None => host.runtime_dir.as_deref().map(|directory| directory.join("pulse/native")),
    };
    path.filter(|path: &PathBuf| path.is_absolute()).map_or(Ok(None), socket)
}

fn x11(host: &Host) -> Result<X11Display, HostError> {
    let Some(display) = host.variable("DISPLAY").filter(|display| !display.is_empty()) else {
        return Ok(X11Display::Unset);
    };
    let Some((number, screen)) = display.to_str().and_then(local_display) else {
        return Ok(X11Display::Remote);
    };
    let path = Path::new(X11_SOCKETS).join(format!("X{number}"));
    let Some(socket) = socket(path.clone())? else { return Ok(X11Display::Gone(path)) };
    let file = match (host.variable("XAUTHORITY"), &host.home) {
        (Some(file), _) if !file.is_empty() => look::small_file(Path::new(file))?,
        (_, Some(home)) => look::small_file(home.join(".Xauthority"))?,
        _ => Vec::new(),
    };
    let cookies = xauthority::cookies(&file, number.to_string().as_bytes());
    Ok(X11Display::Local { number, screen: screen.to_owned(), socket, cookies })
}

/// Number and screen of a display of this machine (X(7)).
fn local_display(display: &str) -> Option<(u32, &str)> {
    let (host, rest) = display.rsplit_once(':')?;
    let digits =
        |text: &str| !text.is_empty() && text.len() < 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, screen) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    let sound = digits(number) && screen.strip_prefix('.').is_none_or(digits);
    (sound && matches!(host, "" | "unix")).then_some((number.parse().ok()?, screen))
}

/// Names in `/dev` besides `dri/renderD*`: NVIDIA's driver, AMD's for computing, and shared buffers.
const GPU_NODES: [&str; 6] =
    ["nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "kfd", "udmabuf"];

fn gpus() -> Result<(Vec<DeviceNode>, Vec<PathBuf>), HostError> {
    let dev = Path::new("/dev");
    let mut paths: Vec<PathBuf> = GPU_NODES.iter().map(|name| dev.join(name)).collect();
    paths.extend(named(&dev.join("dri"), |name| name.starts_with("renderD"))?);
    paths.extend(named(dev, |name| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    })?);
    let (mut nodes, mut sysfs) = (Vec::new(), Vec::new());
    for path in paths {
        let Some(metadata) = look::unless_absent(&path, fs::symlink_metadata(&path))? else { continue };
        if !metadata.file_type().is_char_device() {
            continue;
        }
        let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
        let device = PathBuf::from(format!("/sys/dev/char/{major}:{minor}"));
        let link = look::unless_absent(&device, fs::read_link(&device))?;
        for part in [device.join("device"), device] {
            // The first holds the second where a device has several nodes.
            if let Some(real) = look::unless_absent(&part, fs::canonicalize(&part))? {
                sysfs.push(real);
            }
        }
        nodes.push(DeviceNode { path, major, minor, link });
    }
    let module = PathBuf::from("/sys/module/nvidia");
    sysfs.extend(look::unless_absent(&module, fs::metadata(&module))?.map(|_| module));
    sysfs.sort();
    sysfs.dedup_by(|below, above| below.starts_with(above));
    Ok((nodes, sysfs))
}

/// Paths of a directory by their names; none where there is no such directory.
fn named(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, HostError> {
    let Some(entries) = look::unless_absent(directory, fs::read_dir(directory))? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| HostError::path(directory, &error))?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_of_this_machine() {
        for (display, number) in [
            (":0", Some((0, ""))),
            (":10.1", Some((10, ".1"))),
            ("unix:3", Some((3, ""))),
            ("localhost:10.0", None),
            ("box:0", None),
            (":", None),
            (":x", None),
            (":0.", None),
            (":../../etc", None),
            ("", None),
            (":123456", None),
        ] {
            assert_eq!(local_display(display), number, "{display}");
        }
    }
}
