//! The inside: PID 1 takes the steps of confinement in order, forks the payload, and reaps. From `clone3` on nothing here
//! allocates or formats; what fails is one report on a pipe.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, chdir, fchdir, getpgrp, getpid, pivot_root, setpgid, setsid, tcsetpgrp};

use super::files::write_all;
use super::landlock;
use super::mounts::{Builder, Built};
use super::operations;
use super::own_terminal::{self, OwnTerminal};
use super::prepare::Prepared;
use super::readback::{self, ScopeProbe, read_all, took_effect};
use super::step::{At, Failure, Report, Result, Step};
use super::walk;
use super::watch::{self, Watched};
use crate::host;
use crate::plan::Plan;
use crate::profile::{Background, TerminalMode};
use crate::sys::process::{self, Forked};
use crate::sys::{caps, message, mount, network, signal};

/// `CLONE_NEWTIME` (Linux 5.6); not in nix.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// What PID 1 has from the outside.
pub(super) struct Inside<'a> {
    pub(super) plan: &'a Plan,
    pub(super) prepared: &'a mut Prepared,
    /// Clones of the host's root: room for all that the plan asks for.
    pub(super) whole: Vec<(u32, OwnedFd)>,
    /// Where it is said that nothing runs; closed by everybody once the payload's program runs.
    pub(super) report: OwnedFd,
    /// Commands come in, and what becomes of the payload goes out; hangs up when sbx is gone.
    pub(super) control: OwnedFd,
    /// Leads to the janitor of placeholders, if there are any.
    pub(super) janitor: Option<&'a OwnedFd>,
}

/// Never returns: not into the caller's code, of which this is a copy, even if a bug panics.
struct NeverReturn;

impl Drop for NeverReturn {
    fn drop(&mut self) {
        process::exit_now(125);
    }
}

/// PID 1, from `clone3` to its end.
pub(super) fn run(mut inside: Inside<'_>) -> ! {
    let _guard = NeverReturn;
    match confine(&mut inside) {
        Ok(watched) => {
            drop(inside.report);
            watch::watch(&watched, &inside.control)
        }
        Err(failure) => fail(inside.report.as_fd(), failure, 125),
    }
}

/// Reports the failure and ends.
fn fail(report: BorrowedFd<'_>, failure: Failure, code: i32) -> ! {
    Report::Failed(failure).send(report);
    process::exit_now(code)
}

/// Every step up to the payload's process, in the order of [`Step::ORDER`].
fn confine(inside: &mut Inside<'_>) -> Result<Watched> {
    let plan = inside.plan;
    tie_to_parent(&inside.control)?;
    if let Some(socket) = inside.janitor.take() {
        tell_janitor(socket).at(Step::Janitor)?;
    }
    signal::reset().at(Step::Signals)?;
    map_ids(inside.prepared)?;
    let caller_umask = process::umask(0).at(Step::Umask)?;
    if inside.prepared.loopback {
        network::loopback_up().at(Step::Loopback)?;
    }
    if let Some(name) = &inside.prepared.hostname {
        nix::unistd::sethostname(name).at(Step::Hostname)?;
    }
    let proc = match plan.namespaces.pid {
        true => operations::new_proc(),
        // The caller's own may not be made anew.
        false => walk::open_directory(c"/proc"),
    };
    let proc = proc.at(Step::Proc)?;
    let view = proc.try_clone().map_err(|_| Errno::EMFILE).at(Step::Proc)?;
    for ceiling in &mut inside.prepared.ceilings {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        ceiling.file = Some(openat(&proc, ceiling.path, flags, Mode::empty()).at(Step::Ceilings)?);
    }
    let Built { root, stacked, devpts } = build_root(inside, proc)?;
    enter_root(&root, stacked)?;
    let root = (mount::mount_id_of(root).at(Step::Pivot)?, plan.root.read_only);
    for ceiling in &mut inside.prepared.ceilings {
        let file = ceiling.file.take().ok_or(Errno::EBADF).at(Step::Ceilings)?;
        set_ceiling(&file, ceiling.value.to_bytes()).at(Step::Ceilings)?;
    }
    if let Some(offsets) = &inside.prepared.time_offsets {
        shift_clocks(offsets).at(Step::Time)?;
    }
    hide(inside, &view, devpts.as_ref()).at(Step::HideInit)?;
    let mut terminal = match &inside.prepared.terminal {
        Some(outer) => Some(own_terminal::make(outer, devpts).at(Step::Terminal)?),
        None => None,
    };
    drop_privileges(plan, inside.prepared)?;
    confirm_mounts(inside.prepared, &view, root)?;
    process::umask(caller_umask).at(Step::Umask)?;
    let signals = watch::block_signals().at(Step::Fork)?;
    match process::fork().at(Step::Fork)? {
        Forked::Parent(payload) => {
            own_terminal::settle(payload, terminal.as_mut(), &inside.control);
            Ok(Watched { payload, terminal, signals, waits: plan.background.value == Background::Wait })
        }
        Forked::Child => match payload(inside, &view, terminal.as_ref()) {
            Ok(never) => match never {},
            Err(failure) => fail(inside.report.as_fd(), failure, exit_code(failure)),
        },
    }
}

