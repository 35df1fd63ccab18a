//! What each process of `fuse-overlayfs` is to serve, outside: a sandbox with the layers of one overlay by plain names, so that
//! no character in a layer's path can be taken for a separator.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::ExecError;
use super::host_mounts;
use super::items::{Item, Op, Served, Upper};
use super::kept::Kept;
use super::layered::lies_in;
use super::sources::{Source, Taken};
use super::walk;
use crate::diag::quote;
use crate::plan::{Access, BindSource, Mount, MountOp, OverlayServer, Plan};
use crate::profile::Origin;

/// Where the lower dirs are in a server's sandbox, by number.
const LOWER: &str = "/lower";
/// Where the directory of the upper and the work dir is, which are renamed from one to the other.
const LAYER: &str = "/layer";

/// One process to be started.
#[derive(Debug)]
pub(super) struct Order {
    /// Where the overlay is, inside.
    pub(super) dest: PathBuf,
    /// Only mount points are made in it.
    pub(super) init: bool,
    /// Its sandbox. The last word of its command is yet to come.
    pub(super) plan: Plan,
    /// The directories that are bound there, as descriptors.
    pub(super) directories: Vec<OwnedFd>,
}

/// What an overlay's writes are for its server.
enum Writes<'w> {
    /// There are none.
    None,
    /// They go to a tmpfs of its own, of that many bytes and files.
    Tmpfs(u64, &'w CString),
    /// They go to this directory's `upper`.
    Below(&'w Path),
}

/// Orders a server for each overlay, and one before it where mount points are to be made that its layer is not to get.
///
/// # Errors
/// [`ExecError`]: a layer can't be opened, or is none for `fuse-overlayfs`.
pub(super) fn orders(plan: &Plan, items: &mut [Item], taken: &mut Taken) -> Result<Vec<Order>, ExecError> {
    let Some(server) = &plan.overlay_server else { return Ok(Vec::new()) };
    let mounts = host_mounts::all();
    let mut orders = Vec::new();
    for at in 0..items.len() {
        let (before, following) = items.split_at_mut(at + 1);
        let Some(Item { index, path, op: Op::Overlay { lower, upper, served }, .. }) = before.last_mut()
        else {
            continue;
        };
        let Some(mount) = plan.mounts.get(*index as usize) else { continue };
        let order = Ordered { server, mount };
        order.check(lower, &mounts)?;
        let upper: &Upper = upper;
        let writes = match upper {
            Upper::None => Writes::None,
            Upper::Tmpfs { size, inodes } => Writes::Tmpfs(within_limits(plan, size), inodes),
            Upper::Directory { upper, work } | Upper::Kept { upper, work } => {
                Writes::Below(order.directory(upper, work)?)
            }
        };
        let kept = match upper {
            Upper::Kept { upper, .. } => Some(upper.as_c_str()),
            _ => None,
        };
        let has_points = path.is_empty() || following.iter().any(|next| lies_in(&next.path, path));
        let (mut init, mut top) = (None, None);
        if let Some(kept) = kept.filter(|_| has_points) {
            let scratch = server.scratch.as_deref().unwrap_or(Path::new("/nonexistent"));
            let passing = Kept::passing(scratch, &server.origin)?;
            let below = passing.upper.parent().unwrap_or(scratch);
            init = Some(orders.len());
            orders.push(order.order(true, Some(kept), lower, &Writes::Below(below))?);
            top = Some(text(&passing.upper)?);
            taken.layers.push(passing);
        }
        *served = Some(Served { server: orders.len(), init });
        orders.push(order.order(false, top.as_deref(), lower, &writes)?);
    }
    Ok(orders)
}

/// Bytes of a tmpfs that is not in the sandbox's cgroup: no more than the memory that the sandbox may have.
fn within_limits(plan: &Plan, size: &CString) -> u64 {
    let knobs = plan.cgroup.iter().flat_map(|cgroup| &cgroup.knobs);
    let memory = knobs.filter(|knob| knob.file == "memory.max").find_map(|knob| knob.value.parse().ok());
    memory.unwrap_or(u64::MAX).min(number(size))
}

fn number(text: &CString) -> u64 {
    text.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn text(path: &Path) -> Result<CString, ExecError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| ExecError::Nul(path.into()))
}

/// An overlay to be served.
#[derive(Clone, Copy)]
struct Ordered<'o> {
    server: &'o OverlayServer,
    mount: &'o Mount,
}

