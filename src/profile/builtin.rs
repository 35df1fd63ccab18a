//! The profiles compiled in: the lowest layer of the search path.
#![forbid(unsafe_code)]

/// Names and texts, sorted by name.
pub(crate) const BUILTIN: &[(&str, &str)] = &[
    ("base-cli", include_str!("../../profiles/base-cli.toml")),
    ("build", include_str!("../../profiles/build.toml")),
    ("default", include_str!("../../profiles/default.toml")),
    ("offline", include_str!("../../profiles/offline.toml")),
    ("shell", include_str!("../../profiles/shell.toml")),
];
