//! Reads back, inside, what the kernel has made of it all, and compares with the plan: a call that says yes and does
//! nothing must not go unnoticed. PID 1 looks at the mounts when the last one is made, the payload at itself when the
//! filter is in place. Nothing here allocates.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::items::{Item, Op, Upper};
use super::prepare::Prepared;
use super::protect::Island;
use super::resources::{io_priority, is_as_nice};
use super::step::{At, Difference, Failure, Result, Step};
use crate::plan::Plan;
use crate::profile::LandlockScope;
use crate::sys::mount::MountAttr;
use crate::sys::{NO_EFFECT, process};

/// Fails where something is not as the call that made it so said.
pub(super) fn took_effect(it_did: bool) -> nix::Result<()> {
    if it_did { Ok(()) } else { Err(NO_EFFECT) }
}

fn confirm(as_planned: bool, what: Difference) -> Result<()> {
    took_effect(as_planned).at_item(Step::Confirm, what as u32)
}

/// What was attached: the number of each mount, and the item that it belongs to.
pub(super) type Attached = Vec<(u64, u32)>;

/// Compares the mounts that this process sees with those that were attached: each is there with its attributes, nothing else
/// is but what came along below a bind, and nothing is shared with the outside. `text` has room for the whole table.
pub(super) fn mounts(
    proc: &OwnedFd,
    prepared: &Prepared,
    attached: &mut Attached,
    root: (u64, bool),
    text: &mut [u8],
) -> Result<()> {
    attached.sort_unstable();
    let length = read_all(proc, c"self/mountinfo", text).at_item(Step::Confirm, Difference::Mounts as u32)?;
    let table = text.get(..length).unwrap_or_default();
    let mut found = 0;
    for line in lines(table) {
        let wrong = |item| Failure { step: Step::ConfirmMount, item, errno: NO_EFFECT };
        let unexpected = Failure { step: Step::Confirm, item: Difference::Mounts as u32, errno: NO_EFFECT };
        let mount = MountLine::parse(line).ok_or(unexpected)?;
        let owner = owner(&mount, table, attached, root.0).ok_or(unexpected)?;
        let own = owner.depth == 0;
        found += usize::from(own);
        let wanted = match owner.item {
            Some(number) => attributes(op(&prepared.items, number), own).ok_or(wrong(number))?,
            None => MountAttr::NODEV,
        };
        let wanted = if mount.id == root.0 && root.1 { wanted.and(MountAttr::RDONLY) } else { wanted };
        if mount.shared || !mount.has(wanted.and(MountAttr::NOSUID)) {
            return Err(owner.item.map_or(unexpected, wrong));
        }
    }
    // The root tmpfs counts unless something was bound over it.
    let own_root = attached.binary_search_by_key(&root.0, |(id, _)| *id).is_err();
    confirm(found == attached.len() + usize::from(own_root), Difference::Mounts)
}

fn op(items: &[Item], number: u32) -> Option<&Op> {
    let index = items.binary_search_by_key(&number, |item| item.index).ok()?;
    items.get(index).map(|item| &item.op)
}

/// What a mount belongs to.
struct Owner {
    /// Nothing for the root itself.
    item: Option<u32>,
    /// How many mounts lie between.
    depth: usize,
}

/// The attached mount that a line is about or lies below, by the numbers of parents.
fn owner(mount: &MountLine<'_>, table: &[u8], attached: &Attached, root: u64) -> Option<Owner> {
    let (mut id, mut parent) = (mount.id, mount.parent);
    for depth in 0..=64 {
        if let Ok(index) = attached.binary_search_by_key(&id, |(id, _)| *id) {
            return attached.get(index).map(|(_, item)| Owner { item: Some(*item), depth });
        }
        if id == root {
            return (depth == 0).then_some(Owner { item: None, depth });
        }
        id = parent;
        parent = lines(table).filter_map(MountLine::parse).find(|line| line.id == id)?.parent;
    }
    None
}

/// What a mount of an operation must have, or, where not its own, one that came along below it; nothing where none can.
fn attributes(op: Option<&Op>, own: bool) -> Option<MountAttr> {
    const NONE: MountAttr = MountAttr(0);
    let closed = MountAttr::NODEV.and(MountAttr::NOEXEC);
    let attr = match op? {
        Op::Bind { attr, .. } => return Some(*attr),
        Op::ReadOnly | Op::Island(Island::ReadOnly | Island::Held) => return Some(MountAttr::RDONLY),
        Op::Island(Island::Parent) => return Some(NONE),
        Op::Tmpfs { attr, .. } | Op::Data { attr, .. } => *attr,
        Op::Device { .. } | Op::Devpts => MountAttr::NOEXEC,
        Op::Proc | Op::Mqueue | Op::Cgroup => closed,
        Op::Mask => closed.and(MountAttr::RDONLY),
        Op::Overlay { upper: Upper::None, .. } => MountAttr::NODEV.and(MountAttr::RDONLY),
        Op::Overlay { .. } | Op::Private { .. } => MountAttr::NODEV,
        Op::Dir { .. } | Op::Copy { .. } | Op::File { .. } | Op::Symlink { .. } => NONE,
        Op::Chmod { .. } | Op::Own { .. } => NONE,
    };
    own.then_some(attr)
}

