//! Who PID 1 is: whose death is its own, which ids it has, and what it may do. Nothing here allocates.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::setgroups;

use super::init::Inside;
use super::landlock;
use super::prepare::Prepared;
use super::readback::{self, ScopeProbe, read_all, took_effect};
use super::step::{At, Failure, Result, Step};
use crate::sys::{caps, credentials, message};

/// Asks to be killed when sbx dies, and makes sure that it has not died before that: the check comes after the request, so
/// that no moment is left between them.
pub(super) fn tie_to_parent(control: &OwnedFd) -> Result<()> {
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).at(Step::Lifeline)?;
    took_effect(prctl::get_pdeathsig() == Ok(Some(Signal::SIGKILL))).at(Step::Lifeline)?;
    let mut hung_up = [PollFd::new(control.as_fd(), PollFlags::empty())];
    match poll(&mut hung_up, PollTimeout::ZERO).at(Step::Lifeline)? {
        0 => Ok(()),
        _ => Err(Failure { step: Step::Lifeline, item: 0, errno: Errno::EPIPE }),
    }
}

/// The id maps.
pub(super) fn take_ids(inside: &Inside<'_>) -> Result<()> {
    match inside.plan.identity.subordinate {
        None => map_ids(inside.prepared),
        Some(_) => await_ids(inside),
    }
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

/// Waits for sbx to have the ids mapped: all of them, as planned. The caller's supplementary groups go, which root inside could
/// not keep from the payload anyway.
fn await_ids(inside: &Inside<'_>) -> Result<()> {
    if message::receive(&inside.control, &mut [0]).at(Step::IdMap)?.0 == 0 {
        return Err(Failure { step: Step::IdMap, item: 0, errno: Errno::EPIPE });
    }
    let maps = [
        (c"/proc/self/uid_map", &inside.prepared.uid_map),
        (c"/proc/self/gid_map", &inside.prepared.gid_map),
    ];
    for (item, (path, text)) in (1..).zip(maps) {
        let mut now = [0; 4096];
        let length = read_all(nix::fcntl::AT_FDCWD, path, &mut now).at_item(Step::IdMap, item)?;
        let now = now.get(..length).unwrap_or_default();
        let as_planned = readback::words(now).eq(readback::words(text.as_bytes()));
        took_effect(as_planned).at_item(Step::IdMap, item)?;
    }
    setgroups(&[]).at(Step::IdMap)
}

/// Everything that PID 1 may still do goes: it becomes the payload's user and no more.
pub(super) fn drop_privileges(inside: &Inside<'_>) -> Result<()> {
    let plan = inside.plan;
    let kept = plan.privileges.kept();
    let drops = plan.privileges.drop_capabilities;
    if drops {
        caps::reduce_bounding_and_ambient(kept).at(Step::Capabilities)?;
        if kept == 0 {
            caps::lock_securebits().at(Step::Capabilities)?;
        }
    }
    if let Some(user) = &plan.identity.runs_as {
        credentials::become_user(user.uid, user.gid, &user.groups).at(Step::User)?;
        // That has taken the tie away.
        tie_to_parent(&inside.control)?;
    }
    if drops {
        caps::reduce_sets(kept).at(Step::Capabilities)?;
    }
    if plan.privileges.no_new_privs {
        prctl::set_no_new_privs().at(Step::NoNewPrivs)?;
    }
    let probe = ScopeProbe::new(plan).at(Step::Landlock)?;
    landlock::enforce(plan, inside.prepared).at(Step::Landlock)?;
    match probe {
        Some(probe) => took_effect(probe.is_scoped().at(Step::Landlock)?).at(Step::Landlock),
        None => Ok(()),
    }
}
