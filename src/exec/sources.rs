//! Sources of the host's, resolved outside and before anything is made: each becomes a path without links, which the
//! inside then opens with links forbidden, so that no path is resolved through a link twice. A link that a sandbox of
//! this plan could have planted is refused by name (CVE-2024-42472, CVE-2026-34078).
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::ExecError;
use super::changed::Changed;
use super::changes::Under;
use super::kept::Kept;
use super::walk::{self, PathBuffer, Stop};
use crate::plan::{Access, BindSource, MountOp, OverlayUpper, Plan};
use crate::profile::OverlayDriver;
use crate::sys::{mount, process};

/// A file's identity on this machine.
pub(super) type FileId = (u64, u64);

/// A source that exists.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its path, without links.
    pub(super) path: CString,
    /// The same path in two: sources often share a directory, which then is opened once.
    pub(super) parent: CString,
    /// See above; empty for the root.
    pub(super) name: CString,
    /// Whether it is a directory.
    pub(super) is_dir: bool,
    /// What the inside must find there, when the plan named a descriptor.
    pub(super) expect: Option<FileId>,
}

impl Source {
    pub(super) fn new(path: &Path, is_dir: bool, expect: Option<FileId>) -> Result<Self, std::ffi::NulError> {
        let text = |part: &OsStr| CString::new(part.as_bytes());
        Ok(Self {
            path: text(path.as_os_str())?,
            parent: text(path.parent().unwrap_or(path).as_os_str())?,
            name: text(path.file_name().unwrap_or_default())?,
            is_dir,
            expect,
        })
    }

    /// A file of the system's that is opened inside only, where it must be what the plan says.
    pub(super) fn unseen(path: &Path) -> Result<Self, std::ffi::NulError> {
        Self::new(path, false, None)
    }
}

/// A link that was followed on the way to a source.
struct Link {
    mount: usize,
    path: PathBuf,
    /// Every directory above it, as files.
    above: Vec<FileId>,
}

/// Resolves the sources of one plan.
pub(super) struct Resolver<'a> {
    plan: &'a Plan,
    host_root: OwnedFd,
    links: Vec<Link>,
    /// Directories that this plan lets the sandbox write.
    writable: Vec<(usize, FileId)>,
    /// The directory of the last source, which no link leads to.
    last: Option<(PathBuf, OwnedFd)>,
    /// Directories whose changes are kept apart.
    under: Vec<Under>,
    taken: Taken,
}

/// What was taken, and made, on the way.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Layers that nobody else may write meanwhile.
    pub(super) layers: Vec<Kept>,
    /// Directories whose changes are kept apart, without links in their paths.
    pub(super) under: Vec<PathBuf>,
    /// What is not as it was wanted.
    pub(super) misses: Vec<String>,
}

impl Taken {
    /// What the run has changed, by layers.
    pub(super) fn changed(&self) -> Vec<Changed> {
        self.layers.iter().filter_map(Changed::of).collect()
    }
}

/// What is told of a layer that is not in memory.
const UNBOUNDED: &str = "the writable layer is on disk and without bounds until the end: this kernel's tmpfs can't hold it \
                         (Linux before 6.6)";

pub(super) fn id(status: &FileStat) -> FileId {
    (status.st_dev, status.st_ino)
}

/// The directory itself and all above it, as files, as far as they exist.
pub(super) fn ids_above(path: &Path) -> impl Iterator<Item = FileId> + '_ {
    path.ancestors().filter_map(|above| nix::sys::stat::stat(above).ok()).map(|status| id(&status))
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

impl<'a> Resolver<'a> {
    pub(super) fn new(plan: &'a Plan) -> Result<Self, ExecError> {
        let root = walk::open_source(c"/")
            .map_err(|errno| ExecError::Outside { what: "open the root directory", errno })?;
        Ok(Self {
            plan,
            host_root: root,
            links: Vec::new(),
            writable: Vec::new(),
            last: None,
            under: Vec::new(),
            taken: Taken::default(),
        })
    }

    pub(super) fn missing(&self, mount: usize, path: &Path, errno: Errno) -> ExecError {
        ExecError::Source { path: path.to_owned(), errno, origin: self.plan.mounts[mount].origin.clone() }
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// What its overlays are.
    pub(super) fn driver(&self) -> OverlayDriver {
        match self.plan.overlay_server {
            None => OverlayDriver::Kernel,
            Some(_) => OverlayDriver::FuseOverlayfs,
        }
    }

    /// The plan's root filesystem.
    pub(super) fn root(&self) -> &'a crate::plan::Root {
        &self.plan.root
    }

