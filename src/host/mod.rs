//! The machine as a plan needs to know it. [`probe`] is the only place that reads the environment and looks at
//! the filesystem before a plan exists.
#![forbid(unsafe_code)]

mod arguments;
pub mod cgroups;
mod command;
mod desktop;
mod error;
mod fuse;
mod look;
mod subordinate;
mod toolchains;
mod user;
mod xauthority;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::image::{ImageError, Store};

pub use crate::image::Image;
pub use arguments::NamedFile;
pub use cgroups::{Ceiling, Cgroups, Manager, WantedCgroups};
pub use desktop::{Desktop, DesktopParts, DeviceNode, X11Display};
pub use error::HostError;
pub use fuse::{FUSE_OVERLAYFS, FuseOverlayfs};
pub use subordinate::{IdRanges, SubordinateIds};
pub use toolchains::{Toolchain, ToolchainKind, ToolchainPlace};

pub use command::{ELF_HEADER, elf_machine, find_command, is_executable, is_foreign_elf};

/// Entries of `/etc` that programs of every kind need and that say nothing of the user: the loader, names, time zone,
/// certificates, fonts. `passwd`, `group`, `hosts`, `hostname`, `resolv.conf` and `machine-id` are made anew for each sandbox;
/// what only shells or desktop programs read belongs to their profiles. Each entry costs every start a few microseconds.
pub const ETC_ENTRIES: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "alternatives",
    "localtime",
    "timezone",
    "locale.alias",
    "locale.conf",
    "nsswitch.conf",
    "host.conf",
    "gai.conf",
    "protocols",
    "services",
    "shells",
    "bash.bashrc",
    "bashrc",
    "profile",
    "inputrc",
    "mime.types",
    "os-release",
    "debian_version",
    "redhat-release",
    "static",
    "fonts",
    "ssl",
    "pki",
    "ca-certificates/extracted",
    "crypto-policies",
    "gnutls",
    "pkcs11",
];

/// Names directly below `/` that may be links into `/usr`.
const SYSTEM_ENTRIES: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Stores of package managers that links in `/etc` and `/run` lead into, and the links.
const STORES: &[&str] = &["/nix/store", "/gnu/store", "/run/current-system", "/run/opengl-driver"];

/// A name below `/` or `/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A symbolic link, and what it says.
    Link(PathBuf),
    /// A regular file that everybody may read, of at most some hundred KiB.
    SmallFile,
    /// Anything else.
    Real,
}

/// The working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkingDirectory {
    /// Its path without symlinks.
    Known(PathBuf),
    /// It was removed.
    Deleted,
    /// It or one above it can't be read.
    Unreadable(i32),
}