/// Asks to be killed when sbx dies, and makes sure that it has not died before that: the check comes after the request, so
/// that no moment is left between them.
fn tie_to_parent(control: &OwnedFd) -> Result<()> {
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).at(Step::Lifeline)?;
    took_effect(prctl::get_pdeathsig() == Ok(Some(Signal::SIGKILL))).at(Step::Lifeline)?;
    let mut hung_up = [PollFd::new(control.as_fd(), PollFlags::empty())];
    match poll(&mut hung_up, PollTimeout::ZERO).at(Step::Lifeline)? {
        0 => Ok(()),
        _ => Err(Failure { step: Step::Lifeline, item: 0, errno: Errno::EPIPE }),
    }
}

/// Sends the janitor what it waits for before it takes the placeholders away: the end of PID 1. From here on not even a
/// killed sbx leaves it without. Its socket is closed with everything else that PID 1 doesn't need, and not before then: the
/// janitor waits for that too.
fn tell_janitor(socket: &OwnedFd) -> nix::Result<()> {
    message::send_descriptor(socket, process::pidfd_of(getpid())?)
}

/// Maps one uid and one gid. setgroups must be denied first (user_namespaces(7)).
fn map_ids(prepared: &Prepared) -> Result<()> {
    let maps = [
        (c"/proc/self/setgroups", "deny"),
        (c"/proc/self/uid_map", prepared.uid_map.as_str()),
        (c"/proc/self/gid_map", prepared.gid_map.as_str()),
    ];
    for (item, (path, text)) in (0..).zip(maps) {
        let file = nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
        let file = file.at_item(Step::IdMap, item)?;
        nix::unistd::write(&file, text.as_bytes()).at_item(Step::IdMap, item)?;
    }
    // The maps are seen in the payload's status; this is not.
    let mut denied = [0; 8];
    let length = read_all(nix::fcntl::AT_FDCWD, c"/proc/self/setgroups", &mut denied).at(Step::IdMap)?;
    took_effect(denied.get(..length) == Some(b"deny\n")).at(Step::IdMap)
}

/// The root tmpfs and everything in it.
fn build_root(inside: &mut Inside<'_>, proc: OwnedFd) -> Result<Built> {
    let mut own = std::mem::take(&mut inside.prepared.own_devices);
    let mut attached = std::mem::take(&mut inside.prepared.attached);
    let prepared = &*inside.prepared;
    operations::clone_root(prepared, &mut inside.whole)?;
    let sizes = (prepared.root_size.as_c_str(), prepared.root_inodes.as_c_str());
    let on_host = inside.plan.mount_points_on_host;
    let mut builder = Builder::new(sizes, &mut own, proc, on_host, &mut attached)?;
    for item in &prepared.items {
        let whole = inside.whole.iter().find(|(index, _)| *index == item.index).map(|(_, tree)| tree);
        builder.perform(item, whole)?;
    }
    let root = builder.finish(inside.plan.root.read_only)?;
    // The vector is given up rather than freed: its memory belongs to an allocator that this process leaves alone.
    std::mem::forget(own);
    inside.prepared.attached = attached;
    Ok(root)
}

