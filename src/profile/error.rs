//! What can be wrong with a profile, each with the object it is about.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::file::MAX_BYTES;
use super::schema::SCHEMA;
use crate::diag::{Diagnose, Location, errno_words, escape, quote};

/// Why a profile can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileError {
    /// Not a name that a profile can have.
    InvalidName {
        /// The name.
        name: OsString,
        /// The `extends` entry, if one named it.
        location: Option<Location>,
    },
    /// No layer of the search path has it.
    NotFound {
        /// The name.
        name: String,
        /// The existing name nearest to it.
        nearest: Option<String>,
        /// The `extends` entry, if one named it.
        location: Option<Location>,
    },
    /// A file or directory can't be opened or read.
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A symbolic link whose target does not exist.
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Something other than a regular file.
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// More bytes than a profile may have.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes, as far as they were counted.
        size: u64,
    },
    /// Bytes that are not UTF-8.
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first such byte, from 1.
        line: usize,
        /// Its place in the file, from 0.
        offset: usize,
    },
    /// Replaced while it was being read.
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Others could have written it.
    Untrusted {
        /// The profile.
        path: PathBuf,
        /// The profile or a directory it lies in.
        object: PathBuf,
        /// Who could have written that.
        writer: Writer,
    },
    /// Not TOML.
    Syntax {
        /// What the parser says.
        message: String,
        /// Where.
        location: Location,
    },
    /// A key that the schema does not have.
    UnknownKey {
        /// The key.
        key: String,
        /// The keys there are in that table.
        known: Vec<String>,
        /// Where.
        location: Location,
    },
    /// A value that the key can't have.
    Value {
        /// What is wrong with it.
        message: String,
        /// Where.
        location: Location,
    },
    /// A file without its `schema`.
    NoSchema {
        /// The beginning of the file.
        location: Location,
    },
    /// Written for another sbx.
    Schema {
        /// The number it has.
        found: String,
        /// Where.
        location: Location,
    },
    /// One layer does two things at one destination.
    Twice {
        /// The destination.
        destination: String,
        /// The first entry.
        first: Location,
        /// The second entry.
        second: Location,
    },
    /// Profiles that extend each other.
    Cycle {
        /// Their names, the last one the same as the first.
        chain: Vec<String>,
        /// The `extends` entry that closes the circle.
        location: Location,
    },
    /// A profile that extends its own name, where no lower layer has it.
    NoneBelow {
        /// The name.
        name: String,
        /// The `extends` entry.
        location: Location,
    },
    /// More profiles than one run may be made of.
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// A `--set` that is not `KEY=VALUE`.
    Set {
        /// As typed.
        typed: String,
        /// What is wrong.
        cause: &'static str,
    },
    /// Two profiles of one layer that want the same command.
    MatchedTwice {
        /// The command.
        command: PathBuf,
        /// One `match` entry.
        first: Location,
        /// The other.
        second: Location,
    },
}

/// Who could have written a file, besides root and the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Its owner, who is someone else.
    Owner(u32),
    /// The members of its group.
    Group(u32),
    /// Everyone.
    Everyone,
}

