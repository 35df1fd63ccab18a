//! The options of a run.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::{Output, UsageError, When};
use crate::diag::quote;
use crate::invocation::{EnvFlag, Invocation, PathFlag};
use crate::profile::limits::{check_cpus, check_memory};
use crate::profile::value::{self, ByteSize};
use crate::profile::{CwdMode, EntryKind, NetworkMode};

/// How messages look.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Messages {
    /// Print this text
    #[arg(short, long, action = clap::ArgAction::HelpShort, help_heading = "Messages")]
    help: Option<bool>,
    /// Say which profile is used
    #[arg(short, long, help_heading = "Messages", conflicts_with = "quiet")]
    verbose: bool,
    /// Print no warnings
    #[arg(short, long, help_heading = "Messages")]
    quiet: bool,
    /// Colour in messages
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Messages")]
    color: When,
}

impl Messages {
    pub(super) fn output(self) -> Output {
        Output { verbose: self.verbose, quiet: self.quiet, color: self.color }
    }
}

/// The options of a run, as typed.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Use this profile; later ones go on top (default: the one that matches COMMAND, else `default`)
    #[arg(short, long = "profile", value_name = "NAME|FILE", help_heading = "Profile")]
    profiles: Vec<OsString>,
    /// Set a key of the profile
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Profile")]
    set: Vec<String>,
    /// What the profile only prefers is required
    #[arg(long, help_heading = "Profile")]
    strict: bool,

    /// Show P read-only (at DEST); `\:` is a literal colon
    #[arg(long, value_name = "P[:DEST]", help_heading = "Filesystem")]
    ro: Vec<OsString>,
    /// Let P be written (at DEST)
    #[arg(long, value_name = "P[:DEST]", help_heading = "Filesystem")]
    rw: Vec<OsString>,
    /// Cover P with something empty that can't be opened
    #[arg(long, value_name = "P", help_heading = "Filesystem")]
    hide: Vec<OsString>,
    /// Put an empty tmpfs at DEST
    #[arg(long, value_name = "DEST", help_heading = "Filesystem")]
    tmpfs: Vec<OsString>,
    /// Let DIR be written, and keep the changes apart
    #[arg(long, value_name = "DIR", help_heading = "Filesystem")]
    overlay: Vec<OsString>,
    /// Use another root filesystem
    #[arg(long, value_name = "DIR|image:NAME", help_heading = "Filesystem")]
    root: Option<OsString>,
    /// Stack DIR over the root filesystem, topmost first
    #[arg(long = "layer", value_name = "DIR", help_heading = "Filesystem")]
    layers: Vec<PathBuf>,
    /// What the sandbox gets of the working directory: rw, ro, overlay or none
    #[arg(long, value_name = "MODE", value_parser = cwd_mode, help_heading = "Filesystem")]
    cwd: Option<CwdMode>,
    /// Start in DIR
    #[arg(long, value_name = "DIR", help_heading = "Filesystem")]
    chdir: Option<PathBuf>,

    /// What the network reaches: none or host
    #[arg(long, value_name = "MODE", value_parser = network_mode, help_heading = "Network")]
    net: Option<NetworkMode>,
    /// Let HOST be reached through the proxy
    #[arg(hide = true, long = "allow-host", value_name = "HOST[:PORT]", help_heading = "Network")]
    allow_hosts: Vec<String>,
    /// Let PORT be reached from the host
    #[arg(hide = true, long, value_name = "PORT", help_heading = "Network")]
    publish: Vec<String>,

    /// Memory of all its processes together, such as 512M
    #[arg(long, value_name = "SIZE", value_parser = memory, allow_hyphen_values = true, help_heading = "Limits")]
    memory: Option<ByteSize>,
    /// Swap besides that (default: none where memory is limited)
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse, allow_hyphen_values = true, help_heading = "Limits")]
    swap: Option<ByteSize>,
    /// Processors, such as 1.5
    #[arg(long, value_name = "N", value_parser = cpus, allow_negative_numbers = true, help_heading = "Limits")]
    cpus: Option<f64>,
    /// Processes and threads
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, help_heading = "Limits")]
    pids: Option<u64>,
    /// End COMMAND after this time, such as 30s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = timeout, allow_hyphen_values = true, help_heading = "Limits")]
    timeout: Option<Duration>,

    /// Set a variable, or pass it on
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Sandbox")]
    env: Vec<OsString>,
    /// The host name inside
    #[arg(long, value_name = "NAME", value_parser = value::parse_hostname, allow_hyphen_values = true, help_heading = "Sandbox")]
    hostname: Option<String>,
    /// Call the sandbox NAME
    #[arg(long, value_name = "NAME", value_parser = value::parse_sandbox_name, allow_hyphen_values = true, help_heading = "Sandbox")]
    name: Option<String>,
    /// Hand over descriptor N, 3 or above
    #[arg(long = "keep-fd", value_name = "N", value_parser = descriptor, allow_negative_numbers = true, help_heading = "Sandbox")]
    keep_fds: Vec<i32>,
    /// End when the process that started sbx ends
    #[arg(long, help_heading = "Sandbox")]
    die_with_parent: bool,

    #[command(flatten)]
    messages: Messages,
    /// Write JSON lines about the run to descriptor N
    #[arg(long, value_name = "N", value_parser = descriptor, allow_negative_numbers = true, help_heading = "Messages")]
    status_fd: Option<i32>,
    /// Say at the end what was used
    #[arg(long, help_heading = "Messages")]
    report: bool,
}

