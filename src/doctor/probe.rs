//! Tries everything that a sandbox is made of, each thing in a throw-away child.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated, RulesetStatus,
};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, chdir, fchdir, getgid, getppid, getuid, pivot_root};

use super::child::{Found, Reporter, run};
use super::facts::{Step, Tried};
use crate::sys::mount::{self, MountAttr};
use crate::sys::process::{self, Clone3};
use crate::sys::{NO_EFFECT, caps, landlock as kernel_landlock, network};

/// What a child tries: the steps, and how.
type Attempt = (&'static [Step], fn(&Reporter<'_>));

/// What is tried without a namespace.
const ALONE: [Attempt; 5] = [
    (&[Step::Clone3], clone3),
    (&[Step::CloseRange, Step::Openat2], descriptors),
    (&[Step::Keyring], keyring),
    (&[Step::Landlock], landlock),
    (&[Step::NoNewPrivs, Step::Seccomp], filter),
];

/// Namespaces that are tried one at a time, besides the user namespace that each needs.
const KINDS: [(Step, i32); 6] = [
    (Step::MountNamespace, libc::CLONE_NEWNS),
    (Step::PidNamespace, libc::CLONE_NEWPID),
    (Step::UtsNamespace, libc::CLONE_NEWUTS),
    (Step::IpcNamespace, libc::CLONE_NEWIPC),
    (Step::CgroupNamespace, libc::CLONE_NEWCGROUP),
    (Step::NetworkNamespace, libc::CLONE_NEWNET),
];

/// What is tried in all namespaces at once, as for a sandbox.
const INSIDE: &[Step] = &[
    Step::Together,
    Step::IdMaps,
    Step::Hostname,
    Step::Loopback,
    Step::TimeNamespace,
    Step::Proc,
    Step::Ceilings,
    Step::Tmpfs,
    Step::CloneTree,
    Step::Restrict,
    Step::Attach,
    Step::Devpts,
    Step::Mqueue,
    Step::Pivot,
    Step::Overlay,
    Step::Capabilities,
];

/// `CLONE_NEWTIME` (Linux 5.6); not in nix.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// How often a namespace is tried again when there are too many.
const TIMES: u32 = 25;

/// Tries it all. `home` is where programs may have to run.
///
/// # Errors
/// Not one child can be made.
pub(super) fn attempt_all(home: Option<&CStr>) -> nix::Result<Found> {
    let mut found = Found::new();
    for (steps, body) in ALONE {
        run(None, steps, &mut found, body)?;
    }
    if let Some(home) = home {
        run(None, &[Step::Home], &mut found, |report| {
            report.attempt(Step::Home, || programs_may_run(home));
        })?;
    }
    if found.get(&Step::Clone3).is_some_and(|tried| tried.works()) {
        namespaces(&mut found);
    }
    Ok(found)
}

/// Each kind alone, so that one that is off does not hide the others; then all that work.
fn namespaces(found: &mut Found) {
    let user = bit(libc::CLONE_NEWUSER);
    if !namespace(found, Step::UserNamespace, user) {
        return;
    }
    let mut flags = user;
    for (step, kind) in KINDS {
        if namespace(found, step, user | bit(kind)) {
            flags |= bit(kind);
        }
    }
    // Inside, nobody is mapped yet.
    let ids = (getuid(), getgid());
    make(found, Step::Together, INSIDE, flags, |report| inside(report, flags, ids));
}

fn bit(flag: i32) -> u64 {
    u64::from(flag as u32)
}

fn namespace(found: &mut Found, step: Step, flags: u64) -> bool {
    make(found, step, &[step], flags, |report| _ = report.attempt(step, || Ok(())));
    found.get(&step).is_some_and(|tried| tried.works())
}

