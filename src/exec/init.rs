//! The inside: PID 1 takes the steps of confinement in order, forks the payload, and reaps. From `clone3` on nothing here
//! allocates or formats; what fails is one report on a pipe.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, sched_setaffinity, unshare};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, chdir, fchdir, getpgrp, getpid, pivot_root, setpgid, setsid, tcsetpgrp};

use super::credentials::{drop_privileges, take_ids, tie_to_parent};
use super::execute::{execute, exit_code};
use super::files::write_all;
use super::mounts::{Builder, Built};
use super::operations;
use super::own_terminal::{self, OwnTerminal};
use super::prepare::Prepared;
use super::readback::{self, read_all, took_effect};
use super::resources::limit_resources;
use super::step::{At, Failure, Report, Result, Step};
use super::walk;
use super::watch::{self, Watched};
use crate::plan::Plan;
use crate::profile::{Background, TerminalMode};
use crate::sys::process::{self, Forked};
use crate::sys::{message, mount, network, signal};

/// `CLONE_NEWTIME` (Linux 5.6); not in nix.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// What PID 1 has from the outside.
pub(super) struct Inside<'a> {
    pub(super) plan: &'a Plan,
    pub(super) prepared: &'a mut Prepared,
    /// Clones of the host's root: room for all that the plan asks for.
    pub(super) whole: Vec<(u32, OwnedFd)>,
    /// Where it is said that nothing runs; closed by everybody once the payload's program runs.
    pub(super) report: Option<OwnedFd>,
    /// Commands come in, and what becomes of the payload goes out; hangs up when sbx is gone.
    pub(super) control: OwnedFd,
    /// Leads to the janitor of placeholders, if there are any.
    pub(super) janitor: Option<&'a OwnedFd>,
    /// How it comes into its cgroup, if it has one.
    pub(super) placement: Placement<'a>,
    /// The caller's mode mask, once it is known.
    pub(super) umask: u32,
}

/// How the sandbox comes into its cgroup.
pub(super) enum Placement<'a> {
    /// It has none.
    None,
    /// It is born in this one.
    Born(BorrowedFd<'a>),
    /// sbx moves it there, and sends it.
    Moved,
}

/// Never returns: not into the caller's code, of which this is a copy, even if a bug panics.
pub(super) struct NeverReturn;

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
            inside.report = None;
            watch::watch(watched, inside)
        }
        Err(failure) => fail(&inside, failure, 125),
    }
}

/// Reports the failure and ends.
fn fail(inside: &Inside<'_>, failure: Failure, code: i32) -> ! {
    if let Some(report) = &inside.report {
        Report::Failed(failure).send(report);
    }
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
    take_ids(inside)?;
    let caller_umask = process::umask(0).at(Step::Umask)?;
    if inside.prepared.loopback {
        network::loopback_up().at(Step::Loopback)?;
    }
    if let Some(name) = &inside.prepared.hostname {
        nix::unistd::sethostname(name).at(Step::Hostname)?;
    }
    // The caller's own may not be made anew.
    let own = plan.namespaces.pid;
    let proc = if own { operations::new_proc() } else { walk::open_directory(c"/proc") }.at(Step::Proc)?;
    let view = proc.try_clone().map_err(|_| Errno::EMFILE).at(Step::Proc)?;
    for ceiling in &mut inside.prepared.ceilings {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        ceiling.file = Some(openat(&proc, ceiling.path, flags, Mode::empty()).at(Step::Ceilings)?);
    }
    let delegates = plan.cgroup.as_ref().is_some_and(|cgroup| cgroup.delegate);
    if delegates {
        // What is mounted of cgroups begins with the one that it is mounted in.
        enter_cgroup(inside)?;
    }
    let Built { root, stacked, devpts } = build_root(inside, proc)?;
    enter_root(&root, stacked)?;
    let root = (mount::mount_id_of(root).at(Step::Pivot)?, plan.root.read_only);
    set_ceilings(inside.prepared).at(Step::Ceilings)?;
    if let Some(offsets) = &inside.prepared.time_offsets {
        shift_clocks(offsets).at(Step::Time)?;
    }
    if !delegates {
        enter_cgroup(inside)?;
    }
    hide(inside, &view, devpts.as_ref()).at(Step::HideInit)?;
    let own = |outer| own_terminal::make(outer, devpts, plan.identity.runs_as.as_ref());
    let mut terminal = inside.prepared.terminal.as_ref().map(own).transpose().at(Step::Terminal)?;
    drop_privileges(inside)?;
    confirm_mounts(inside.prepared, &view, root)?;
    process::umask(caller_umask).at(Step::Umask)?;
    inside.umask = caller_umask;
    let signals = watch::block_signals().at(Step::Fork)?;
    match process::fork().at(Step::Fork)? {
        Forked::Parent(payload) => {
            own_terminal::settle(payload, terminal.as_mut(), &inside.control);
            let waits = plan.background.value == Background::Wait;
            Ok(Watched { payload, terminal, signals, view, waits })
        }
        Forked::Child => match payload(inside, &view, terminal.as_ref()) {
            Ok(never) => match never {},
            Err(failure) => fail(inside, failure, exit_code(failure)),
        },
    }
}

