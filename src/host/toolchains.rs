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
    /// What is shown of it, read-only: patterns, in which a `*` stands for one whole name; an empty one is all of it. What is
    /// not named stays hidden, credentials above all.
    show: &'static [&'static str],
    /// A pattern of what lies in whatever is shown: a variable may name any directory, but shows none that is no toolchain.
    mark: &'static str,
    /// What is hidden again of what is shown: patterns.
    hide: &'static [&'static str],
    /// Programs write into it: where it does not lie in the home directory, an empty one takes its place.
    written: bool,
}

const KINDS: [Kind; 5] = [
    Kind {
        word: "rustup",
        places: &[
            Place { mark: "toolchains/*/bin", ..Place::at("RUSTUP_HOME", ".rustup", &[""]) },
            // Beside these lie tokens, in `credentials.toml` and in `config.toml`.
            Place { written: true, ..Place::at("CARGO_HOME", ".cargo", &["bin"]) },
        ],
    },
    Kind {
        word: "nvm",
        places: &[Place {
            hide: &["versions/node/*/etc/npmrc"],
            ..Place::at(
                "NVM_DIR",
                ".nvm",
                &["versions/node", "alias", "nvm.sh", "nvm-exec", "bash_completion", "default-packages"],
            )
        }],
    },
    Kind {
        word: "pyenv",
        places: &[Place {
            mark: "versions/*/bin",
            // Settings of pip for one version or an environment of it, with the addresses of its indexes.
            hide: &["versions/*/pip.conf", "versions/*/envs/*/pip.conf"],
            ..Place::at("PYENV_ROOT", ".pyenv", &[""])
        }],
    },
    Kind {
        word: "uv",
        places: &[
            Place {
                mark: "bin/python3",
                written: true,
                ..Place::at("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", &["*"])
            },
            Place {
                mark: "pyvenv.cfg",
                written: true,
                ..Place::at("UV_TOOL_DIR", ".local/share/uv/tools", &["*"])
            },
            Place::at("", ".local/bin", &["uv", "uvx"]),
            Place { written: true, ..Place::at("CARGO_HOME", ".cargo", &["bin/uv", "bin/uvx"]) },
        ],
    },
    Kind {
        word: "go",
        places: &[
            Place { mark: "bin/go", ..Place::at("GOROOT", ".local/go", &[""]) },
            Place { mark: "bin/go", ..Place::at("", "sdk", &["*"]) },
            Place { written: true, ..Place::at("GOPATH", "go", &["bin"]) },
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
        for pattern in place.show {
            for path in matching(&directory, pattern)? {
                if place.mark.is_empty() || !matching(&path, place.mark)?.is_empty() {
                    found.read.push(path);
                }
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
    const fn at(variable: &'static str, default: &'static str, show: &'static [&'static str]) -> Self {
        Self { variable, default, show, mark: "", hide: &[], written: false }
    }

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

/// The paths below `directory` that a pattern stands for, and that are there; links count by what they lead to.
fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, HostError> {
    let mut paths = vec![directory.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
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
        if look::unless_absent(&path, fs::metadata(&path))?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}
