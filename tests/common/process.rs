//! What `/proc` says about a process. The parsers also take text that was read inside a sandbox.

use libtest_mimic::Failed;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The process that runs the tests.
pub fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// `/proc/PID/status`.
#[derive(Clone, Debug)]
pub struct Status(BTreeMap<String, String>);

impl Status {
    /// Reads it.
    pub fn of(pid: i32) -> Result<Self, Failed> {
        Ok(Self::parse(&read(pid, "status")?))
    }

    /// Takes apart what was read elsewhere.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    /// One line's value, such as `State`.
    pub fn field(&self, key: &str) -> Result<&str, Failed> {
        self.0.get(key).map(String::as_str).ok_or_else(|| format!("no field {key} in the status").into())
    }

    /// A line of decimal numbers, such as `Uid`, `Groups`, `NSpid`, `Seccomp` or `NoNewPrivs`.
    pub fn numbers(&self, key: &str) -> Result<Vec<u64>, Failed> {
        let value = self.field(key)?;
        value
            .split_whitespace()
            .map(|word| Ok(word.parse().map_err(|_| format!("{key}: {value}"))?))
            .collect()
    }

    /// The first of a line of decimal numbers.
    pub fn number(&self, key: &str) -> Result<u64, Failed> {
        self.numbers(key)?.first().copied().ok_or_else(|| format!("no number in {key}").into())
    }

    /// The five capability sets: inheritable, permitted, effective, bounding, ambient.
    pub fn capabilities(&self) -> Result<[u64; 5], Failed> {
        let set = |key| -> Result<u64, Failed> {
            let value = self.field(key)?;
            Ok(u64::from_str_radix(value, 16).map_err(|_| format!("{key}: {value}"))?)
        };
        Ok([set("CapInh")?, set("CapPrm")?, set("CapEff")?, set("CapBnd")?, set("CapAmb")?])
    }
}

/// One line of `/proc/PID/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount's number.
    pub id: u32,
    /// The number of the mount that it sits on.
    pub parent: u32,
    /// What of the file system is mounted.
    pub root: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The mount's own options: `ro`, `nosuid`, …
    pub options: Vec<String>,
    /// Propagation: `shared:N`, `master:N`, or nothing for a private mount.
    pub propagation: Vec<String>,
    /// The file system's type.
    pub kind: String,
    /// Its source.
    pub source: String,
    /// The file system's options: `size=`, `mode=`, …
    pub super_options: Vec<String>,
}

impl Mount {
    /// Reads the mounts that a process sees, lowest first.
    pub fn all_of(pid: i32) -> Result<Vec<Self>, Failed> {
        Self::parse(&read(pid, "mountinfo")?)
    }

    /// Takes apart what was read elsewhere.
    pub fn parse(text: &str) -> Result<Vec<Self>, Failed> {
        text.lines()
            .map(|line| Self::line(line).ok_or_else(|| format!("odd mountinfo line: {line}").into()))
            .collect()
    }

    fn line(line: &str) -> Option<Self> {
        let words = |text: &str| text.split(',').map(str::to_owned).collect();
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ');
        let mut right = right.split(' ');
        Some(Self {
            id: left.next()?.parse().ok()?,
            parent: left.next()?.parse().ok()?,
            root: {
                left.next()?;
                unescape(left.next()?)
            },
            target: unescape(left.next()?).into(),
            options: words(left.next()?),
            propagation: left.map(str::to_owned).collect(),
            kind: right.next()?.to_owned(),
            source: unescape(right.next()?),
            super_options: words(right.next()?),
        })
    }

    /// Whether the mount has this option of its own.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// A resource limit, soft and hard; `None` is unlimited.
pub type Limit = (Option<u64>, Option<u64>);

/// `/proc/PID/limits` by name (`Max open files`).
pub fn limits(pid: i32) -> Result<BTreeMap<String, Limit>, Failed> {
    Ok(parse_limits(&read(pid, "limits")?))
}

/// Takes apart limits that were read elsewhere.
pub fn parse_limits(text: &str) -> BTreeMap<String, Limit> {
    let line = |line: &str| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut values = rest.split_whitespace().map(|word| word.parse().ok());
        Some((name.trim().to_owned(), (values.next()?, values.next()?)))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// `/proc/PID/environ`.
pub fn environ(pid: i32) -> Result<BTreeMap<OsString, OsString>, Failed> {
    let path = format!("/proc/{pid}/environ");
    let bytes = fs::read(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let variables = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((OsString::from_vec(entry[..at].to_vec()), OsString::from_vec(entry[at + 1..].to_vec())))
    });
    Ok(variables.collect())
}

/// `/proc/PID/ns`: each namespace's name with its identity, such as `net` with `net:[4026531840]`.
pub fn namespaces(pid: i32) -> Result<BTreeMap<String, String>, Failed> {
    links(&format!("/proc/{pid}/ns"))
}

/// `/proc/PID/fd`: each open descriptor with what it refers to.
pub fn descriptors(pid: i32) -> Result<BTreeMap<String, String>, Failed> {
    links(&format!("/proc/{pid}/fd"))
}

fn links(dir: &str) -> Result<BTreeMap<String, String>, Failed> {
    let entries = fs::read_dir(dir).map_err(|error| format!("cannot read {dir}: {error}"))?;
    let mut found = BTreeMap::new();
    for entry in entries.flatten() {
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            // Closed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read {dir}: {error}").into()),
        };
        found.insert(entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned());
    }
    Ok(found)
}

/// The processes that descend from this one, nearest first, itself left out.
pub fn descendants(pid: i32) -> Vec<i32> {
    let everybody: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(everybody.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything: the fields that count come after the last bracket.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// A process and its descendants, one line each, for a failure's text.
pub(super) fn tree_text(pid: i32) -> String {
    let mut text = String::new();
    for pid in std::iter::once(pid).chain(descendants(pid)) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let state = Status::of(pid).ok().and_then(|status| status.field("State").ok().map(str::to_owned));
        let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        let _ = writeln!(
            text,
            "    {pid} {} {place} {}",
            state.unwrap_or_default(),
            super::text::plain(line.trim())
        );
    }
    text
}

fn read(pid: i32, name: &str) -> Result<String, Failed> {
    let path = format!("/proc/{pid}/{name}");
    Ok(fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?)
}
