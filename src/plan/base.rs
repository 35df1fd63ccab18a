//! What every sandbox's root filesystem holds before a profile adds to it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::Identity;
use super::image::Asked;
use super::mount::{Access, BindSource, Content, Mount, MountOp};
use super::roots::Root;
use crate::host::{Entry, Host};
use crate::profile::{HomeMode, Nested, NetworkMode, Profile};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// Bytes of the root tmpfs: everything that a sandbox writes without a place of the host's.
pub(super) const ROOT_SIZE: u64 = 2 * GIB;
/// Files of the root tmpfs.
pub(super) const ROOT_INODES: u64 = 512 * KIB;
/// Bytes of a tmpfs that nobody gave a size.
pub(super) const TMPFS_SIZE: u64 = GIB;

/// Device nodes: name, major and minor number (Linux's devices.txt).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that programs expect in `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// A machine id that says nothing about the machine; D-Bus and PulseAudio want one that is not all zero.
const MACHINE_ID: &str = "73627800000000000000000000000001";

/// A boot id that says nothing either.
const BOOT_ID: &str = "73627800-0000-4000-8000-000000000001";

/// Directories with private keys below shared configuration. Their modes keep users out, not a sandbox of root's.
const PRIVATE_KEYS: [&str; 3] = ["/etc/ssl/private", "/etc/pki/tls/private", "/etc/pki/CA/private"];

/// A tmpfs of `size` bytes with a file for each 4 KiB, so that neither can exhaust the machine's memory.
pub(super) fn tmpfs(size: u64, mode: u32) -> MountOp {
    MountOp::Tmpfs { size, inodes: (size / (4 * KIB)).max(64), mode, access: Access::Writable }
}

/// A read-only bind of a path that must exist.
fn read_only(path: impl Into<PathBuf>) -> MountOp {
    MountOp::Bind {
        source: BindSource::Path(path.into()),
        access: Access::ReadOnly,
        devices: false,
        optional: false,
        create: None,
    }
}

/// The facts that the base is made from.
pub(super) struct Base<'a> {
    pub(super) profile: &'a Profile,
    pub(super) host: &'a Host,
    pub(super) home: &'a Path,
    pub(super) runtime_dir: &'a Path,
    pub(super) hostname: &'a str,
    pub(super) network: NetworkMode,
    pub(super) identity: &'a Identity,
    /// The user's name inside.
    pub(super) user: &'a str,
    pub(super) root: &'a Root,
    /// The image that it is of.
    pub(super) image: Option<&'a Asked<'a>>,
}

