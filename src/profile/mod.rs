//! Profiles: TOML layers merged into one [`Profile`] in which every value knows where it came from.
//!
//! [`Profile::default`] is what every run sits on; layers only change it. Nothing here decides what a value
//! means for the sandbox: that is [`crate::plan::resolve`].
#![forbid(unsafe_code)]

mod builtin;
mod catalog;
mod defaults;
mod error;
mod file;
pub mod limits;
pub mod load;
mod merge;
mod schema;
pub mod search;
mod set;
#[cfg(test)]
mod tests;
pub mod value;
mod words;

use std::path::PathBuf;

pub use error::{ProfileError, Warning, Writer};

use crate::diag::Location;
pub use limits::{IoLimit, IoPriority, Limit, Limits};
use value::{ByteRate, ByteSize, EnvironmentPattern, PathTemplate};

pub use words::{
    ArgumentsMode, Background, CwdMode, HomeMode, LandlockScope, Level, Nested, NetworkMode, OverlayDriver,
    TerminalMode, Toolchain, UidMap, Wayland, X11Mode,
};

/// The shape of a profile file as a JSON Schema, for editors.
pub const JSON_SCHEMA: &str = include_str!("../../packaging/sbx-profile.schema.json");

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The compiled-in defaults.
    Default,
    /// A profile file, or the text of a `--set`.
    Profile(Location),
    /// A command-line option, as typed.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Profile(location) => {
                write!(f, "{}:{}", crate::diag::escape(&location.source.name), location.line_column().0)
            }
            Origin::Flag(flag) => f.write_str(&crate::diag::escape(flag)),
        }
    }
}

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value of the compiled-in defaults.
    pub fn default_value(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
    /// A value and its origin.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
    /// Whether no layer and no flag touched it.
    pub fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }
}

impl<T: Default> Default for Setting<T> {
    fn default() -> Self {
        Self::default_value(T::default())
    }
}

/// The root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// `/usr` and a curated `/etc` of the host.
    Host,
    /// Nothing but what is named, and `/proc`, `/dev`, `/tmp`.
    Empty,
    /// A directory.
    Directory(PathTemplate),
    /// `image:NAME`.
    Image(String),
}

/// Where writes to the root filesystem go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WritableLayer {
    /// A bounded tmpfs, gone at the end.
    Tmpfs,
    /// Nowhere: the root is read-only.
    None,
    /// `layer:NAME`, kept.
    Named(String),
    /// A directory.
    Directory(PathTemplate),
}

/// What is done at one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// `read`, `--ro`.
    Read,
    /// `write`, `--rw`.
    Write,
    /// `hide`, `--hide`.
    Hide,
    /// `tmpfs`, `--tmpfs`.
    Tmpfs,
    /// `overlay`, `--overlay`.
    Overlay,
}

/// One path of `[filesystem]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilesystemEntry {
    /// What is done there.
    pub kind: EntryKind,
    /// The path outside, or the destination of a tmpfs.
    pub path: PathTemplate,
    /// The path inside, when it differs.
    pub dest: Option<PathTemplate>,
    /// A missing source is no error.
    pub optional: bool,
    /// Bytes, for a tmpfs.
    pub size: Option<ByteSize>,
    /// The layer of an earlier run that goes on, for an overlay.
    pub layer: Option<String>,
}

/// `[filesystem]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Filesystem {
    /// `root`.
    pub root: Setting<RootSource>,
    /// `layers`, topmost first.
    pub layers: Vec<Setting<PathTemplate>>,
    /// `writable`.
    pub writable: Setting<WritableLayer>,
    /// `cwd`.
    pub cwd: Setting<CwdMode>,
    /// `read`, `write`, `hide`, `tmpfs`, `overlay`, in the order of the layers that named them.
    pub entries: Vec<Setting<FilesystemEntry>>,
    /// `protect`.
    pub protect: Vec<Setting<String>>,
    /// `arguments`.
    pub arguments: Setting<ArgumentsMode>,
    /// `accounts`: another root filesystem gets a user database of this sandbox's own, too.
    pub accounts: Setting<bool>,
    /// `overlay-driver`.
    pub overlay_driver: Setting<OverlayDriver>,
}