/// A line of mountinfo (proc_pid_mountinfo(5)), as far as it matters here.
struct MountLine<'t> {
    id: u64,
    parent: u64,
    options: &'t [u8],
    /// It has a peer group or a master.
    shared: bool,
}

impl<'t> MountLine<'t> {
    fn parse(line: &'t [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let (id, parent) = (number(words.next()?)?, number(words.next()?)?);
        let options = words.nth(3)?;
        let shared = words.next()? != b"-";
        Some(Self { id, parent, options, shared })
    }

    fn has(&self, attributes: MountAttr) -> bool {
        const WORDS: [(&[u8], MountAttr); 4] = [
            (b"ro", MountAttr::RDONLY),
            (b"nosuid", MountAttr::NOSUID),
            (b"nodev", MountAttr::NODEV),
            (b"noexec", MountAttr::NOEXEC),
        ];
        WORDS
            .into_iter()
            .filter(|(_, attribute)| attributes.0 & attribute.0 != 0)
            .all(|(word, _)| self.options.split(|byte| *byte == b',').any(|option| option == word))
    }
}

/// A process's own namespaces, in the order of [`namespaces`]; 0 for one that the kernel lacks.
pub(super) type NamespaceIds = [u64; 8];

const NAMESPACES: [&CStr; 8] = [
    c"self/ns/user",
    c"self/ns/mnt",
    c"self/ns/pid",
    c"self/ns/uts",
    c"self/ns/ipc",
    c"self/ns/cgroup",
    c"self/ns/net",
    c"self/ns/time",
];

/// The namespaces of this process.
pub(super) fn namespaces(proc: impl AsFd) -> NamespaceIds {
    NAMESPACES.map(|name| process::namespace(proc.as_fd(), name).unwrap_or(0))
}

/// Compares what the payload is, just before its program, with the plan.
pub(super) fn payload(plan: &Plan, prepared: &Prepared, proc: &OwnedFd, directory: &CStr) -> Result<()> {
    let mut text = [0; 4096];
    let status = Step::Confirm;
    let length = read_all(proc, c"self/status", &mut text).at_item(status, Difference::Status as u32)?;
    let text = text.get(..length).unwrap_or_default();
    let field = |name: &[u8]| lines(text).find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let ids = |name: &[u8], id: u32| {
        let words = || words(field(name));
        words().count() == 4 && words().all(|word| number(word) == Some(u64::from(id)))
    };
    let (uid, gid) = plan.identity.of_payload();
    confirm(ids(b"Uid:", uid) && ids(b"Gid:", gid), Difference::Identity)?;
    let zero = |name: &[u8]| {
        let value = field(name).trim_ascii();
        !value.is_empty() && value.iter().all(|digit| *digit == b'0')
    };
    let kept = plan.privileges.kept();
    let holds = |name: &[u8]| hexadecimal(field(name)) == Some(kept);
    let sets: ([&[u8]; 2], [&[u8]; 3]) = ([b"CapInh:", b"CapAmb:"], [b"CapPrm:", b"CapEff:", b"CapBnd:"]);
    let reduced = || sets.0.into_iter().all(zero) && sets.1.into_iter().all(holds);
    confirm(!plan.privileges.drop_capabilities || reduced(), Difference::Capabilities)?;
    let groups = plan.identity.runs_as.iter().flat_map(|user| &user.groups);
    let as_planned = || words(field(b"Groups:")).map(number).eq(groups.map(|group| Some(u64::from(*group))));
    confirm(plan.identity.subordinate.is_none() || as_planned(), Difference::Identity)?;
    let is = |name: &[u8], value: &[u8]| field(name).trim_ascii() == value;
    confirm(!plan.privileges.no_new_privs || is(b"NoNewPrivs:", b"1"), Difference::NoNewPrivs)?;
    let filtered = || is(b"Seccomp:", b"2") && process::terminal_input_is_refused();
    confirm(prepared.filter.is_none() || filtered(), Difference::Filter)?;
    confirm([b"SigBlk:", b"SigIgn:", b"SigCgt:"].into_iter().all(|name| zero(name)), Difference::Signals)?;
    limits(plan, prepared.has_cgroup)?;
    own_cgroup(plan, prepared, proc)?;
    own_namespaces(plan, prepared, proc)?;
    let there = fstatat(nix::fcntl::AT_FDCWD, directory, nix::fcntl::AtFlags::empty());
    let here = fstatat(nix::fcntl::AT_FDCWD, c".", nix::fcntl::AtFlags::empty());
    let id = |status: nix::Result<FileStat>| status.map(|status| (status.st_dev, status.st_ino));
    confirm(id(there) == id(here), Difference::Directory)
}

