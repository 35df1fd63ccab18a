//! Who the payload is, and what of root's powers it keeps inside its user namespace.
#![forbid(unsafe_code)]

use caps::Capability;

use super::image;
use super::mount::{Access, Mount, MountOp, OverlayUpper};
use super::{IdRange, Identity, PlanError, Privileges, Subordinate};
use crate::diag::quote;
use crate::host::{Host, IdRanges, SubordinateIds};
use crate::invocation::Invocation;
use crate::profile::{Level, Profile, Setting, UidMap};

/// What a payload may keep: none of these reaches another namespace, a mount, or PID 1.
pub(super) const KEPT: [Capability; 13] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_SETFCAP,
];

/// Those that mark files for whoever runs them, outside as well.
const MARKS_FILES: [Capability; 2] = [Capability::CAP_FSETID, Capability::CAP_SETFCAP];

/// The id map.
///
/// # Errors
/// [`PlanError::Conflict`] where subordinate ids are asked for and the caller has none.
pub(super) fn resolve(profile: &Profile, host: &Host) -> Result<Identity, PlanError> {
    let map = &profile.privileges.uid;
    let (uid, gid) = match map.value {
        UidMap::Same => (host.uid, host.gid),
        UidMap::Root => (0, 0),
        UidMap::Subordinate => {
            let identity = Identity::with_subordinate(host.uid, host.gid, &host.subordinate);
            let mut identity = identity.ok_or_else(|| no_ids(map, host))?;
            identity.runs_as = image::runs_as(profile, host, &identity)?;
            return Ok(identity);
        }
    };
    Ok(Identity { outside_uid: host.uid, outside_gid: host.gid, uid, gid, subordinate: None, runs_as: None })
}

impl Identity {
    /// 0 is this uid and gid, and the subordinate ids follow; nothing where there are none of either kind.
    pub fn with_subordinate(uid: u32, gid: u32, ids: &SubordinateIds) -> Option<Self> {
        let subordinate = Subordinate { uids: ranges(&ids.uids), gids: ranges(&ids.gids) };
        let complete = !subordinate.uids.is_empty() && !subordinate.gids.is_empty();
        complete.then_some(Self {
            outside_uid: uid,
            outside_gid: gid,
            uid: 0,
            gid: 0,
            subordinate: Some(subordinate),
            runs_as: None,
        })
    }
}

/// Whether some range has the id.
pub(super) fn has_id(ranges: &[IdRange], id: u32) -> bool {
    id == 0 || ranges.iter().any(|range| id >= range.inside && id - range.inside < range.count)
}

fn no_ids(map: &Setting<UidMap>, host: &Host) -> PlanError {
    let files = [("/etc/subuid", &host.subordinate.uids), ("/etc/subgid", &host.subordinate.gids)];
    let missing: Vec<&str> =
        files.into_iter().filter(|(_, ranges)| ranges.is_empty()).map(|(file, _)| file).collect();
    PlanError::Conflict {
        why: format!("cannot map subordinate ids: {} has none in {}", quote(&host.user), missing.join(" and in ")),
        origin: map.origin.clone(),
        hint: "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, with ids that nobody else has"
            .to_owned(),
    }
}

/// One after the other from 1 on; 0 is the caller.
fn ranges(given: &IdRanges) -> Vec<IdRange> {
    let mut next: u32 = 1;
    let mut range = |(outside, count): &(u32, u32)| {
        let inside = next;
        // The last id is no id (`(uid_t) -1`).
        next = inside.checked_add(*count).filter(|next| *next < u32::MAX)?;
        Some(IdRange { inside, outside: *outside, count: *count })
    };
    given.iter().map_while(&mut range).collect()
}

/// What PID 1 and the payload have.
///
/// # Errors
/// [`PlanError::Conflict`] for a capability that would undo a wall, for one without an id 0 to go with it, and for one that marks
/// files where others may run them.
pub(super) fn privileges(
    profile: &Profile,
    invocation: &Invocation,
    identity: &Identity,
    mounts: &[Mount],
) -> Result<Privileges, PlanError> {
    let kept = &profile.privileges.capabilities;
    for capability in kept {
        let conflict = |why, hint: &str| PlanError::Conflict {
            why: format!("cannot keep {}: {why}", capability.value),
            origin: capability.origin.clone(),
            hint: hint.to_owned(),
        };
        if profile.privileges.uid.value == UidMap::Same {
            let hint = "set `privileges.uid` to \"subordinate\", or to \"root\"";
            return Err(conflict("capabilities are kept for uid 0 inside alone", hint));
        }
        if !KEPT.contains(&capability.value) {
            let why = "it undoes walls of the sandbox, or gives nothing inside a user namespace";
            return Err(conflict(why, &format!("leave it out; kept can be {}", names(&KEPT))));
        }
    }
    // Another user than root has none, as after a login.
    let capabilities = if identity.of_payload().0 == 0 { kept.clone() } else { Vec::new() };
    check_marked_files(&capabilities, mounts)?;
    Ok(Privileges {
        drop_capabilities: true,
        capabilities,
        no_new_privs: true,
        hide_init: true,
        session_keyring: if invocation.strict { Level::Require } else { Level::Available },
    })
}

fn names(capabilities: &[Capability]) -> String {
    let mut names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    let last = names.pop().unwrap_or_default();
    format!("{} and {last}", names.join(", "))
}

/// A file that is marked so runs with its owner's ids, or with capabilities, for other users of the host as well: whoever can
/// mark files must not write where others may run them.
fn check_marked_files(kept: &[Setting<Capability>], mounts: &[Mount]) -> Result<(), PlanError> {
    let marks = kept.iter().find(|kept| MARKS_FILES.contains(&kept.value));
    let Some(marks) = marks else { return Ok(()) };
    let Some(open) = mounts.iter().find(|mount| is_open_to_others(&mount.op)) else { return Ok(()) };
    Err(PlanError::Conflict {
        why: format!(
            "cannot keep {} and let the sandbox write in {}: others could run what it leaves there with an owner's ids",
            marks.value,
            quote(&open.dest)
        ),
        origin: marks.origin.clone(),
        hint: "leave one of them out; --cwd none gives nothing of the working directory, and a layer by name is nobody else's"
            .to_owned(),
    })
}

/// Whether what is written there lies where the host's other users might reach it; sbx's own state they can't.
fn is_open_to_others(op: &MountOp) -> bool {
    match op {
        MountOp::Bind { access, create, .. } => *access == Access::Writable && create.is_none(),
        MountOp::Overlay { upper, .. } => {
            matches!(upper, OverlayUpper::Directory { .. } | OverlayUpper::Kept { own: false, .. })
        }
        _ => false,
    }
}