/// One pivot_root with the old root stacked over the new one, and everything that is stacked there detached: at no moment
/// does the old root have a name. What is above the root afterwards must be the root.
fn enter_root(root: &OwnedFd, stacked: usize) -> Result<()> {
    fchdir(root).at(Step::Pivot)?;
    pivot_root(c".", c".").at(Step::Pivot)?;
    for _ in 0..stacked {
        nix::mount::umount2(c".", nix::mount::MntFlags::MNT_DETACH).at(Step::Pivot)?;
    }
    chdir(c"/").at(Step::Pivot)?;
    let (above, own) = (mount::mount_id(c"/.."), mount::mount_id(c"."));
    if above.at(Step::Pivot)? == own.at(Step::Pivot)? {
        Ok(())
    } else {
        Err(Failure { step: Step::Pivot, item: 0, errno: Errno::EBUSY })
    }
}

fn set_ceiling(file: &OwnedFd, value: &[u8]) -> nix::Result<()> {
    write_all(file, value)?;
    let mut now = [0; 24];
    let length = nix::sys::uio::pread(file, &mut now, 0)?;
    took_effect(now.get(..length).is_some_and(|now| now.trim_ascii_end() == value))
}

/// A time namespace for all later children. Its offsets can only be written before the first of them.
fn shift_clocks(offsets: &str) -> nix::Result<()> {
    unshare(CLONE_NEWTIME)?;
    let file =
        nix::fcntl::open(c"/proc/self/timens_offsets", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write_all(&file, offsets.as_bytes())?;
    let mut now = [0; 256];
    let length = read_all(nix::fcntl::AT_FDCWD, c"/proc/self/timens_offsets", &mut now)?;
    let now = now.get(..length).unwrap_or_default();
    took_effect(readback::words(now).eq(readback::words(offsets.as_bytes())))
}

/// PID 1 becomes unreadable for the payload, closes what else the caller leaked to it, and leaves the caller's terminal
/// session.
fn hide(inside: &mut Inside<'_>, view: &OwnedFd, devpts: Option<&OwnedFd>) -> nix::Result<()> {
    let prepared = &mut *inside.prepared;
    prepared.kept.extend([inside.report.as_raw_fd(), inside.control.as_raw_fd(), view.as_raw_fd()]);
    prepared.kept.extend(devpts.map(AsRawFd::as_raw_fd));
    prepared.kept.sort_unstable();
    process::close_all_but(&prepared.kept)?;
    if inside.plan.privileges.hide_init {
        prctl::set_dumpable(false)?;
        took_effect(prctl::get_dumpable() == Ok(false))?;
        process::hide_arguments(c"sbx-init");
    }
    if inside.plan.terminal.value == TerminalMode::Inherit {
        return Ok(());
    }
    took_effect(setsid()? == getpid())
}

fn confirm_mounts(prepared: &mut Prepared, view: &OwnedFd, root: (u64, bool)) -> Result<()> {
    let mut attached = std::mem::take(&mut prepared.attached);
    let mut table = std::mem::take(&mut prepared.table);
    let confirmed = readback::mounts(view, prepared, &mut attached, root, &mut table);
    // Given up rather than freed, as above.
    std::mem::forget((attached, table));
    confirmed
}

fn drop_privileges(plan: &Plan, prepared: &Prepared) -> Result<()> {
    if plan.privileges.drop_capabilities {
        caps::clear_bounding_and_ambient().at(Step::Capabilities)?;
        caps::lock_securebits().at(Step::Capabilities)?;
        caps::clear_sets().at(Step::Capabilities)?;
    }
    if plan.privileges.no_new_privs {
        prctl::set_no_new_privs().at(Step::NoNewPrivs)?;
    }
    let probe = ScopeProbe::new(plan).at(Step::Landlock)?;
    landlock::enforce(plan, prepared).at(Step::Landlock)?;
    match probe {
        Some(probe) => took_effect(probe.is_scoped().at(Step::Landlock)?).at(Step::Landlock),
        None => Ok(()),
    }
}

/// PID 2, up to its program.
fn payload(
    inside: &Inside<'_>,
    view: &OwnedFd,
    terminal: Option<&OwnTerminal>,
) -> Result<std::convert::Infallible> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).at(Step::Group)?;
    took_effect(getpgrp() == getpid()).at(Step::Group)?;
    if let Some(terminal) = terminal.filter(|terminal| terminal.foreground) {
        // SIGTTOU is blocked still.
        tcsetpgrp(&terminal.side, getpgrp()).at(Step::Group)?;
    }
    SigSet::empty().thread_set_mask().at(Step::Signals)?;
    let limits = &inside.plan.limits;
    limit(Resource::RLIMIT_CORE, limits.core.value).at_item(Step::Limits, 0)?;
    limit(Resource::RLIMIT_NPROC, limits.processes.value).at_item(Step::Limits, 1)?;
    if let Some(files) = &limits.open_files {
        limit(Resource::RLIMIT_NOFILE, files.value).at_item(Step::Limits, 2)?;
    }
    chdir(inside.prepared.directory.as_c_str()).at(Step::Directory)?;
    for (item, fd) in (0..).zip(&inside.plan.keep_fds) {
        process::keep_across_exec(*fd).at_item(Step::Descriptors, item)?;
    }
    if let Some(filter) = &inside.prepared.filter {
        process::filter_system_calls(filter).at(Step::Filter)?;
    }
    readback::payload(inside.plan, inside.prepared, view)?;
    // The pipe's end alone does not tell a program that was started from one whose sandbox was killed before.
    Report::Executing.try_send(&inside.report).at(Step::Confirm)?;
    execute(inside.prepared)
}