impl Ordered<'_> {
    fn unmet(&self, why: String, hint: &str) -> ExecError {
        let what = format!("serve the overlay on {}", quote(&self.mount.dest));
        ExecError::Unmet { what, why, hint: Some(hint.to_owned()) }
    }

    /// What is mounted in a lower dir is no part of a layer: the kernel's overlays don't show it either.
    fn check(&self, lower: &[Source], mounts: &[host_mounts::HostMount]) -> Result<(), ExecError> {
        let inside = |point: &Path| {
            lower.iter().any(|source| {
                let path = Path::new(OsStr::from_bytes(source.path.to_bytes()));
                point != path && point.starts_with(path)
            })
        };
        match mounts.iter().find(|mount| inside(&mount.point)) {
            None => Ok(()),
            Some(mount) => {
                let why = format!("{} is another filesystem in one of its directories", quote(&mount.point));
                Err(self.unmet(why, "name directories without mounts below them"))
            }
        }
    }

    /// The directory of an upper and a work dir.
    fn directory<'d>(&self, upper: &'d CString, work: &'d CString) -> Result<&'d Path, ExecError> {
        let [upper, work] =
            [upper.to_bytes(), work.to_bytes()].map(|path| Path::new(OsStr::from_bytes(path)));
        let names = (upper.file_name(), work.file_name());
        let is_layer = names == (Some(OsStr::new("upper")), Some(OsStr::new("work")));
        match upper.parent() {
            Some(parent) if is_layer && Some(parent) == work.parent() => Ok(parent),
            _ => {
                let why = "its upper and its work dir are not `upper` and `work` in one directory";
                Err(self.unmet(why.to_owned(), "put them into one directory, by these names"))
            }
        }
    }

    /// A server with these lower dirs, `top` above the others.
    fn order(
        &self,
        init: bool,
        top: Option<&std::ffi::CStr>,
        lower: &[Source],
        writes: &Writes<'_>,
    ) -> Result<Order, ExecError> {
        let origin = &self.mount.origin;
        let mut sandbox = Sandbox { plan: (*self.server.sandbox).clone(), directories: Vec::new(), origin };
        let all = top.into_iter().chain(lower.iter().map(|source| source.path.as_c_str()));
        let mut options = OsString::from("lowerdir=");
        for (number, path) in all.enumerate() {
            let dest = format!("{LOWER}/{number}");
            options.push(if number == 0 { "" } else { ":" });
            options.push(&dest);
            sandbox.bind(path, dest, Access::ReadOnly)?;
        }
        match writes {
            Writes::None => {}
            Writes::Tmpfs(size, inodes) => {
                let (mode, access) = (0o700, Access::Writable);
                let inodes = number(inodes);
                sandbox.add(LAYER, MountOp::Tmpfs { size: *size, inodes, mode, access });
                sandbox.add(format!("{LAYER}/upper"), MountOp::Dir { mode: 0o755 });
                sandbox.add(format!("{LAYER}/work"), MountOp::Dir { mode });
            }
            Writes::Below(directory) => sandbox.bind(&text(directory)?, LAYER, Access::Writable)?,
        }
        if !matches!(writes, Writes::None) {
            options.push(format!(",upperdir={LAYER}/upper,workdir={LAYER}/work"));
        }
        let Sandbox { mut plan, directories, .. } = sandbox;
        plan.command.extend(["-f".into(), "-o".into(), options]);
        Ok(Order { dest: self.mount.dest.clone(), init, plan, directories })
    }
}

/// A server's sandbox while its layers come in.
struct Sandbox<'o> {
    plan: Plan,
    directories: Vec<OwnedFd>,
    origin: &'o Origin,
}

impl Sandbox<'_> {
    fn add(&mut self, dest: impl Into<PathBuf>, op: MountOp) {
        self.plan.mounts.push(Mount { dest: dest.into(), op, origin: self.origin.clone() });
    }

    /// Binds a directory, which is opened now: no path leads to it twice.
    fn bind(
        &mut self,
        path: &std::ffi::CStr,
        dest: impl Into<PathBuf>,
        access: Access,
    ) -> Result<(), ExecError> {
        let missing = |errno: Errno| ExecError::Source {
            origin: self.origin.clone(),
            path: OsStr::from_bytes(path.to_bytes()).into(),
            errno,
        };
        let directory = walk::open_source(path).map_err(missing)?;
        let source = BindSource::Fd(directory.as_raw_fd());
        self.add(dest, MountOp::Bind { source, access, devices: false, optional: false, create: None });
        self.directories.push(directory);
        Ok(())
    }
}
