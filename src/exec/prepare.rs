//! A plan in the form that the inside can use without allocating: C strings, numbers, buffers of the right size.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::ExecError;
use super::descriptors::check_descriptors;
use super::home;
use super::joined;
use super::protect::{Island, Protection, Writable};
use super::readback::{self, Attached, NamespaceIds};
use super::sources::{Resolver, Source};
use super::walk;
use seccompiler::BpfProgram;

use crate::plan::{Access, Content, MountOp, OverlayUpper, Plan, Seccomp};
use crate::profile::{Nested, NetworkMode};
use crate::seccomp;
use crate::sys::mount::MountAttr;
use crate::sys::strings::{StringTable, StringVector};
use crate::sys::terminal::{Modes, Size};

/// Bytes of mountinfo for what comes along below binds, and for each mount of the plan.
const TABLE_SIZE: usize = 4 << 20;
const LINE_SIZE: usize = 1 << 10;

/// A mount of the plan, ready.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place in the plan.
    pub(super) index: u32,
    /// The destination below the root, without the leading slash; empty for the root itself.
    pub(super) path: CString,
    /// The directory of the destination.
    pub(super) parent: CString,
    /// Its name there.
    pub(super) name: CString,
    pub(super) op: Op,
}

impl Item {
    /// Its source is the host's root itself.
    pub(super) fn binds_root(&self) -> bool {
        matches!(&self.op, Op::Bind { source, .. } if source.path.as_bytes() == b"/")
    }
}

/// [`MountOp`], ready.
#[derive(Debug)]
pub(super) enum Op {
    Bind { source: Source, attr: MountAttr },
    Device { source: Source, number: u64 },
    Tmpfs { fresh: Fresh, attr: MountAttr },
    Proc,
    Devpts,
    Mqueue,
    Cgroup,
    Overlay { lower: Vec<Source>, upper: Upper },
    Dir { mode: u32 },
    Private { mode: u32, fresh: Fresh },
    Copy { source: Source, mode: u32 },
    File { content: Content, mode: u32 },
    Data { content: Content, mode: u32, attr: MountAttr },
    Symlink { target: CString },
    Chmod { mode: u32 },
    Mask,
    ReadOnly,
    Island(Island),
}

/// The parameters of a new tmpfs.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) size: CString,
    pub(super) inodes: CString,
    pub(super) mode: CString,
}

impl Fresh {
    fn new(size: u64, inodes: u64, mode: u32) -> Self {
        Self {
            size: number(size),
            inodes: number(inodes),
            mode: CString::new(format!("{mode:o}")).unwrap_or_default(),
        }
    }
}

/// [`OverlayUpper`], ready.
#[derive(Debug)]
pub(super) enum Upper {
    None,
    Tmpfs { size: CString, inodes: CString },
    Directory { upper: CString, work: CString },
}

/// What the inside must know of the caller's terminal.
#[derive(Debug)]
pub(super) struct OuterTerminal {
    /// The standard descriptors that it is.
    pub(super) numbers: Vec<RawFd>,
    pub(super) modes: Modes,
    pub(super) size: Size,
    /// Its keys are for the payload from the start.
    pub(super) foreground: bool,
    /// The payload uses it as it is.
    pub(super) inherit: bool,
}

/// A limit of the user namespace.
#[derive(Debug)]
pub(super) struct Ceiling {
    /// Its file in a procfs.
    pub(super) path: &'static CStr,
    /// What is written there.
    pub(super) value: CString,
    /// The file, once it is open.
    pub(super) file: Option<OwnedFd>,
}

fn ceilings(plan: &Plan) -> Vec<Ceiling> {
    let namespaces = match plan.namespaces.nested.value {
        Nested::None => Some((c"sys/user/max_user_namespaces", 0)),
        Nested::Browser => Some((c"sys/user/max_mnt_namespaces", 0)),
        Nested::Full => None,
    };
    let watches = plan.limits.watches.iter().flat_map(|watches| {
        [
            (c"sys/user/max_inotify_instances", watches.instances),
            (c"sys/user/max_inotify_watches", watches.files),
        ]
    });
    let ceiling = |(path, value)| Ceiling { path, value: number(value), file: None };
    namespaces.into_iter().chain(watches).map(ceiling).collect()
}

