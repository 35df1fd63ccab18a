//! The compiled-in defaults, which every profile sits on.
#![forbid(unsafe_code)]

use super::value::EnvironmentPattern;
use super::{
    Display, Environment, Filesystem, Landlock, LandlockScope, Limits, Namespaces, Network, Privileges,
    Profile, RootSource, Seccomp, Setting, WritableLayer,
};

/// Environment variables that every sandbox keeps from its caller: what a program needs to find its
/// programs, speak the user's language and draw on the user's terminal, and nothing that can hold a secret.
const KEPT_VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
];

/// What in a project's directory is run by other programs of the user, or tells them what to run: hooks and settings of git,
/// editors, shells, cargo and agents. `commondir` names another directory to take git's settings from.
const PROTECTED: &[&str] = &[
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    ".git/commondir",
    ".vscode",
    ".idea",
    ".envrc",
    ".husky",
    ".devcontainer",
    ".cargo/config.toml",
    ".claude",
    ".mcp.json",
];

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: String::new(),
            layers: Vec::new(),
            description: None,
            app_id: None,
            toolchains: Vec::new(),
            filesystem: Filesystem {
                root: Setting::default_value(RootSource::Host),
                layers: Vec::new(),
                writable: Setting::default_value(WritableLayer::Tmpfs),
                cwd: Setting::default(),
                entries: Vec::new(),
                protect: PROTECTED.iter().map(|path| Setting::default_value((*path).to_owned())).collect(),
                arguments: Setting::default(),
                accounts: Setting::default(),
                overlay_driver: Setting::default(),
            },
            home: Setting::default(),
            namespaces: Namespaces {
                nested: Setting::default(),
                hostname: Setting::default_value("sandbox".to_owned()),
                time: None,
            },
            privileges: Privileges::default(),
            network: Network::default(),
            limits: Limits::default(),
            seccomp: Seccomp::default(),
            landlock: Landlock {
                level: Setting::default(),
                scope: [LandlockScope::Signal, LandlockScope::AbstractUnix]
                    .map(Setting::default_value)
                    .into(),
                files: Setting::default(),
            },
            environment: Environment {
                set: Vec::new(),
                keep: KEPT_VARIABLES
                    .iter()
                    .map(|name| {
                        Setting::default_value(EnvironmentPattern::parse(name).expect("a valid name"))
                    })
                    .collect(),
            },
            display: Display::default(),
            audio_playback: Setting::default(),
            devices_gpu: Setting::default(),
            dbus_session: Vec::new(),
            background: Setting::default(),
            terminal: Setting::default(),
        }
    }
}