/// Makes a child in these namespaces; `step` is what fails when there is none.
fn make(found: &mut Found, step: Step, steps: &[Step], flags: u64, body: impl Fn(&Reporter<'_>)) {
    let mut result = run(Some(flags), steps, found, &body);
    for _ in 0..TIMES {
        // Those of the children before count until the kernel gets round to freeing them.
        if !matches!(result, Err(Errno::ENOSPC | Errno::EUSERS)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        result = run(Some(flags), steps, found, &body);
    }
    if let Err(errno) = result {
        found.insert(step, Tried::Failed(errno));
    }
}

/// In a child of a child: a filter may kill whoever calls it.
fn clone3(report: &Reporter<'_>) {
    report.attempt(Step::Clone3, || match process::clone3(Clone3::default())? {
        None => process::exit_now(0),
        Some((pid, _)) => match process::wait(pid) {
            // Where the ends of children are ignored, there is nothing to wait for.
            Err(Errno::ECHILD) => Ok(()),
            other => other.map(drop),
        },
    });
}

fn descriptors(report: &Reporter<'_>) {
    report.attempt(Step::CloseRange, || process::close_on_exec_from(3));
    report.attempt(Step::Openat2, || {
        let root = open_path(c"/")?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&root, c"/", how).map(drop)
    });
}

fn keyring(report: &Reporter<'_>) {
    report.attempt(Step::Keyring, || process::join_session_keyring(c"sbx-empty"));
}

/// The version, where a rule that forbids everything is in force afterwards.
fn landlock(report: &Reporter<'_>) {
    report.ask(Step::Landlock, || {
        let version = kernel_landlock::version()?;
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let created = ruleset.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create);
        let status = created.and_then(RulesetCreated::restrict_self).map_err(|error| errno_of(&error))?;
        match (status.ruleset, open(c"/", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())) {
            (RulesetStatus::FullyEnforced, Err(Errno::EACCES)) => Ok(version),
            _ => Err(NO_EFFECT),
        }
    });
}

/// The errno at the bottom of a library's error.
fn errno_of(error: &(dyn std::error::Error + 'static)) -> Errno {
    let below = std::iter::successors(Some(error), |error| error.source());
    let errnos = below.filter_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error());
    errnos.last().map_or(Errno::EOPNOTSUPP, Errno::from_raw)
}

fn filter(report: &Reporter<'_>) {
    let locked = report.attempt(Step::NoNewPrivs, || {
        prctl::set_no_new_privs()?;
        took_effect(prctl::get_no_new_privs()?)
    });
    if locked {
        report.attempt(Step::Seccomp, || {
            process::filter_system_calls(&forbid(libc::SYS_getppid as u32))?;
            took_effect(getppid().as_raw() == -1)
        });
    }
}

