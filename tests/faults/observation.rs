//! What the payload sees of its sandbox, as sorted lines that are the same in every run.

use crate::common::process::{Mount, Status, namespaces, own_pid};
use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The first argument of the payload.
pub(crate) const WORD: &str = "--observe";

/// What the payload ends with.
pub(crate) const CODE: u8 = 7;

/// The lines of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observation(BTreeSet<String>);

/// To be called first in `main`: where this program is the payload, looks around and writes down what there is, at once.
pub(crate) fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let mut lines = Lines::default();
    lines.process();
    lines.places();
    lines.files();
    lines.attempts(&arguments.next().unwrap_or_default());
    let text = lines.0.join("\n");
    Some(if std::io::stdout().write_all(text.as_bytes()).is_ok() { CODE.into() } else { ExitCode::FAILURE })
}

impl Observation {
    /// From what the payload wrote; namespaces become the host's or other ones.
    pub(crate) fn parse(text: &str) -> Result<Self, Failed> {
        let hosts = namespaces(own_pid())?;
        let line = |line: &str| match line.strip_prefix("namespace ").and_then(|rest| rest.split_once(' ')) {
            Some((name, own)) if hosts.get(name).is_some_and(|host| host == own) => {
                format!("namespace {name}: the host's")
            }
            Some((name, _)) => format!("namespace {name}: another"),
            None => line.to_owned(),
        };
        Ok(Self(text.lines().map(line).collect()))
    }

    /// What differs in a later one: `-` is gone, `+` is new.
    pub(crate) fn difference(&self, later: &Self) -> Vec<String> {
        let gone = self.0.difference(&later.0).map(|line| format!("- {line}"));
        let new = later.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

/// An overlay's directories are told as `/proc/self/fd/N`: any number will do.
fn without_descriptors(option: &str) -> String {
    let mut parts = option.split("/proc/self/fd/");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "a descriptor" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, what: &str, found: impl Debug) {
        self.0.push(format!("{what}: {found:?}"));
    }

    fn text(&mut self, path: &str) {
        self.add(path, fs::read_to_string(path).map_err(|error| error.raw_os_error()));
    }

    /// What the kernel says of this process.
    fn process(&mut self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let status = Status::parse(&status);
        for key in [
            "Uid",
            "Gid",
            "Groups",
            "NSpid",
            "NSpgid",
            "NSsid",
            "Umask",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
            "Seccomp_filters",
            "SigIgn",
            "SigBlk",
            "SigCgt",
            "TracerPid",
            "Threads",
        ] {
            self.add(key, status.field(key).ok());
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let behind_the_name = stat.rsplit(')').next().unwrap_or_default();
        self.add("nice", behind_the_name.split_whitespace().nth(16));
        for (name, limit) in crate::common::process::limits(own_pid()).unwrap_or_default() {
            self.add(&name, limit);
        }
        for name in ["cgroup", "timens_offsets", "uid_map", "gid_map", "setgroups"] {
            self.text(&format!("/proc/self/{name}"));
        }
        for (name, own) in namespaces(own_pid()).unwrap_or_default() {
            self.0.push(format!("namespace {name} {own}"));
        }
        for (fd, target) in crate::common::process::descriptors(own_pid()).unwrap_or_default() {
            let target = target.split('[').next().unwrap_or_default().to_owned();
            // The one that lists them.
            if !target.ends_with("/fd") {
                self.add(&format!("descriptor {fd}"), target);
            }
        }
        for (name, value) in std::env::vars() {
            self.add(&format!("variable {name}"), value);
        }
        let arguments = fs::read_to_string("/proc/1/cmdline").map_err(|error| error.kind());
        // Overwritten with as many zeroes as there were letters.
        self.add("arguments of init", arguments.map(|text| text.trim_end_matches('\0').to_owned()));
        self.add("environment of init", fs::read("/proc/1/environ").map(drop).map_err(|error| error.kind()));
        self.add("session of init", nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(1))));
    }

    /// Mounts without their numbers, names, limits.
    fn places(&mut self) {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut stacked: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for mount in Mount::parse(&text).unwrap_or_default() {
            let height = stacked.entry(mount.target.clone()).or_default();
            *height += 1;
            let propagation: Vec<_> =
                mount.propagation.iter().map(|word| word.split(':').next().unwrap_or_default()).collect();
            let (target, root, source) = (mount.target.display(), &mount.root, &mount.source);
            // The kernel gives an overlay's first mount an id where it can, later ones not always.
            let options = mount.super_options.iter().filter(|option| !option.starts_with("uuid="));
            let options: Vec<_> = options.map(|option| without_descriptors(option)).collect();
            let own = (mount.options, propagation, mount.kind, options);
            self.add(&format!("mount {target}, {height}, of {root} in {source}"), own);
        }
        self.add("directory", std::env::current_dir().map_err(|error| error.kind()));
        self.add("host name", nix::unistd::gethostname());
        for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
            self.text(&format!("/proc/sys/user/max_{name}_namespaces"));
        }
    }

    /// What is in the directories that are made.
    fn files(&mut self) {
        let home = std::env::var("HOME").unwrap_or_default();
        for dir in ["/", "/etc", "/dev", "/run", "/tmp", &home, "."] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(meta) = path.symlink_metadata() else { continue };
                let size = if meta.is_file() { meta.len() } else { 0 };
                let (mode, owner) = (meta.permissions().mode(), (meta.uid(), meta.gid()));
                self.add(
                    &format!("entry {}", path.display()),
                    (mode, owner, size, fs::read_link(&path).ok()),
                );
            }
        }
        self.text("kept");
        self.text(".env");
    }

    /// What this process may do.
    fn attempts(&mut self, address: &str) {
        for dir in ["/", "/usr", "/etc", "/dev", "/tmp", "."] {
            let path = Path::new(dir).join("made");
            self.add(&format!("a file in {dir}"), fs::write(&path, "").map_err(|error| error.raw_os_error()));
            let _ = fs::remove_file(path);
        }
        self.add(
            "write kept",
            fs::OpenOptions::new().append(true).open("kept").map(drop).map_err(|error| error.kind()),
        );
        let loopback = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?));
        self.add("loopback", loopback.map(drop).map_err(|error| error.kind()));
        let abstract_socket = SocketAddr::from_abstract_name(address)
            .and_then(|address| UnixDatagram::unbound()?.connect_addr(&address));
        self.add("the host's abstract socket", abstract_socket.map_err(|error| error.raw_os_error()));
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        self.add("mount", nix::mount::mount(none, "/tmp", Some("tmpfs"), flags, none));
        self.add("host name set", nix::unistd::sethostname("other"));
        self.add("mount namespace", unshare(CloneFlags::CLONE_NEWNS));
        // Last: it would change what this process may do.
        self.add("user namespace", unshare(CloneFlags::CLONE_NEWUSER));
        self.add("mount namespace in it", unshare(CloneFlags::CLONE_NEWNS));
    }
}
