//! The walls beside namespaces and mounts: the filter of system calls, and Landlock.
#![forbid(unsafe_code)]

use super::{PlanError, Seccomp};
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
    const SCOPE_ABI: u32 = 6;
    let level = &profile.landlock.level;
    let scope = &profile.landlock.scope;
    if level.value == Level::Off || scope.is_empty() || host.landlock_abi >= SCOPE_ABI {
        return Ok(if level.value == Level::Off { Vec::new() } else { scope.clone() });
    }
    let why = format!(
        "cannot scope signals and sockets: this kernel has Landlock ABI {}, not {SCOPE_ABI}",
        host.landlock_abi
    );
    match level.value {
        Level::Available | Level::Prefer if invocation.strict => {}
        Level::Prefer => {
            misses.push(format!("{why}; running without"));
            return Ok(Vec::new());
        }
        Level::Require => {}
        Level::Available | Level::Off => return Ok(Vec::new()),
    }
    let hint = "use Linux 6.12 or later with Landlock switched on".to_owned();
    Err(PlanError::Conflict { why, origin: level.origin.clone(), hint })
}

/// The filter: every word must be one, and together they must make a filter.
pub(super) fn seccomp(profile: &Profile) -> Result<Seccomp, PlanError> {
    let (allow, deny) = (&profile.seccomp.allow, &profile.seccomp.deny);
    for word in allow.iter().chain(deny) {
        let wrong = |why| PlanError::SystemCall { why, origin: word.origin.clone() };
        seccomp::check_word(&word.value).map_err(wrong)?;
    }
    let filter = Seccomp {
        allow: allow.clone(),
        deny: deny.clone(),
        nested: match profile.namespaces.nested.value {
            Nested::None => NestedCalls::None,
            Nested::Browser => NestedCalls::Browser,
            Nested::Full => NestedCalls::Full,
        },
    };
    if let Some(last) = deny.last().or(allow.last()) {
        let wrong = |why| PlanError::SystemCall { why, origin: last.origin.clone() };
        seccomp::compile(&filter.policy()).map_err(wrong)?;
    }
    Ok(filter)
}