/// Everything that the inside needs.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The plan's mounts, then the islands of its protected paths, which count on from there.
    pub(super) items: Vec<Item>,
    pub(super) protection: Protection,
    pub(super) root_size: CString,
    pub(super) root_inodes: CString,
    pub(super) uid_map: String,
    pub(super) gid_map: String,
    pub(super) hostname: Option<String>,
    pub(super) loopback: bool,
    pub(super) ceilings: Vec<Ceiling>,
    pub(super) time_offsets: Option<String>,
    pub(super) candidates: Vec<CString>,
    /// The candidates come from `PATH`.
    pub(super) searched: bool,
    pub(super) arguments: StringVector,
    pub(super) environment: StringVector,
    pub(super) directory: CString,
    /// The program that the payload's system calls are filtered by.
    pub(super) filter: Option<BpfProgram>,
    /// The caller's terminal, if the payload gets one.
    pub(super) terminal: Option<OuterTerminal>,
    /// Descriptors that PID 1 leaves open, with room for its own four.
    pub(super) kept: Vec<i32>,
    /// The namespaces outside.
    pub(super) namespaces: NamespaceIds,
    /// Room for what is attached: an overlay may be two mounts.
    pub(super) attached: Attached,
    /// Room for the table of mounts; pages that it does not need are never touched.
    pub(super) table: Vec<u8>,
    /// Devices of the tmpfs that the set-up itself makes: room for all of them.
    pub(super) own_devices: Vec<u64>,
    /// Room for clones of the host's root.
    pub(super) whole: Vec<(u32, OwnedFd)>,
    /// The sandbox is in a cgroup of its own.
    pub(super) has_cgroup: bool,
    /// The processors that the caller may use, where a cgroup could change that.
    pub(super) affinity: Option<CpuSet>,
    /// Room for what a program that joins is started by.
    pub(super) joining: Option<StringTable>,
}

/// Makes everything ready, and finds every source.
pub(super) fn prepare(plan: &Plan) -> Result<Prepared, ExecError> {
    check_descriptors(plan)?;
    let mut resolver = Resolver::new(plan)?;
    let mut items = Vec::with_capacity(plan.mounts.len());
    for (index, mount) in plan.mounts.iter().enumerate() {
        let Some(op) = op(&mut resolver, index, &mount.op)? else { continue };
        items.push(item(index, &mount.dest, op)?);
    }
    resolver.check_links()?;
    home::make_mount_points(plan, &items)?;
    let protection = Protection::of(plan, &writable_directories(plan, &items));
    for (index, (dest, island)) in (plan.mounts.len()..).zip(&protection.islands) {
        items.push(item(index, dest, Op::Island(*island))?);
    }
    let tmpfs = items.iter().filter(|item| matches!(item.op, Op::Tmpfs { .. } | Op::Private { .. })).count();
    let count = items.len();
    let roots = items.iter().filter(|item| item.binds_root()).count();
    let identity = &plan.identity;
    let environment = plan.environment.iter().map(|variable| {
        let mut text = variable.name.clone();
        text.push("=");
        text.push(&variable.value);
        c_string(&text)
    });
    Ok(Prepared {
        items,
        protection,
        root_size: number(plan.root.size),
        root_inodes: number(plan.root.inodes),
        uid_map: format!("{} {} 1", identity.uid, identity.outside_uid),
        gid_map: format!("{} {} 1", identity.gid, identity.outside_gid),
        hostname: plan.namespaces.uts.then(|| plan.hostname.value.clone()),
        loopback: plan.namespaces.network.value != NetworkMode::Host,
        ceilings: ceilings(plan),
        time_offsets: plan.namespaces.time.as_ref().map(|offsets| time_offsets(&offsets.value)),
        candidates: plan
            .candidates
            .iter()
            .map(|path| c_string(path.as_os_str()))
            .collect::<Result<_, _>>()?,
        searched: plan.command.first().is_some_and(|program| !program.as_bytes().contains(&b'/')),
        arguments: StringVector::new(
            plan.command.iter().map(|word| c_string(word)).collect::<Result<_, _>>()?,
        ),
        environment: StringVector::new(environment.collect::<Result<_, _>>()?),
        filter: plan.seccomp.as_ref().map(compile).transpose()?,
        directory: c_string(plan.directory.value.0.as_os_str())?,
        kept: kept(plan),
        terminal: None,
        namespaces: outer_namespaces()?,
        attached: Vec::with_capacity(2 * count),
        table: vec![0; TABLE_SIZE + count * LINE_SIZE],
        own_devices: Vec::with_capacity(tmpfs + 1),
        whole: Vec::with_capacity(roots),
        has_cgroup: false,
        affinity: plan.cgroup.as_ref().and_then(|_| sched_getaffinity(Pid::this()).ok()),
        joining: Some(StringTable::with_room(joined::TABLE_BYTES, joined::TABLE_STRINGS)),
    })
}

/// The descriptors that the payload keeps, and room for PID 1's own.
fn kept(plan: &Plan) -> Vec<RawFd> {
    let mut kept = Vec::with_capacity(plan.keep_fds.len() + 4);
    kept.extend(&plan.keep_fds);
    kept
}

fn outer_namespaces() -> Result<NamespaceIds, ExecError> {
    walk::open_directory(c"/proc").map(readback::namespaces).map_err(ExecError::NoProc)
}

/// The host's directories that the plan lets the sandbox write, sbx's own aside.
fn writable_directories(plan: &Plan, items: &[Item]) -> Vec<Writable> {
    let writable = |item: &Item| {
        let mount = plan.mounts.get(item.index as usize)?;
        match (&item.op, &mount.op) {
            (
                Op::Bind { source: Source { path, is_dir: true, .. }, .. },
                MountOp::Bind { access: Access::Writable, create: None, .. },
            ) => Some(Writable {
                mount: item.index as usize,
                source: PathBuf::from(OsStr::from_bytes(path.to_bytes())),
                dest: mount.dest.clone(),
            }),
            _ => None,
        }
    };
    items.iter().filter_map(writable).collect()
}

