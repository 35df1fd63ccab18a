//! A plan in the form that the inside can use without allocating: C strings, numbers, buffers of the right size.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::ExecError;
use super::descriptors::check_descriptors;
use super::home;
use super::items::{Item, Op, item, op};
use super::joined;
use super::kept::Kept;
use super::orders::{self, Order};
use super::protect::{Protection, Writable};
use super::readback::{self, Attached, NamespaceIds};
use super::servers::Ways;
use super::sources::{Resolver, Source, Taken};
use super::subordinate;
use super::walk;
use seccompiler::BpfProgram;

use crate::plan::{Access, MountOp, Plan, Seccomp};
use crate::profile::{Nested, NetworkMode};
use crate::seccomp;
use crate::sys::strings::{StringTable, StringVector};
use crate::sys::terminal::{Modes, Size};

/// Bytes of mountinfo for what comes along below binds, and for each mount of the plan.
const TABLE_SIZE: usize = 4 << 20;
const LINE_SIZE: usize = 1 << 10;

/// Descriptors of PID 1's own.
const OWN: usize = 4;

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
    /// Devices of the tmpfs that the set-up itself makes, and of a root of layers: room for all of them.
    pub(super) own_devices: Vec<u64>,
    /// Room for clones of the host's root.
    pub(super) whole: Vec<(u32, OwnedFd)>,
    /// The sandbox is in a cgroup of its own.
    pub(super) has_cgroup: bool,
    /// Layers that are held, and what is to be told of them.
    pub(super) taken: Taken,
    /// What is to serve overlays, by number, and how it is reached.
    pub(super) orders: Vec<Order>,
    pub(super) ways: Ways,
    /// The processors that the caller may use, where a cgroup could change that.
    pub(super) affinity: Option<CpuSet>,
    /// Room for what a program that joins is started by.
    pub(super) joining: Option<StringTable>,
    /// How long the sandbox may go on when it is to end with whoever started sbx, and that has ended.
    pub(super) parent_grace: Duration,
}

impl Prepared {
    /// Has PID 1 leave further descriptors open.
    pub(super) fn keep_open(&mut self, further: &[RawFd]) {
        self.kept.reserve(further.len() + OWN);
        self.kept.extend(further);
    }
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
    let mut taken = resolver.check_links()?;
    home::make_mount_points(plan, &items)?;
    let protection = Protection::of(plan, &writable_directories(plan, &items), &taken.under);
    for (index, (dest, island)) in (plan.mounts.len()..).zip(&protection.islands) {
        items.push(item(index, dest, Op::Island(*island))?);
    }
    let orders = orders::orders(plan, &mut items, &mut taken)?;
    let tmpfs = items.iter().filter(|item| matches!(item.op, Op::Tmpfs { .. } | Op::Private { .. })).count();
    let count = items.len();
    let roots = items.iter().filter(|item| item.binds_root()).count();
    let [uid_map, gid_map] = subordinate::maps(&plan.identity);
    Ok(Prepared {
        items,
        protection,
        root_size: number(plan.root.size),
        root_inodes: number(plan.root.inodes),
        uid_map,
        gid_map,
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
        environment: environment(plan)?,
        filter: plan.seccomp.as_ref().map(compile).transpose()?,
        directory: c_string(plan.directory.value.0.as_os_str())?,
        kept: kept(plan, &taken.layers),
        taken,
        orders,
        ways: Ways::of(&plan.identity),
        terminal: None,
        namespaces: walk::open_directory(c"/proc").map(readback::namespaces).map_err(ExecError::NoProc)?,
        attached: Vec::with_capacity(2 * count),
        table: vec![0; TABLE_SIZE + count * LINE_SIZE],
        own_devices: Vec::with_capacity(tmpfs + 3),
        whole: Vec::with_capacity(roots),
        has_cgroup: false,
        affinity: plan.cgroup.as_ref().and_then(|_| sched_getaffinity(Pid::this()).ok()),
        parent_grace: Duration::ZERO,
        joining: Some(StringTable::with_room(joined::TABLE_BYTES, joined::TABLE_STRINGS)),
    })
}

fn environment(plan: &Plan) -> Result<StringVector, ExecError> {
    let environment = plan.environment.iter().map(|variable| {
        let mut text = variable.name.clone();
        text.push("=");
        text.push(&variable.value);
        c_string(&text)
    });
    Ok(StringVector::new(environment.collect::<Result<_, _>>()?))
}

/// The descriptors that the payload keeps, the locks of layers, and room for PID 1's own.
fn kept(plan: &Plan, layers: &[Kept]) -> Vec<RawFd> {
    let mut kept = Vec::with_capacity(plan.keep_fds.len() + layers.len() + OWN);
    kept.extend(plan.keep_fds.iter().copied().chain(layers.iter().map(|layer| layer.lock.as_raw_fd())));
    kept
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

pub(super) fn c_string(text: &OsStr) -> Result<CString, ExecError> {
    CString::new(text.as_bytes()).map_err(|_| ExecError::Nul(text.to_owned()))
}

pub(super) fn number(value: u64) -> CString {
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
