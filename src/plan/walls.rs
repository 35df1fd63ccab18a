//! The walls beside namespaces and mounts: the filter of system calls, and Landlock.
#![forbid(unsafe_code)]

use super::{PlanError, Privileges, Seccomp};
use crate::host::Host;
use crate::invocation::Invocation;
use crate::profile::{LandlockScope, Level, Nested, Profile, Setting};
use crate::seccomp::{self, NestedCalls};

/// What Landlock scopes, if the kernel can: since ABI 6 (Linux 6.12).
pub(super) fn landlock_scope(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    misses: &mut Vec<String>,
) -> Result<Vec<Setting<LandlockScope>>, PlanError> {
    let scope = &profile.landlock.scope;
    let needed = (!scope.is_empty()).then_some(Needed {
        what: "scope signals and sockets",
        abi: 6,
        since: "6.12",
        asked: false,
    });
    let reached = landlock(profile, invocation, host, misses, needed)?;
    Ok(if reached { scope.clone() } else { Vec::new() })
}

/// By which version of Landlock's interface files are ruled, if the profile wants it and the kernel has any: since ABI 1
/// (Linux 5.13).
pub(super) fn landlock_files(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    misses: &mut Vec<String>,
) -> Result<Option<Setting<u32>>, PlanError> {
    let files = &profile.landlock.files;
    if files.value && profile.namespaces.nested.value == Nested::Full {
        return Err(PlanError::Conflict {
            why:
                "cannot rule files by Landlock and allow all nested namespaces: such rules forbid every mount"
                    .to_owned(),
            origin: files.origin.clone(),
            hint: "leave out `landlock.files`, or set `namespaces.nested` to \"none\" or \"browser\""
                .to_owned(),
        });
    }
    let needed =
        files.value.then_some(Needed { what: "rule files by Landlock", abi: 1, since: "5.13", asked: true });
    let reached = landlock(profile, invocation, host, misses, needed)?;
    Ok(reached.then(|| Setting::new(host.landlock_abi, files.origin.clone())))
}

/// Something of Landlock's.
struct Needed {
    what: &'static str,
    /// The version of the interface that has it.
    abi: u32,
    /// The version of Linux that brought it.
    since: &'static str,
    /// Whether it is there only because somebody asked for it, who then hears of its lack.
    asked: bool,
}

/// Whether it is to be had, by the profile's level.
fn landlock(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    misses: &mut Vec<String>,
    needed: Option<Needed>,
) -> Result<bool, PlanError> {
    let level = &profile.landlock.level;
    let Some(needed) = needed.filter(|_| level.value != Level::Off) else { return Ok(false) };
    if host.landlock_abi >= needed.abi {
        return Ok(true);
    }
    let why = match host.landlock_abi {
        0 => format!("cannot {}: this kernel has no Landlock, or it is switched off", needed.what),
        abi => format!("cannot {}: this kernel has Landlock ABI {abi}, not {}", needed.what, needed.abi),
    };
    match level.value {
        Level::Available | Level::Prefer if invocation.strict => {}
        Level::Available if !needed.asked => return Ok(false),
        Level::Available | Level::Prefer => {
            misses.push(format!("{why}; running without"));
            return Ok(false);
        }
        Level::Require | Level::Off => {}
    }
    let hint = format!("use Linux {} or later with Landlock switched on", needed.since);
    Err(PlanError::Conflict { why, origin: level.origin.clone(), hint })
}

/// The filter: every word must be one, and together they must make a filter.
pub(super) fn seccomp(
    profile: &Profile,
    nested: Nested,
    privileges: &Privileges,
) -> Result<Seccomp, PlanError> {
    let (allow, deny) = (&profile.seccomp.allow, &profile.seccomp.deny);
    for word in allow.iter().chain(deny) {
        let wrong = |why| PlanError::SystemCall { why, origin: word.origin.clone() };
        seccomp::check_word(&word.value).map_err(wrong)?;
    }
    let keeps = |wanted| privileges.capabilities.iter().any(|kept| kept.value == wanted);
    let filter = Seccomp {
        allow: allow.clone(),
        deny: deny.clone(),
        nested: match nested {
            Nested::None => NestedCalls::None,
            Nested::Browser => NestedCalls::Browser,
            Nested::Full => NestedCalls::Full,
        },
        chroot: keeps(caps::Capability::CAP_SYS_CHROOT),
        set_id: keeps(caps::Capability::CAP_FSETID),
    };
    if let Some(last) = deny.last().or(allow.last()) {
        let wrong = |why| PlanError::SystemCall { why, origin: last.origin.clone() };
        seccomp::compile(&filter.policy()).map_err(wrong)?;
    }
    Ok(filter)
}