fn compile(filter: &Seccomp) -> Result<BpfProgram, ExecError> {
    seccomp::compile(&filter.policy()).map_err(ExecError::Filter)
}

fn item(index: usize, dest: &Path, op: Op) -> Result<Item, ExecError> {
    let relative = dest.strip_prefix("/").unwrap_or(dest);
    let parent =
        relative.parent().map(Path::as_os_str).filter(|parent| !parent.is_empty()).unwrap_or(OsStr::new("."));
    Ok(Item {
        index: u32::try_from(index)
            .map_err(|_| ExecError::Outside { what: "number the mounts", errno: Errno::E2BIG })?,
        path: c_string(relative.as_os_str())?,
        parent: c_string(parent)?,
        name: c_string(relative.file_name().unwrap_or_default())?,
        op,
    })
}

fn op(resolver: &mut Resolver<'_>, index: usize, op: &MountOp) -> Result<Option<Op>, ExecError> {
    let ready = match op {
        MountOp::Bind { source, access, devices, .. } => {
            let Some(source) = resolver.resolve(index, source, *access)? else { return Ok(None) };
            let nodev = if *devices { MountAttr::default() } else { MountAttr::NODEV };
            Op::Bind { source, attr: read_only(*access).and(MountAttr::NOSUID).and(nodev) }
        }
        MountOp::Device { source, major, minor } => {
            Op::Device { source: unseen(source)?, number: libc::makedev(*major, *minor) }
        }
        MountOp::Tmpfs { size, inodes, mode, access } => Op::Tmpfs {
            fresh: Fresh::new(*size, *inodes, *mode),
            attr: read_only(*access).and(MountAttr::NOSUID).and(MountAttr::NODEV),
        },
        MountOp::Proc => Op::Proc,
        MountOp::Devpts => Op::Devpts,
        MountOp::Mqueue => Op::Mqueue,
        MountOp::Cgroup => Op::Cgroup,
        MountOp::Overlay { lower, upper } => {
            let sources = lower.iter().map(|source| {
                let found = resolver.resolve(index, source, Access::ReadOnly)?;
                found.ok_or(ExecError::Outside {
                    what: "find a lower dir of an overlay",
                    errno: Errno::ENOENT,
                })
            });
            let lower = sources.collect::<Result<Vec<_>, _>>()?;
            let directories = resolver.resolve_upper(index, upper)?;
            let upper = match (upper, directories) {
                (OverlayUpper::Tmpfs { size, inodes }, _) => {
                    Upper::Tmpfs { size: number(*size), inodes: number(*inodes) }
                }
                (OverlayUpper::Directory { .. }, Some((upper, work))) => Upper::Directory { upper, work },
                _ => Upper::None,
            };
            Op::Overlay { lower, upper }
        }
        MountOp::Dir { mode } => Op::Dir { mode: *mode },
        MountOp::Private { mode } => {
            let root = resolver.root();
            Op::Private { mode: *mode, fresh: Fresh::new(root.size, root.inodes, *mode) }
        }
        MountOp::Copy { source, mode } => Op::Copy { source: unseen(source)?, mode: *mode },
        MountOp::File { content, mode } => Op::File { content: content.clone(), mode: *mode },
        MountOp::Data { content, mode, access } => Op::Data {
            content: content.clone(),
            mode: *mode,
            attr: read_only(*access).and(MountAttr::NOSUID).and(MountAttr::NODEV),
        },
        MountOp::Symlink { target } => Op::Symlink { target: c_string(target.as_os_str())? },
        MountOp::Chmod { mode } => Op::Chmod { mode: *mode },
        MountOp::Mask => Op::Mask,
        MountOp::ReadOnly => Op::ReadOnly,
    };
    Ok(Some(ready))
}

fn read_only(access: Access) -> MountAttr {
    match access {
        Access::ReadOnly => MountAttr::RDONLY,
        Access::Writable => MountAttr::default(),
    }
}

fn unseen(path: &Path) -> Result<Source, ExecError> {
    Source::unseen(path).map_err(|_| ExecError::Nul(path.into()))
}

fn c_string(text: &OsStr) -> Result<CString, ExecError> {
    CString::new(text.as_bytes()).map_err(|_| ExecError::Nul(text.to_owned()))
}

fn number(value: u64) -> CString {
    CString::new(value.to_string()).unwrap_or_default()
}

/// The lines of `/proc/self/timens_offsets`: clock, seconds, nanoseconds that are never negative.
fn time_offsets(offsets: &crate::profile::TimeOffsets) -> String {
    const SECOND: i64 = 1_000_000_000;
    let line = |clock: &str, offset: i64| {
        format!("{clock} {} {}\n", offset.div_euclid(SECOND), offset.rem_euclid(SECOND))
    };
    line("monotonic", offsets.monotonic) + &line("boottime", offsets.boottime)
}
