//! Toolchains in the user's home: their programs read-only, what is secret beside them not at all.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::mount::{Access, BindSource, Mount, MountOp};
use crate::host::{Host, ToolchainKind, ToolchainPlace};
use crate::profile::{Origin, Profile, Toolchain};

/// Where a toolchain is kept, what of that is shown, and what not.
pub(super) fn kind(toolchain: Toolchain) -> &'static ToolchainKind {
    match toolchain {
        Toolchain::Rustup => &RUSTUP,
        Toolchain::Nvm => &NVM,
        Toolchain::Pyenv => &PYENV,
        Toolchain::Uv => &UV,
        Toolchain::Go => &GO,
    }
}

static RUSTUP: ToolchainKind = ToolchainKind {
    word: Toolchain::Rustup.word(),
    places: &[
        ToolchainPlace { mark: "toolchains/*/bin", ..ToolchainPlace::at("RUSTUP_HOME", ".rustup", &[""]) },
        // Beside these lie tokens, in `credentials.toml` and in `config.toml`.
        ToolchainPlace { written: true, ..ToolchainPlace::at("CARGO_HOME", ".cargo", &["bin"]) },
    ],
};

static NVM: ToolchainKind = ToolchainKind {
    word: Toolchain::Nvm.word(),
    places: &[ToolchainPlace {
        hide: &["versions/node/*/etc/npmrc"],
        ..ToolchainPlace::at(
            "NVM_DIR",
            ".nvm",
            &["versions/node", "alias", "nvm.sh", "nvm-exec", "bash_completion", "default-packages"],
        )
    }],
};

static PYENV: ToolchainKind = ToolchainKind {
    word: Toolchain::Pyenv.word(),
    places: &[ToolchainPlace {
        mark: "versions/*/bin",
        // Settings of pip for one version or an environment of it, with the addresses of its indexes.
        hide: &["versions/*/pip.conf", "versions/*/envs/*/pip.conf"],
        ..ToolchainPlace::at("PYENV_ROOT", ".pyenv", &[""])
    }],
};

static UV: ToolchainKind = ToolchainKind {
    word: Toolchain::Uv.word(),
    places: &[
        ToolchainPlace {
            mark: "bin/python3",
            written: true,
            ..ToolchainPlace::at("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", &["*"])
        },
        ToolchainPlace {
            mark: "pyvenv.cfg",
            written: true,
            ..ToolchainPlace::at("UV_TOOL_DIR", ".local/share/uv/tools", &["*"])
        },
        ToolchainPlace::at("", ".local/bin", &["uv", "uvx"]),
        ToolchainPlace {
            written: true,
            ..ToolchainPlace::at("CARGO_HOME", ".cargo", &["bin/uv", "bin/uvx"])
        },
    ],
};

static GO: ToolchainKind = ToolchainKind {
    word: Toolchain::Go.word(),
    places: &[
        ToolchainPlace { mark: "bin/go", ..ToolchainPlace::at("GOROOT", ".local/go", &[""]) },
        ToolchainPlace { mark: "bin/go", ..ToolchainPlace::at("", "sdk", &["*"]) },
        ToolchainPlace { written: true, ..ToolchainPlace::at("GOPATH", "go", &["bin"]) },
    ],
};

/// The mounts of the toolchains that the profile names and the machine has.
pub(super) fn mounts(profile: &Profile, host: &Host) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for found in &host.toolchains {
        let origin = profile
            .toolchains
            .iter()
            .find(|toolchain| toolchain.value.word() == found.word)
            .map_or(Origin::Default, |toolchain| toolchain.origin.clone());
        let mut add =
            |dest: &Path, op| mounts.push(Mount { dest: dest.to_owned(), op, origin: origin.clone() });
        for path in &found.written {
            add(path, MountOp::Private { mode: 0o755 });
        }
        for path in &found.read {
            add(path, read_only(path));
        }
        for path in &found.hide {
            add(path, MountOp::Mask);
        }
    }
    mounts
}

fn read_only(path: &Path) -> MountOp {
    MountOp::Bind {
        source: BindSource::Path(PathBuf::from(path)),
        access: Access::ReadOnly,
        devices: false,
        // It was there when it was looked for.
        optional: true,
        create: None,
    }
}