/// Sends the janitor what it waits for before it takes the placeholders away: the end of PID 1. From here on not even a
/// killed sbx leaves it without. Its socket is closed with everything else that PID 1 doesn't need, and not before then: the
/// janitor waits for that too.
fn tell_janitor(socket: &OwnedFd) -> nix::Result<()> {
    message::send_descriptor(socket, process::pidfd_of(getpid())?)
}

/// The root tmpfs and everything in it.
fn build_root(inside: &mut Inside<'_>, proc: OwnedFd) -> Result<Built> {
    let mut own = std::mem::take(&mut inside.prepared.own_devices);
    let mut attached = std::mem::take(&mut inside.prepared.attached);
    let prepared = &*inside.prepared;
    operations::clone_root(prepared, &mut inside.whole)?;
    let sizes = (prepared.root_size.as_c_str(), prepared.root_inodes.as_c_str());
    let on_host = inside.plan.mount_points_on_host;
    let mut builder = Builder::new(sizes, &mut own, proc, on_host, &mut attached, &prepared.ways)?;
    for (at, item) in prepared.items.iter().enumerate() {
        let whole = inside.whole.iter().find(|(index, _)| *index == item.index).map(|(_, tree)| tree);
        let following = prepared.items.get(at + 1..).unwrap_or_default();
        builder.perform(item, following, whole)?;
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

fn set_ceilings(prepared: &mut Prepared) -> nix::Result<()> {
    for ceiling in &mut prepared.ceilings {
        let file = ceiling.file.take().ok_or(Errno::EBADF)?;
        set_ceiling(&file, ceiling.value.to_bytes())?;
    }
    Ok(())
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

/// Makes sure that this process, and so all that it starts, is in the cgroup with the limits, and that nothing above can be
/// seen. A namespace that was made before the move would show the way there.
fn enter_cgroup(inside: &mut Inside<'_>) -> Result<()> {
    settle_in_cgroup(inside)?;
    // Before Linux 6.2 a cgroup with a set of processors has its processes use all of them. None of the caller's may be in it.
    if let Some(affinity) = &inside.prepared.affinity {
        let _ = sched_setaffinity(Pid::from_raw(0), affinity);
    }
    Ok(())
}

fn settle_in_cgroup(inside: &mut Inside<'_>) -> Result<()> {
    let in_cgroup = |group: BorrowedFd<'_>| -> nix::Result<()> {
        let mut text = [0; 4096];
        let length = read_all(group, c"cgroup.procs", &mut text)?;
        took_effect(text.get(..length).is_some_and(|text| readback::words(text).any(|pid| pid == b"1")))
    };
    match inside.placement {
        Placement::None => Ok(()),
        Placement::Born(group) => in_cgroup(group).at(Step::Cgroup),
        Placement::Moved => {
            // Where it can't be had and need not be, there is only a word.
            match message::receive(&inside.control, &mut [0]).at(Step::Cgroup)? {
                (0, _) => return Err(Failure { step: Step::Cgroup, item: 0, errno: Errno::EPIPE }),
                (_, [Some(group), ..]) => in_cgroup(group.as_fd()).at(Step::Cgroup)?,
                (_, _) => inside.prepared.has_cgroup = false,
            }
            match inside.plan.namespaces.cgroup {
                true => unshare(CloneFlags::CLONE_NEWCGROUP).at(Step::Cgroup),
                false => Ok(()),
            }
        }
    }
}

/// PID 1 becomes unreadable for the payload, closes what else the caller leaked to it, and leaves the caller's terminal
/// session.
fn hide(inside: &mut Inside<'_>, view: &OwnedFd, devpts: Option<&OwnedFd>) -> nix::Result<()> {
    let prepared = &mut *inside.prepared;
    prepared.kept.extend([inside.control.as_raw_fd(), view.as_raw_fd()]);
    prepared.kept.extend(inside.report.as_ref().map(AsRawFd::as_raw_fd));
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
    limit_resources(inside.plan, inside.prepared.has_cgroup)?;
    chdir(inside.prepared.directory.as_c_str()).at(Step::Directory)?;
    for (item, fd) in (0..).zip(&inside.plan.keep_fds) {
        process::keep_across_exec(*fd).at_item(Step::Descriptors, item)?;
    }
    if let Some(filter) = &inside.prepared.filter {
        process::filter_system_calls(filter).at(Step::Filter)?;
    }
    readback::payload(inside.plan, inside.prepared, view, &inside.prepared.directory)?;
    // The pipe's end alone does not tell a program that was started from one whose sandbox was killed before.
    if let Some(report) = &inside.report {
        Report::Executing.try_send(report).at(Step::Confirm)?;
    }
    execute(inside.prepared)
}