/// `[namespaces]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespaces {
    /// `nested`.
    pub nested: Setting<Nested>,
    /// `hostname`.
    pub hostname: Setting<String>,
    /// `time`: offsets that the clocks are shifted by; no time namespace without it.
    pub time: Option<Setting<TimeOffsets>>,
}

/// Offsets of a time namespace, in nanoseconds, either sign (time_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffsets {
    /// Of `CLOCK_BOOTTIME`.
    pub boottime: i64,
    /// Of `CLOCK_MONOTONIC`.
    pub monotonic: i64,
}

/// `[privileges]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Privileges {
    /// `uid`.
    pub uid: Setting<UidMap>,
    /// `capabilities`, as `CAP_…` names.
    pub capabilities: Vec<Setting<caps::Capability>>,
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// `mode`.
    pub mode: Setting<NetworkMode>,
    /// `allow`.
    pub allow: Vec<Setting<String>>,
    /// `deny`.
    pub deny: Vec<Setting<String>>,
    /// `allow-private`.
    pub allow_private: Vec<Setting<String>>,
    /// `publish`.
    pub publish: Vec<Setting<String>>,
    /// `block-lan`.
    pub block_lan: Setting<bool>,
    /// `bandwidth`.
    pub bandwidth: Option<Setting<Bandwidth>>,
}

/// Bytes a second, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Out of the sandbox.
    pub up: Option<ByteRate>,
    /// Into the sandbox.
    pub down: Option<ByteRate>,
}

/// `[seccomp]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seccomp {
    /// `allow`.
    pub allow: Vec<Setting<String>>,
    /// `deny`.
    pub deny: Vec<Setting<String>>,
    /// `multiarch`.
    pub multiarch: Setting<bool>,
}

/// `[landlock]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Landlock {
    /// `level`.
    pub level: Setting<Level>,
    /// `scope`.
    pub scope: Vec<Setting<LandlockScope>>,
    /// `files`.
    pub files: Setting<bool>,
}

/// `[environment]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// `set`, in the order of first naming.
    pub set: Vec<(String, Setting<String>)>,
    /// `keep`.
    pub keep: Vec<Setting<EnvironmentPattern>>,
}

/// `[display]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Display {
    /// `wayland`.
    pub wayland: Setting<Wayland>,
    /// `x11`.
    pub x11: Setting<X11Mode>,
}

/// Everything that profiles say, merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name asked for, joined by `+` when several were.
    pub name: String,
    /// The layers that were merged, lowest first: file paths, `built-in profile NAME`, `--set`.
    pub layers: Vec<String>,
    /// `description`.
    pub description: Option<Setting<String>>,
    /// `app-id`.
    pub app_id: Option<Setting<String>>,
    /// `toolchains`.
    pub toolchains: Vec<Setting<Toolchain>>,
    /// `[filesystem]`.
    pub filesystem: Filesystem,
    /// `home.mode`.
    pub home: Setting<HomeMode>,
    /// `[namespaces]`.
    pub namespaces: Namespaces,
    /// `[privileges]`.
    pub privileges: Privileges,
    /// `[network]`.
    pub network: Network,
    /// `[limits]`.
    pub limits: Limits,
    /// `[seccomp]`.
    pub seccomp: Seccomp,
    /// `[landlock]`.
    pub landlock: Landlock,
    /// `[environment]`.
    pub environment: Environment,
    /// `[display]`.
    pub display: Display,
    /// `audio.playback`.
    pub audio_playback: Setting<bool>,
    /// `devices.gpu`.
    pub devices_gpu: Setting<bool>,
    /// `dbus.session`.
    pub dbus_session: Vec<Setting<String>>,
    /// `lifecycle.background`.
    pub background: Setting<Background>,
    /// `terminal.mode`.
    pub terminal: Setting<TerminalMode>,
}

/// A profile as `sbx profiles` lists it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listing {
    /// Its name.
    pub name: String,
    /// Its `description`, or why it can't be read.
    pub description: String,
    /// The file, or `built-in`.
    pub source: String,
    /// Files of the same name in lower layers that this one hides.
    pub shadows: Vec<PathBuf>,
}