fn limits(plan: &Plan, has_cgroup: bool) -> Result<()> {
    let limits = &plan.limits;
    let within =
        |resource, value: u64| getrlimit(resource).is_ok_and(|(soft, hard)| soft <= value && hard <= value);
    let as_planned = within(Resource::RLIMIT_CORE, limits.core.value)
        && within(Resource::RLIMIT_NPROC, limits.processes.value)
        && limits.open_files.as_ref().is_none_or(|files| within(Resource::RLIMIT_NOFILE, files.value))
        && (has_cgroup || limits.data.as_ref().is_none_or(|data| within(Resource::RLIMIT_DATA, data.value)));
    confirm(as_planned, Difference::Limits)?;
    let as_nice = limits.nice.as_ref().is_none_or(|nice| is_as_nice(nice.value));
    let io =
        |priority: &crate::profile::Setting<_>| process::io_priority() == Ok(io_priority(priority.value));
    confirm(as_nice && limits.io_priority.as_ref().is_none_or(io), Difference::Priority)
}

/// Whether the sandbox's cgroup is all that it sees: the line of version 2 has no path.
fn own_cgroup(plan: &Plan, prepared: &Prepared, proc: &OwnedFd) -> Result<()> {
    if !prepared.has_cgroup || !plan.namespaces.cgroup {
        return Ok(());
    }
    let mut text = [0; 4096];
    let length =
        read_all(proc, c"self/cgroup", &mut text).at_item(Step::Confirm, Difference::Cgroup as u32)?;
    let text = text.get(..length).unwrap_or_default();
    confirm(lines(text).any(|line| line == b"0::/"), Difference::Cgroup)
}

fn own_namespaces(plan: &Plan, prepared: &Prepared, proc: &OwnedFd) -> Result<()> {
    let wanted = &plan.namespaces;
    let network = wanted.network.value != crate::profile::NetworkMode::Host;
    let own = [true, true, wanted.pid, wanted.uts, wanted.ipc, wanted.cgroup, network, wanted.time.is_some()];
    let inside = namespaces(proc);
    let mut pairs = own.iter().zip(inside.iter().zip(&prepared.namespaces));
    let as_planned = pairs.all(|(own, (inside, outside))| *own == (inside != outside));
    confirm(as_planned, Difference::Namespaces)?;
    let named = !wanted.uts
        || nix::sys::utsname::uname().is_ok_and(|name| name.nodename() == plan.hostname.value.as_str());
    confirm(named, Difference::Hostname)
}

/// An abstract socket from before Landlock's scopes: whoever is scoped cannot connect to it.
pub(super) struct ScopeProbe {
    socket: OwnedFd,
    address: UnixAddr,
}

impl ScopeProbe {
    /// A probe where the plan scopes abstract sockets. The kernel has no call that tells of a scope on signals, which is of
    /// the same ruleset.
    pub(super) fn new(plan: &Plan) -> nix::Result<Option<Self>> {
        if plan.landlock_scope.iter().all(|scope| scope.value != LandlockScope::AbstractUnix) {
            return Ok(None);
        }
        let socket = datagram_socket()?;
        socket::bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let address = socket::getsockname(socket.as_raw_fd())?;
        Ok(Some(Self { socket, address }))
    }

    /// Whether it is out of reach.
    pub(super) fn is_scoped(&self) -> nix::Result<bool> {
        let client = datagram_socket()?;
        Ok(socket::connect(client.as_raw_fd(), &self.address) == Err(Errno::EPERM)
            && self.socket.as_raw_fd() >= 0)
    }
}

fn datagram_socket() -> nix::Result<OwnedFd> {
    socket::socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

/// Reads a file of a procfs to its end.
///
/// # Errors
/// `EOVERFLOW` when it does not fit.
pub(super) fn read_all(proc: impl AsFd, name: &CStr, into: &mut [u8]) -> nix::Result<usize> {
    let file = openat(proc, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut length = 0;
    loop {
        let room = into.get_mut(length..).filter(|room| !room.is_empty()).ok_or(Errno::EOVERFLOW)?;
        match nix::unistd::read(&file, room) {
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What stands between blanks.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits.trim_ascii()).ok()?, 16).ok()
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