impl ProfileError {
    /// The file that can't be read, and why.
    fn unreadable(&self) -> Option<(&PathBuf, String)> {
        Some(match self {
            Self::Read { path, errno: Errno::ELOOP } => (path, "its symbolic links form a loop".to_owned()),
            Self::Read { path, errno } => (path, errno_words(*errno)),
            Self::Dangling { path } => (path, "it is a symbolic link to nothing".to_owned()),
            Self::NotAFile { path, kind } => (path, format!("it is {kind}, not a regular file")),
            Self::TooLarge { path, size } => {
                (path, format!("it has {size} bytes, and a profile may have {MAX_BYTES}"))
            }
            Self::NotUtf8 { path, line, offset } => {
                (path, format!("byte {offset}, in line {line}, is not UTF-8"))
            }
            Self::Changed { path } => (path, "it was replaced meanwhile".to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, why)) = self.unreadable() {
            return write!(f, "cannot read profile {}: {why}", quote(path));
        }
        match self {
            Self::InvalidName { name, .. } => write!(
                f,
                "cannot use {} as a profile name: names are lower-case letters, digits, `.`, `_` and `-`",
                quote(name)
            ),
            Self::NotFound { name, .. } => write!(f, "cannot find profile {}", quote(name)),
            Self::Untrusted { path, object, writer } => {
                write!(f, "cannot trust profile {}: ", quote(path))?;
                let object = if path == object { "it".to_owned() } else { quote(object) };
                match writer {
                    Writer::Owner(uid) => write!(f, "{object} belongs to uid {uid}, neither you nor root"),
                    Writer::Group(gid) => write!(f, "{object} is writable by group {gid}"),
                    Writer::Everyone => write!(f, "{object} is writable by everyone"),
                }
            }
            Self::Syntax { message, .. } => write!(f, "cannot read this as TOML: {}", escape(message)),
            Self::UnknownKey { key, .. } => write!(f, "unknown key {}", quote(key)),
            Self::Value { message, .. } => f.write_str(&escape(message)),
            Self::NoSchema { .. } => write!(f, "there is no `schema` in this profile"),
            Self::Schema { found, .. } => {
                write!(f, "cannot read schema {}: this sbx knows schema {SCHEMA}", escape(found))
            }
            Self::Twice { destination, first, .. } => {
                write!(f, "{} is named twice, first at {}", quote(destination), escape(first.short()))
            }
            Self::Cycle { chain, .. } => {
                let chain: Vec<String> = chain.iter().map(quote).collect();
                write!(f, "profiles extend each other: {}", chain.join(" extends "))
            }
            Self::NoneBelow { name, .. } => {
                write!(f, "{} extends its own name, but there is none below", quote(name))
            }
            Self::TooMany { limit } => write!(f, "cannot merge more than {limit} profiles"),
            Self::Set { typed, cause } => write!(f, "cannot use --set {}: {cause}", quote(typed)),
            Self::MatchedTwice { command, first, second } => write!(
                f,
                "cannot choose a profile for {}: both {} and {} match it",
                quote(command),
                escape(first.short()),
                escape(second.short())
            ),
            // Said above.
            Self::Read { .. }
            | Self::Dangling { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::NotUtf8 { .. }
            | Self::Changed { .. } => Ok(()),
        }
    }
}

impl std::error::Error for ProfileError {}

impl Diagnose for ProfileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidName { .. } => {
                Some("a path to a file has a `/` in it, as in `./my.toml`".to_owned())
            }
            Self::NotFound { name, .. } if name.ends_with(".toml") => {
                Some(format!("a path to a file has a `/` in it: {}", quote(format!("./{name}"))))
            }
            Self::NotFound { nearest: Some(nearest), .. } => {
                Some(format!("did you mean {}?", quote(nearest)))
            }
            Self::NotFound { .. } => Some("`sbx profiles` lists what there is".to_owned()),
            Self::Untrusted { object, writer, .. } => Some(match writer {
                Writer::Owner(_) => "keep profiles in files and directories of your own".to_owned(),
                Writer::Group(_) | Writer::Everyone => format!("run `chmod go-w {}`", escape(object)),
            }),
            Self::UnknownKey { key, known, .. } => {
                match crate::diag::nearest(key, known.iter().map(String::as_str)) {
                    Some(nearest) => Some(format!("did you mean {}?", quote(nearest))),
                    None if known.is_empty() => None,
                    None => Some(format!("there is {}", known.join(", "))),
                }
            }
            Self::NoSchema { .. } => Some(format!("write `schema = {SCHEMA}` in its first line")),
            Self::Twice { .. } => Some("leave one of them out".to_owned()),
            Self::Set { typed, .. } if typed.contains('=') => {
                Some("sbx-profile(5) lists the keys; some stand in profile files only".to_owned())
            }
            Self::Set { .. } => Some("write --set KEY=VALUE, as in --set limits.pids=500".to_owned()),
            Self::MatchedTwice { .. } => Some("choose one with --profile".to_owned()),
            _ => None,
        }
    }

    fn location(&self) -> Option<&Location> {
        match self {
            Self::InvalidName { location, .. } | Self::NotFound { location, .. } => location.as_ref(),
            Self::Syntax { location, .. }
            | Self::UnknownKey { location, .. }
            | Self::Value { location, .. }
            | Self::NoSchema { location }
            | Self::Schema { location, .. }
            | Self::Cycle { location, .. }
            | Self::NoneBelow { location, .. }
            | Self::Twice { second: location, .. } => Some(location),
            _ => None,
        }
    }
}

/// What is odd about a profile and yet no reason to refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// An entry that takes away what no lower layer has.
    NothingToRemove {
        /// The key.
        key: &'static str,
        /// The entry.
        location: Location,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToRemove { key, .. } => {
                write!(f, "nothing to remove from `{key}`: no lower layer has this")
            }
        }
    }
}

impl Diagnose for Warning {
    fn location(&self) -> Option<&Location> {
        match self {
            Self::NothingToRemove { location, .. } => Some(location),
        }
    }
}
