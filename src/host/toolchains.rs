//! Toolchains that their users install below their homes.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::{Host, HostError, look};

/// Where a kind of toolchain is kept, and what of it a program needs.
struct Kind {
    /// The word for it in profiles.
    word: &'static str,
    /// Its directories.
    places: &'static [Place],
}

/// A directory that holds a toolchain, or parts of one.
struct Place {
    /// The variable that says where it is.
    variable: &'static str,
    /// Where it is without that, below the home directory.
    default: &'static str,
    /// What is shown of it, read-only; empty for all of it. What is not named stays hidden, credentials above all.
    show: &'static [&'static str],
    /// What is hidden again of what is shown; a `*` stands for one whole name.
    hide: &'static [&'static str],
    /// Programs write into it: where it does not lie in the home directory, an empty one takes its place.
    written: bool,
}

const KINDS: [Kind; 5] = [
    Kind {
        word: "rustup",
        places: &[
            Place { variable: "RUSTUP_HOME", default: ".rustup", show: &[], hide: &[], written: false },
            // Beside these lie tokens, in `credentials.toml` and in `config.toml`.
            Place { variable: "CARGO_HOME", default: ".cargo", show: &["bin"], hide: &[], written: true },
        ],
    },
    Kind {
        word: "nvm",
        places: &[Place {
            variable: "NVM_DIR",
            default: ".nvm",
            show: &["versions", "alias", "nvm.sh", "nvm-exec", "bash_completion", "default-packages"],
            hide: &["versions/node/*/etc/npmrc"],
            written: false,
        }],
    },
    Kind {
        word: "pyenv",
        places: &[Place {
            variable: "PYENV_ROOT",
            default: ".pyenv",
            show: &[],
            // Settings of pip for one version, with the addresses of its indexes.
            hide: &["versions/*/pip.conf"],
            written: false,
        }],
    },
    Kind {
        word: "uv",
        places: &[
            Place {
                variable: "UV_PYTHON_INSTALL_DIR",
                default: ".local/share/uv/python",
                show: &[],
                hide: &[],
                written: false,
            },
            Place {
                variable: "UV_TOOL_DIR",
                default: ".local/share/uv/tools",
                show: &[],
                hide: &[],
                written: false,
            },
            Place { variable: "", default: ".local/bin", show: &["uv", "uvx"], hide: &[], written: false },
            Place {
                variable: "CARGO_HOME",
                default: ".cargo",
                show: &["bin/uv", "bin/uvx"],
                hide: &[],
                written: true,
            },
        ],
    },
    Kind {
        word: "go",
        places: &[
            Place { variable: "GOROOT", default: ".local/go", show: &[], hide: &[], written: false },
            Place { variable: "", default: "sdk", show: &[], hide: &[], written: false },
            Place { variable: "GOPATH", default: "go", show: &["bin"], hide: &[], written: true },
        ],
    },
];

/// What was found of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// The word for it in profiles.
    pub word: String,
    /// What is shown, read-only.
    pub read: Vec<PathBuf>,
    /// What is hidden below that.
    pub hide: Vec<PathBuf>,
    /// Directories outside the home that its programs want to write.
    pub written: Vec<PathBuf>,
}

/// What is there of a kind; nothing for a word that is none.
pub(super) fn find(host: &Host, word: &str) -> Result<Toolchain, HostError> {
    let mut found = Toolchain { word: word.to_owned(), ..Toolchain::default() };
    let places = KINDS.iter().filter(|kind| kind.word == word).flat_map(|kind| kind.places);
    for place in places {
        let Some(directory) = place.directory(host) else { continue };
        let shown: Vec<PathBuf> = match place.show {
            [] => vec![directory.clone()],
            names => names.iter().map(|name| directory.join(name)).collect(),
        };
        for path in shown {
            if look::unless_absent(&path, fs::metadata(&path))?.is_some() {
                found.read.push(path);
            }
        }
        for pattern in place.hide {
            found.hide.extend(matching(&directory, pattern)?);
        }
        let in_home = host.home.as_ref().is_some_and(|home| directory.starts_with(home));
        if place.written && !in_home {
            found.written.push(directory);
        }
    }
    Ok(found)
}

impl Place {
    /// Where it is: never the home directory itself, nor anything around it.
    fn directory(&self, host: &Host) -> Option<PathBuf> {
        let home = host.home.as_deref()?;
        let named = host.variable(self.variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory: PathBuf = named.unwrap_or_else(|| home.join(self.default)).components().collect();
        let homes = host.real_homes.iter().map(PathBuf::as_path).chain([home]);
        let around = homes.into_iter().any(|home| home.starts_with(&directory));
        let climbs = directory.components().any(|part| part == std::path::Component::ParentDir);
        (!around && !climbs).then_some(directory)
    }
}

/// The paths below `directory` that a pattern stands for.
fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, HostError> {
    let mut paths = vec![directory.to_owned()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for path in paths {
            if part != "*" {
                next.push(path.join(part));
                continue;
            }
            let Some(entries) = look::unless_absent(&path, fs::read_dir(&path))? else { continue };
            for entry in entries {
                next.push(entry.map_err(|error| HostError::path(&path, &error))?.path());
            }
        }
        paths = next;
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if look::unless_absent(&path, fs::symlink_metadata(&path))?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}
