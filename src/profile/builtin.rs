//! The profiles compiled in: the lowest layer of the search path.
#![forbid(unsafe_code)]

/// Names and texts, sorted by name.
pub(crate) const BUILTIN: &[(&str, &str)] = &[
    ("agent", include_str!("../../profiles/agent.toml")),
    ("base-cli", include_str!("../../profiles/base-cli.toml")),
    ("base-gui", include_str!("../../profiles/base-gui.toml")),
    ("browser", include_str!("../../profiles/browser.toml")),
    ("build", include_str!("../../profiles/build.toml")),
    ("default", include_str!("../../profiles/default.toml")),
    ("distro", include_str!("../../profiles/distro.toml")),
    ("node", include_str!("../../profiles/node.toml")),
    ("offline", include_str!("../../profiles/offline.toml")),
    ("python", include_str!("../../profiles/python.toml")),
    ("rust", include_str!("../../profiles/rust.toml")),
    ("shell", include_str!("../../profiles/shell.toml")),
    ("viewer", include_str!("../../profiles/viewer.toml")),
];