/// What a plan needs to know of the machine and the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The caller's uid.
    pub uid: u32,
    /// The caller's gid.
    pub gid: u32,
    /// The caller's name, `user` when the machine has none.
    pub user: String,
    /// `$HOME`, else the home directory of the user database.
    pub home: Option<PathBuf>,
    /// Every spelling of the home directory, symlinks resolved: of `$HOME` and of the user database.
    pub real_homes: Vec<PathBuf>,
    /// The working directory.
    pub cwd: WorkingDirectory,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// The same, or else the directory that logins of this user have: where sandboxes are registered.
    pub session_dir: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME` or its default.
    pub config_home: Option<PathBuf>,
    /// `$XDG_DATA_HOME` or its default.
    pub data_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME` or its default.
    pub state_home: Option<PathBuf>,
    /// The user's downloads directory.
    pub downloads: Option<PathBuf>,
    /// Those of `/bin`, `/lib` and their like that exist.
    pub system: Vec<(&'static str, Entry)>,
    /// Those of [`ETC_ENTRIES`] that exist.
    pub etc: Vec<(&'static str, Entry)>,
    /// Package stores that exist.
    pub stores: Vec<(&'static str, Entry)>,
    /// What `/etc/resolv.conf` holds.
    pub resolv_conf: Vec<u8>,
    /// What `/etc/hosts` holds.
    pub hosts: Vec<u8>,
    /// The version of Landlock's interface, 0 for none.
    pub landlock_abi: u32,
    /// How many inotify instances, and files that they watch, all programs of the user together may have.
    pub watches: Option<(u64, u64)>,
    /// Paths of `/proc` that are about the machine and that no program needs.
    pub private_proc: Vec<&'static str>,
    /// Paths of `/proc` that uid 0 may write although they act on the whole machine.
    pub writable_proc: Vec<&'static str>,
    /// The desktop, for profiles that ask for it.
    pub desktop: Option<Desktop>,
    /// Toolchains in the home directory that the profile asks for.
    pub toolchains: Vec<Toolchain>,
    /// Files named on the command line, for profiles that show them.
    pub named_files: Vec<NamedFile>,
    /// The image that is the root filesystem, for plans that want one.
    pub image: Option<Image>,
    /// Cgroups, for plans that want one.
    pub cgroups: Option<Cgroups>,
    /// The caller's subordinate ids, for profiles that map them.
    pub subordinate: SubordinateIds,
    /// What there is of `fuse-overlayfs`, for profiles that have overlays by it.
    pub fuse_overlayfs: Option<FuseOverlayfs>,
}

/// What more a plan needs to know, by what its profile asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Parts of the desktop.
    pub desktop: DesktopParts,
    /// Kinds of toolchains.
    pub toolchains: Vec<&'static ToolchainKind>,
    /// The command's words, where files among them are to be found.
    pub command: Vec<OsString>,
    /// The image of that name.
    pub image: Option<String>,
    /// Cgroups.
    pub cgroups: Option<WantedCgroups>,
    /// Subordinate ids.
    pub subordinate: bool,
    /// `fuse-overlayfs`.
    pub fuse_overlayfs: bool,
}

impl Host {
    /// Looks at what else is wanted.
    ///
    /// # Errors
    /// [`HostError`] as of [`probe`].
    pub fn look_at(&mut self, wanted: &Wanted) -> Result<(), HostError> {
        self.desktop = Some(Desktop::look(self, wanted.desktop)?);
        self.toolchains =
            wanted.toolchains.iter().map(|kind| toolchains::find(self, kind)).collect::<Result<_, _>>()?;
        let cwd = match &self.cwd {
            WorkingDirectory::Known(path) => Some(path.as_path()),
            _ => None,
        };
        self.named_files = arguments::files(&wanted.command, cwd);
        self.named_files.retain(|file| file.index > 0);
        self.look_at_cgroups(wanted.cgroups.clone());
        if wanted.subordinate {
            self.subordinate = SubordinateIds::look(self.uid)?;
        }
        self.fuse_overlayfs = wanted.fuse_overlayfs.then(FuseOverlayfs::look);
        self.look_at_image(wanted).map_err(HostError::Image)
    }

    /// Looks at cgroups, if anything of them is wanted.
    pub fn look_at_cgroups(&mut self, wanted: Option<WantedCgroups>) {
        let looked = |wanted| Cgroups::look(self.uid, self.session_dir.as_deref(), &wanted);
        self.cgroups = wanted.map(looked);
    }

    fn look_at_image(&mut self, wanted: &Wanted) -> Result<(), ImageError> {
        let Some(name) = &wanted.image else { return Ok(()) };
        let store = Store::of(self.data_home.as_deref())?;
        self.image = Some(Image::look(&store, name, wanted.subordinate)?);
        Ok(())
    }

    /// Where layers are kept.
    pub fn layers(&self) -> Option<PathBuf> {
        self.state_home.as_ref().map(|state| state.join("sbx/layers"))
    }

    /// A variable of the caller's environment.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }
}

/// What `/proc` says to everybody about the machine rather than about processes: the kernel's addresses, its command line,
/// the names of the user's keys, devices and how often they interrupt.
const PRIVATE_PROC: &[&str] = &[
    "/proc/bus",
    "/proc/cmdline",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/keys",
    "/proc/scsi",
];

/// What `/proc` says to kernel uid 0 alone, without any capability, or lets it do to the machine.
const ROOT_PRIVATE_PROC: &[&str] = &[
    "/proc/acpi",
    "/proc/irq",
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/sched_debug",
    "/proc/slabinfo",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];

/// What acts on the whole machine but is needed for reading. A process with kernel uid 0 may write there without any
/// capability (`core_pattern` is one), so a sandbox that root starts gets them read-only.
const ROOT_WRITABLE_PROC: &[&str] = &["/proc/fs", "/proc/sys"];

/// Looks at the machine and the caller.
///
/// # Errors
/// [`HostError`] where something is neither there nor absent: a sandbox without it would be another one.
pub fn probe() -> Result<Host, HostError> {
    let uid = nix::unistd::getuid().as_raw();
    let gid = nix::unistd::getgid().as_raw();
    let environment: Vec<_> = std::env::vars_os().collect();
    let absolute = |name: &str| {
        let value = environment.iter().find(|(key, _)| key == name).map(|(_, value)| PathBuf::from(value));
        value.filter(|path| path.is_absolute())
    };
    let account = user::lookup(uid)?;
    let home = absolute("HOME").or_else(|| account.as_ref().map(|account| account.home.clone()));
    let mut real_homes: Vec<PathBuf> = [home.clone(), account.as_ref().map(|account| account.home.clone())]
        .into_iter()
        .flatten()
        .filter(|path| path != Path::new("/"))
        .map(without_links)
        .collect::<Result<_, _>>()?;
    real_homes.dedup();
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let config_home = absolute("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    Ok(Host {
        uid,
        gid,
        user: account.map_or_else(|| "user".to_owned(), |account| account.name),
        real_homes,
        cwd: working_directory(),
        session_dir: session_dir(uid),
        runtime_dir: absolute("XDG_RUNTIME_DIR"),
        data_home: absolute("XDG_DATA_HOME").or_else(|| below_home(".local/share")),
        state_home: absolute("XDG_STATE_HOME").or_else(|| below_home(".local/state")),
        downloads: user::downloads(home.as_deref(), config_home.as_deref())?,
        config_home,
        home,
        environment,
        system: look::entries("/", SYSTEM_ENTRIES)?,
        etc: look::entries("/etc", ETC_ENTRIES)?,
        stores: look::entries("/", STORES)?,
        resolv_conf: look::small_file("/etc/resolv.conf")?,
        hosts: look::small_file("/etc/hosts")?,
        landlock_abi: crate::sys::landlock::abi().map_err(HostError::Landlock)?,
        watches: look::number("/proc/sys/user/max_inotify_instances")?
            .zip(look::number("/proc/sys/user/max_inotify_watches")?),
        private_proc: look::not_absent(&[PRIVATE_PROC, if uid == 0 { ROOT_PRIVATE_PROC } else { &[] }]),
        writable_proc: look::not_absent(&[if uid == 0 { ROOT_WRITABLE_PROC } else { &[] }]),
        desktop: None,
        toolchains: Vec::new(),
        named_files: Vec::new(),
        image: None,
        cgroups: None,
        subordinate: SubordinateIds::default(),
        fuse_overlayfs: None,
    })
}

/// `$XDG_RUNTIME_DIR`, or else the directory that logins of this user have.
pub fn session_dir(uid: u32) -> Option<PathBuf> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| user::runtime_dir(uid))
}

/// The path without symlinks; as it is where it does not exist. Most have none, which one call tells.
fn without_links(path: PathBuf) -> Result<PathBuf, HostError> {
    use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, &path, how) {
        Ok(_) => Ok(path.components().collect()),
        Err(_) => Ok(look::unless_absent(&path, fs::canonicalize(&path))?.unwrap_or(path)),
    }
}

fn working_directory() -> WorkingDirectory {
    // getcwd(2) says `(unreachable)/…` for a directory outside the root and ENOENT for a removed one.
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() && fs::metadata(&path).is_ok_and(|there| same_as_dot(&there)) => {
            WorkingDirectory::Known(path)
        }
        Ok(_) => WorkingDirectory::Unreadable(libc::EACCES),
        Err(nix::errno::Errno::ENOENT) => WorkingDirectory::Deleted,
        Err(errno) => WorkingDirectory::Unreadable(errno as i32),
    }
}

fn same_as_dot(there: &fs::Metadata) -> bool {
    fs::metadata(".").is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()))
}