/// A filter in which this call fails: load its number, compare, allow or refuse (bpf(2)).
fn forbid(call: u32) -> [seccompiler::sock_filter; 4] {
    let instruction = |code, jf, k| seccompiler::sock_filter { code, jt: 0, jf, k };
    let (load, equal, answer) = (0x20, 0x15, 0x06);
    [
        instruction(load, 0, 0),
        instruction(equal, 1, call),
        instruction(answer, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        instruction(answer, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn took_effect(it_did: bool) -> nix::Result<()> {
    if it_did { Ok(()) } else { Err(NO_EFFECT) }
}

fn programs_may_run(home: &CStr) -> nix::Result<()> {
    let flags = nix::sys::statvfs::statvfs(home)?.flags();
    if flags.contains(nix::sys::statvfs::FsFlags::ST_NOEXEC) { Err(Errno::EACCES) } else { Ok(()) }
}

/// What a sandbox is made of, in its order. What does not need the step before goes on without it.
fn inside(report: &Reporter<'_>, flags: u64, ids: (Uid, Gid)) {
    let has = |kind: i32| flags & bit(kind) != 0;
    report.attempt(Step::Together, || Ok(()));
    if !report.attempt(Step::IdMaps, || map_ids(ids)) {
        return;
    }
    if has(libc::CLONE_NEWUTS) {
        report.attempt(Step::Hostname, || nix::unistd::sethostname("sandbox"));
    }
    if has(libc::CLONE_NEWNET) {
        report.attempt(Step::Loopback, network::loopback_up);
    }
    report.attempt(Step::TimeNamespace, time_namespace);
    if has(libc::CLONE_NEWNS) {
        if has(libc::CLONE_NEWPID) {
            let proc = report.make(Step::Proc, || {
                let attributes = MountAttr::NOSUID.and(MountAttr::NODEV).and(MountAttr::NOEXEC);
                mount::new_filesystem(c"proc", &[], attributes)
            });
            if let Some(proc) = proc {
                report.attempt(Step::Ceilings, || ceilings(&proc));
            }
        }
        mounts(report, has(libc::CLONE_NEWIPC));
    }
    report.attempt(Step::Capabilities, || {
        caps::reduce_bounding_and_ambient(0)?;
        caps::lock_securebits()?;
        caps::reduce_sets(0)
    });
}

fn map_ids((uid, gid): (Uid, Gid)) -> nix::Result<()> {
    write_file(c"/proc/self/setgroups", "deny")?;
    write_file(c"/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
    write_file(c"/proc/self/gid_map", &format!("{gid} {gid} 1"))
}

fn write_file(path: &CStr, text: &str) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&file, text.as_bytes()).map(drop)
}

fn time_namespace() -> nix::Result<()> {
    unshare(CLONE_NEWTIME)?;
    write_file(c"/proc/self/timens_offsets", "monotonic 1 0")
}

fn ceilings(proc: &OwnedFd) -> nix::Result<()> {
    let path = c"sys/user/max_user_namespaces";
    let file = openat(proc, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&file, b"0").map(drop)
}

/// A root filesystem with everything bound into it, and then that as the root.
fn mounts(report: &Reporter<'_>, has_ipc: bool) {
    let parameters = [(c"mode", Some(c"755")), (c"size", Some(c"1m"))];
    let plain = MountAttr::NOSUID.and(MountAttr::NODEV);
    let root = report.make(Step::Tmpfs, || mount::new_filesystem(c"tmpfs", &parameters, plain));
    let tree = report.make(Step::CloneTree, || mount::clone_tree(AT_FDCWD, c"/", true));
    if let Some(tree) = &tree {
        report.attempt(Step::Restrict, || mount::restrict(tree, MountAttr::RDONLY.and(plain), true));
    }
    report.attempt(Step::Devpts, || {
        let parameters = [(c"ptmxmode", Some(c"0666"))];
        mount::new_filesystem(c"devpts", &parameters, MountAttr::NOSUID.and(MountAttr::NOEXEC)).map(drop)
    });
    if has_ipc {
        report.attempt(Step::Mqueue, || mount::new_filesystem(c"mqueue", &[], plain).map(drop));
    }
    let (Some(root), Some(tree)) = (root, tree) else { return };
    let attached = report.attempt(Step::Attach, || {
        mount::attach(&root, open_path(c"/")?, c"")?;
        mkdirat(&root, c"bound", Mode::S_IRWXU)?;
        mount::attach(&tree, &root, c"bound")
    });
    let pivoted = attached && report.attempt(Step::Pivot, || enter(&root));
    if pivoted {
        report.attempt(Step::Overlay, || overlay(&root));
    }
}

fn enter(root: &OwnedFd) -> nix::Result<()> {
    fchdir(root)?;
    pivot_root(c".", c".")?;
    nix::mount::umount2(c".", MntFlags::MNT_DETACH)?;
    chdir(c"/")
}

/// With a directory of the lower layer removed in it, which takes more than a mount.
fn overlay(root: &OwnedFd) -> nix::Result<()> {
    for name in [c"lower", c"lower/old", c"upper", c"work", c"merged"] {
        mkdirat(root, name, Mode::S_IRWXU)?;
    }
    let options = c"userxattr,lowerdir=/lower,upperdir=/upper,workdir=/work";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(Some(c"overlay"), c"/merged", Some(c"overlay"), flags, Some(options))?;
    nix::unistd::unlinkat(root, c"merged/old", nix::unistd::UnlinkatFlags::RemoveDir)
}

fn open_path(path: &CStr) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY, Mode::empty())
}