    /// The source of a mount of the plan; nothing for an optional one that is missing.
    pub(super) fn resolve(
        &mut self,
        mount: usize,
        source: &BindSource,
        access: Access,
    ) -> Result<Option<Source>, ExecError> {
        let (optional, create) = match &self.plan.mounts[mount].op {
            MountOp::Bind { optional, create, .. } => (*optional, *create),
            MountOp::Overlay { upper: OverlayUpper::Changes { optional, .. }, .. } => (*optional, None),
            _ => (false, None),
        };
        let (path, expect) = match source {
            BindSource::Path(path) => (path.clone(), None),
            BindSource::Fd(fd) => {
                let (path, id) =
                    path_of_descriptor(*fd).map_err(|errno| ExecError::descriptor(*fd, errno))?;
                (path, Some(id))
            }
        };
        if let Some(mode) = create {
            make_directory(&path, mode).map_err(|error| self.missing(mount, &path, errno_of(&error)))?;
        }
        let (canonical, status) = match self.open(mount, &path) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR) if optional => return Ok(None),
            Err(errno) => return Err(self.missing(mount, &path, errno)),
        };
        if access == Access::Writable {
            if create.is_none() {
                self.check_guarded(mount, &canonical, &status)?;
            }
            self.writable.push((mount, id(&status)));
        }
        Source::new(&canonical, kind(&status) == SFlag::S_IFDIR, expect)
            .map_err(|_| self.missing(mount, &path, Errno::EINVAL))
            .map(Some)
    }

    /// Opens `path` and says what it is called without links, and what it is; remembers each link on the way.
    fn open(&mut self, mount: usize, path: &Path) -> Result<(PathBuf, FileStat), Errno> {
        match self.look(path) {
            Ok(status) if kind(&status) != SFlag::S_IFLNK => return Ok((path.to_owned(), status)),
            Ok(_) | Err(Errno::ELOOP) => {}
            Err(errno) => return Err(errno),
        }
        let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let mut canonical = PathBuffer::new();
        let mut met = Vec::new();
        let mut remember = |_: std::os::fd::BorrowedFd<'_>, directory: &PathBuffer| {
            met.push(PathBuf::from("/").join(OsStr::from_bytes(directory.as_bytes())));
            true
        };
        match walk::canonicalize(self.host_root.as_fd(), &text, &mut canonical, &mut remember) {
            Ok(()) => {}
            Err(Stop::Errno(errno)) => return Err(errno),
            Err(Stop::Untrusted) => return Err(Errno::ELOOP),
        }
        for directory in met {
            self.links.push(Link { mount, above: ids_above(&directory).collect(), path: directory });
        }
        let canonical = PathBuf::from("/").join(OsStr::from_bytes(canonical.as_bytes()));
        let text = CString::new(canonical.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let status = fstat(walk::open_source(&text)?)?;
        Ok((canonical, status))
    }

    /// What a path leads to when no link is followed; `ELOOP` for one on the way.
    fn look(&mut self, path: &Path) -> Result<FileStat, Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return fstat(&self.host_root);
        };
        if self.last.as_ref().is_none_or(|(last, _)| last.as_os_str() != parent.as_os_str()) {
            let text = CString::new(parent.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
            self.last = Some((parent.to_owned(), walk::open_directory(&text)?));
        }
        let (_, parent) = self.last.as_ref().ok_or(Errno::ENOENT)?;
        nix::sys::stat::fstatat(parent, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// A writable source must not hold what decides about the next sandbox, nor lie in it. Files are compared rather than
    /// paths, so that neither a link nor a bind mount of the host's is a way around; what does not exist yet counts by what it
    /// would lie in.
    fn check_guarded(&self, mount: usize, source: &Path, status: &FileStat) -> Result<(), ExecError> {
        let above: Vec<FileId> = ids_above(source).collect();
        let conflict = self.plan.guarded.iter().find(|guarded| {
            ids_above(guarded).any(|holder| holder == id(status))
                || nix::sys::stat::stat(guarded.as_path()).is_ok_and(|guarded| above.contains(&id(&guarded)))
        });
        match conflict {
            Some(guarded) => {
                Err(ExecError::Guarded { mount, source: source.to_owned(), guarded: guarded.clone() })
            }
            None => Ok(()),
        }
    }

    /// Refuses links that lie in a directory which this plan lets the sandbox write: the last run may have planted them. Gives
    /// what was taken.
    pub(super) fn check_links(mut self) -> Result<Taken, ExecError> {
        Self::check_apart(self.plan, &self.under, &self.writable)?;
        self.taken.under = self.under.iter().map(|under| under.path().to_owned()).collect();
        let planted = self.links.iter().find_map(|link| {
            let writable = self.writable.iter().find(|(_, id)| link.above.contains(id))?;
            Some((link, writable.0))
        });
        match planted {
            Some((link, writable)) => {
                Err(ExecError::PlantedSource { mount: link.mount, directory: link.path.clone(), writable })
            }
            None => Ok(self.taken),
        }
    }

    /// A lower dir of an overlay; nothing for one that may be missing, and is.
    pub(super) fn resolve_lower(
        &mut self,
        mount: usize,
        source: &BindSource,
    ) -> Result<Option<Source>, ExecError> {
        let path = match source {
            BindSource::Path(path) => path.clone(),
            BindSource::Fd(fd) => PathBuf::from(format!("/proc/self/fd/{fd}")),
        };
        match self.resolve(mount, source, Access::ReadOnly)? {
            Some(found) if !found.is_dir => Err(self.missing(mount, &path, Errno::ENOTDIR)),
            found => Ok(found),
        }
    }

    /// The upper and the work dir of an overlay; none for one that is in memory or not written.
    pub(super) fn resolve_upper(
        &mut self,
        mount: usize,
        lower: &[Source],
        upper: &OverlayUpper,
    ) -> Result<Option<(CString, CString)>, ExecError> {
        let origin = &self.plan.mounts[mount].origin;
        let (upper, work, access) = match upper {
            OverlayUpper::Directory { upper, work } => (upper.clone(), work.clone(), Access::Writable),
            OverlayUpper::Kept { directory, own } => {
                let access = if *own { Access::ReadOnly } else { Access::Writable };
                let kept = Kept::take_for_root(directory, self.driver(), origin)?;
                if *own {
                    kept.lies_over(lower, origin)?;
                }
                self.keep(kept, access)
            }
            // `fuse-overlayfs` can do without.
            OverlayUpper::Tmpfs { otherwise: Some(layers), .. }
                if self.driver() == OverlayDriver::Kernel && !mount::memory_holds_attributes() =>
            {
                self.taken.misses.push(UNBOUNDED.to_owned());
                self.keep(Kept::passing(layers, origin)?, Access::ReadOnly)
            }
            OverlayUpper::Changes { layers, layer, .. } => {
                let directory = lower
                    .first()
                    .ok_or(ExecError::Outside { what: "find a lower dir", errno: Errno::ENOENT })?;
                return self.take_changes(mount, directory, layers, layer).map(Some);
            }
            OverlayUpper::None | OverlayUpper::Tmpfs { .. } => return Ok(None),
        };
        let mut one = |path: PathBuf| {
            let source = self.resolve(mount, &BindSource::Path(path.clone()), access)?;
            source.map(|source| source.path).ok_or_else(|| self.missing(mount, &path, Errno::ENOENT))
        };
        Ok(Some((one(upper)?, one(work)?)))
    }

    fn keep(&mut self, kept: Kept, access: Access) -> (PathBuf, PathBuf, Access) {
        let places = (kept.upper.clone(), kept.work.clone(), access);
        self.hold(kept);
        places
    }

    /// Has a layer until the end of the run.
    pub(super) fn hold(&mut self, kept: Kept) {
        self.taken.layers.push(kept);
    }

    /// Notes a directory whose changes are kept apart.
    pub(super) fn lay_over(&mut self, under: Under) {
        self.under.push(under);
    }
}

/// Where an inherited descriptor leads. The inside compares what it opens there with what the descriptor is.
fn path_of_descriptor(fd: i32) -> Result<(PathBuf, FileId), Errno> {
    let status = fstat(process::inherited(fd)?)?;
    let path = nix::fcntl::readlink(format!("/proc/self/fd/{fd}").as_str())?;
    Ok((PathBuf::from(path), id(&status)))
}

/// Makes a directory of sbx's own and what is missing above it, for nobody else to read.
fn make_directory(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