impl RunOptions {
    /// The invocation; `matches` still knows the order of the path options.
    pub(super) fn into_invocation(
        self,
        matches: &ArgMatches,
        command: Vec<OsString>,
    ) -> Result<(Invocation, Output), UsageError> {
        let paths = self.paths(matches)?;
        let env = self.env.iter().map(|text| env_flag(text)).collect::<Result<_, _>>()?;
        let invocation = Invocation {
            profiles: self.profiles,
            set: self.set,
            paths,
            root: self.root,
            layers: self.layers,
            cwd: self.cwd,
            chdir: self.chdir,
            net: self.net,
            allow_hosts: self.allow_hosts,
            publish: self.publish,
            memory: self.memory,
            swap: self.swap,
            cpus: self.cpus,
            pids: self.pids,
            timeout: self.timeout,
            env,
            hostname: self.hostname,
            name: self.name,
            keep_fds: self.keep_fds,
            die_with_parent: self.die_with_parent,
            strict: self.strict,
            status_fd: self.status_fd,
            report: self.report,
            command,
        };
        Ok((invocation, self.messages.output()))
    }

    /// The path options of every kind, in the order typed.
    fn paths(&self, matches: &ArgMatches) -> Result<Vec<PathFlag>, UsageError> {
        let kinds = [
            ("ro", EntryKind::Read, &self.ro),
            ("rw", EntryKind::Write, &self.rw),
            ("hide", EntryKind::Hide, &self.hide),
            ("tmpfs", EntryKind::Tmpfs, &self.tmpfs),
            ("overlay", EntryKind::Overlay, &self.overlay),
        ];
        let mut flags = Vec::new();
        for (name, kind, typed) in kinds {
            for (index, text) in matches.indices_of(name).into_iter().flatten().zip(typed) {
                flags.push((index, path_flag(name, kind, text)?));
            }
        }
        flags.sort_by_key(|(index, _)| *index);
        Ok(flags.into_iter().map(|(_, flag)| flag).collect())
    }
}

/// `P[:DEST]`, with `\:` for a colon in either.
fn path_flag(name: &str, kind: EntryKind, typed: &OsStr) -> Result<PathFlag, UsageError> {
    let mut parts = vec![Vec::new()];
    let mut bytes = typed.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if bytes.peek() == Some(&b':') => {
                parts.last_mut().into_iter().for_each(|part| part.push(b':'))
            }
            b':' if matches!(kind, EntryKind::Read | EntryKind::Write) => {
                parts.push(Vec::new());
                continue;
            }
            byte => {
                parts.last_mut().into_iter().for_each(|part| part.push(byte));
                continue;
            }
        }
        bytes.next();
    }
    let bad = |why: &str| {
        Err(UsageError::BadValue {
            option: format!("--{name}"),
            value: typed.to_owned(),
            why: why.to_owned(),
        })
    };
    let mut parts = parts.into_iter().map(|part| PathBuf::from(OsString::from_vec(part)));
    let (path, dest) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        return bad("there is more than one `:`; write `\\:` for a colon in a path");
    }
    if path.as_os_str().is_empty() || dest.as_ref().is_some_and(|dest| dest.as_os_str().is_empty()) {
        return bad("a path is empty");
    }
    Ok(PathFlag { kind, typed: typed.to_owned(), path, dest })
}

pub(super) fn env_flag(typed: &OsStr) -> Result<EnvFlag, UsageError> {
    let bytes = typed.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    let (name, value) = match equals {
        Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
        None => (bytes, None),
    };
    if name.is_empty() {
        let why = "a variable has no name".to_owned();
        return Err(UsageError::BadValue { option: "--env".to_owned(), value: typed.to_owned(), why });
    }
    Ok(EnvFlag { name: OsStr::from_bytes(name).to_owned(), value })
}

fn one_of<T>(text: &str, from_word: fn(&str) -> Option<T>, words: &[&str]) -> Result<T, String> {
    from_word(text).ok_or_else(|| format!("{} is not one of {}", quote(text), words.join(", ")))
}

fn cwd_mode(text: &str) -> Result<CwdMode, String> {
    one_of(text, CwdMode::from_word, CwdMode::WORDS)
}

fn network_mode(text: &str) -> Result<NetworkMode, String> {
    one_of(text, NetworkMode::from_word, NetworkMode::WORDS)
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "it is not a whole number above 0".to_owned())
}

fn descriptor(text: &str) -> Result<i32, String> {
    text.parse().ok().filter(|fd| *fd >= 0).ok_or_else(|| "it is not the number of a descriptor".to_owned())
}

fn cpus(text: &str) -> Result<f64, String> {
    check_cpus(text.parse().map_err(|_| format!("{} is not a number", quote(text)))?)
}

fn memory(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text).and_then(check_memory)
}

fn timeout(text: &str) -> Result<Duration, String> {
    match value::parse_duration(text)? {
        Duration::ZERO => Err("a command needs more time than none".to_owned()),
        duration => Ok(duration),
    }
}