/// Sets a limit, soft and hard; one below the caller's own stays as low as it is.
fn limit(resource: Resource, value: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let value = value.min(hard);
    setrlimit(resource, value, value)
}

/// Tries each candidate, as execvp(3) does: a directory of `PATH` that lacks the program, or has one that can't be executed,
/// is passed over.
fn execute(prepared: &Prepared) -> Result<std::convert::Infallible> {
    let mut worst = Failure { step: Step::Exec, item: 0, errno: Errno::ENOENT };
    for (item, path) in (0..).zip(&prepared.candidates) {
        let errno = if prepared.filter.is_some() && is_foreign(path) {
            Errno::ENOEXEC
        } else {
            process::execve(path, &prepared.arguments, &prepared.environment)
        };
        let failure = Failure { step: Step::Exec, item, errno };
        match errno {
            Errno::ENOENT | Errno::ENOTDIR if nix::sys::stat::stat(path.as_c_str()).is_ok() => {
                return Err(Failure { step: Step::Interpreter, ..failure });
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES if is_directory(path) && prepared.searched => {}
            Errno::EACCES if is_directory(path) => return Err(Failure { errno: Errno::EISDIR, ..failure }),
            Errno::EACCES => worst = failure,
            _ => return Err(failure),
        }
    }
    Err(worst)
}

/// Whether a file is a program for another architecture, 32-bit x86 among them: its first system call would end it without
/// a word.
fn is_foreign(path: &std::ffi::CStr) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(file) = nix::fcntl::open(path, flags, Mode::empty()) else { return false };
    let mut header = [0; host::ELF_HEADER];
    nix::unistd::read(&file, &mut header) == Ok(header.len()) && host::is_foreign_elf(&header)
}

fn is_directory(path: &std::ffi::CStr) -> bool {
    use nix::sys::stat::{SFlag, stat};
    stat(path).is_ok_and(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// The shell's codes for a program that can't be run.
fn exit_code(failure: Failure) -> i32 {
    match failure.step {
        Step::Exec if failure.errno == Errno::ENOENT => 127,
        Step::Interpreter => 127,
        Step::Exec => 126,
        _ => 125,
    }
}