impl Base<'_> {
    /// Every mount of the base, in no particular order but for links, which come first: what lies behind one is placed by
    /// where it leads.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let mut mounts = Vec::new();
        if self.root.is_host {
            self.system(&mut mounts);
            self.etc(&mut mounts);
        }
        if let Some(overlay) = &self.root.overlay {
            mounts.push(overlay.clone());
            self.over_layers(&mut mounts);
        }
        self.kernel(&mut mounts);
        self.private(&mut mounts);
        mounts.sort_by_key(|mount| !matches!(mount.op, MountOp::Symlink { .. }));
        mounts
    }

    fn add(&self, mounts: &mut Vec<Mount>, dest: impl Into<PathBuf>, op: MountOp) {
        mounts.push(Mount { dest: dest.into(), op, origin: self.root.origin.clone() });
    }

    fn entry(&self, mounts: &mut Vec<Mount>, dest: PathBuf, entry: &Entry) {
        let op = match entry {
            Entry::Link(target) => MountOp::Symlink { target: target.clone() },
            Entry::SmallFile => MountOp::Copy { source: dest.clone(), mode: 0o644 },
            Entry::Real => read_only(dest.clone()),
        };
        self.add(mounts, dest, op);
    }

    /// `/usr`, its links, package stores.
    fn system(&self, mounts: &mut Vec<Mount>) {
        self.add(mounts, "/usr", read_only("/usr"));
        for (name, entry) in self.host.system.iter().chain(&self.host.stores) {
            self.entry(mounts, Path::new("/").join(name), entry);
        }
    }

    /// The curated `/etc`: what [`crate::host::ETC_ENTRIES`] lists, and files made for this sandbox.
    fn etc(&self, mounts: &mut Vec<Mount>) {
        for (name, entry) in &self.host.etc {
            let dest = Path::new("/etc").join(name);
            match entry {
                // A link to where the sandbox has the same thing stays a link: its text is read for the time zone's name.
                Entry::Link(target) if !stays_inside(target) => self.entry(mounts, dest, &Entry::Real),
                _ => self.entry(mounts, dest, entry),
            }
        }
        let mut file = |name: &str, bytes: Vec<u8>| {
            let op = MountOp::File { content: Content::Bytes(bytes), mode: 0o644 };
            self.add(mounts, Path::new("/etc").join(name), op);
        };
        for (name, bytes) in self.accounts() {
            file(name, bytes);
        }
        file("machine-id", format!("{MACHINE_ID}\n").into());
        for (name, bytes) in self.network_files() {
            file(name, bytes);
        }
        if self.host.uid == 0 {
            for path in PRIVATE_KEYS {
                self.add(mounts, path, MountOp::Mask);
            }
        }
    }

    /// What a root of layers has of this sandbox's own, mounted over what it holds: nothing of it is written there.
    fn over_layers(&self, mounts: &mut Vec<Mount>) {
        let accounts = self.profile.filesystem.accounts.value.then(|| self.accounts());
        for (name, bytes) in self.network_files().into_iter().chain(accounts.into_iter().flatten()) {
            let content = Content::Bytes(bytes);
            let op = MountOp::Data { content, mode: 0o644, access: Access::Writable };
            self.add(mounts, Path::new("/etc").join(name), op);
        }
        self.add(mounts, "/dev", tmpfs(TMPFS_SIZE, 0o755));
        for (path, mode) in [("/tmp", 0o1777), ("/run", 0o755)] {
            self.add(mounts, path, tmpfs(TMPFS_SIZE, mode));
        }
    }

    /// The user database: the payload's own user, and nobody.
    fn accounts(&self) -> [(&'static str, Vec<u8>); 2] {
        let (user, home) = (self.user, crate::diag::escape(self.home));
        let (uid, gid) = self.identity.of_payload();
        let nobodys = nobody(uid, "nobody:x:65534:65534:nobody:/:/bin/false\n");
        let nogroup = nobody(gid, "nogroup:x:65534:\n");
        // Who has become another is not root any more.
        let beside =
            |id: u32, line: &'static str| if self.identity.runs_as.is_some() && id != 0 { line } else { "" };
        let (root, roots) = (beside(uid, "root:x:0:0:root:/:/bin/sh\n"), beside(gid, "root:x:0:\n"));
        [
            ("passwd", format!("{root}{user}:x:{uid}:{gid}:{user}:{home}:/bin/sh\n{nobodys}").into()),
            ("group", format!("{roots}{user}:x:{gid}:\n{nogroup}").into()),
        ]
    }

    /// Files of `/etc` about this host and its network.
    fn network_files(&self) -> [(&'static str, Vec<u8>); 3] {
        let name = self.hostname;
        let (resolv_conf, hosts) = match self.network {
            NetworkMode::Host => (self.host.resolv_conf.clone(), self.host.hosts.clone()),
            _ => (
                b"# This sandbox has no network.\n".to_vec(),
                format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback {name}\n")
                    .into(),
            ),
        };
        [("hostname", format!("{name}\n").into()), ("hosts", hosts), ("resolv.conf", resolv_conf)]
    }

    /// `/proc` and `/dev`.
    fn kernel(&self, mounts: &mut Vec<Mount>) {
        self.add(mounts, "/proc", MountOp::Proc);
        for path in &self.host.writable_proc {
            self.add(mounts, *path, MountOp::ReadOnly);
        }
        // The kernel makes no procfs in a nested namespace where something is mounted over the one around it.
        if self.profile.namespaces.nested.value != Nested::Full {
            for path in &self.host.private_proc {
                self.add(mounts, *path, MountOp::Mask);
            }
            let content = Content::Bytes(format!("{BOOT_ID}\n").into());
            let op = MountOp::Data { content, mode: 0o444, access: Access::ReadOnly };
            self.add(mounts, "/proc/sys/kernel/random/boot_id", op);
        }
        let dev = Path::new("/dev");
        for (name, major, minor) in DEVICES {
            self.add(mounts, dev.join(name), MountOp::Device { source: dev.join(name), major, minor });
        }
        for (name, target) in DEVICE_LINKS {
            self.add(mounts, dev.join(name), MountOp::Symlink { target: target.into() });
        }
        self.add(mounts, "/dev/pts", MountOp::Devpts);
        self.add(mounts, "/dev/shm", MountOp::Private { mode: 0o1777 });
        self.add(mounts, "/dev/mqueue", MountOp::Mqueue);
    }

    /// What is empty and the sandbox's own: `/tmp`, `/run`, the runtime directory, the home directory.
    fn private(&self, mounts: &mut Vec<Mount>) {
        if self.root.overlay.is_none() {
            self.add(mounts, "/tmp", MountOp::Private { mode: 0o1777 });
            self.add(mounts, "/run", MountOp::Private { mode: 0o755 });
            self.add(mounts, "/var/tmp", MountOp::Private { mode: 0o1777 });
            self.add(mounts, "/var/run", MountOp::Symlink { target: "/run".into() });
        }
        self.add(mounts, self.runtime_dir, MountOp::Dir { mode: 0o700 });
        let home = &self.profile.home;
        let op = match (home.value, &self.host.data_home) {
            (HomeMode::Private, Some(data)) => MountOp::Bind {
                source: BindSource::Path(data.join("sbx/home").join(&self.profile.name)),
                access: Access::Writable,
                devices: false,
                optional: false,
                create: Some(0o700),
            },
            _ if self.root.overlay.is_some() => tmpfs(TMPFS_SIZE, 0o700),
            _ => MountOp::Private { mode: 0o700 },
        };
        mounts.push(Mount { dest: self.home.to_owned(), op, origin: home.origin.clone() });
    }
}

/// Whether a link in `/etc` leads to something that every sandbox has.
fn stays_inside(target: &Path) -> bool {
    let target = Path::new("/etc").join(target);
    let mut parts = Vec::new();
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => drop(parts.pop()),
            std::path::Component::Normal(name) => parts.push(name),
            _ => {}
        }
    }
    parts.first().is_some_and(|first| *first == "usr" || *first == "proc")
        || parts.starts_with(&["nix".as_ref(), "store".as_ref()])
        || parts.starts_with(&["gnu".as_ref(), "store".as_ref()])
}

/// The line of the overflow id, unless the user has that id.
fn nobody(id: u32, line: &str) -> &str {
    if id == 65534 { "" } else { line }
}
