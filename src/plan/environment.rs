//! The payload's environment: an allow-list of the caller's, what the sandbox itself says, what the profile sets, what
//! the user typed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::Variable;
use super::command::DEFAULT_PATH;
use super::error::PlanError;
use crate::host::Host;
use crate::invocation::Invocation;
use crate::profile::{Origin, Profile};

/// What the sandbox itself says.
pub(super) struct Facts<'a> {
    pub(super) home: &'a Path,
    pub(super) user: &'a str,
    pub(super) runtime_dir: &'a Path,
    pub(super) desktop: &'a [Variable],
}

/// The environment, sorted by name.
pub(super) fn resolve(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    facts: &Facts<'_>,
) -> Result<Vec<Variable>, PlanError> {
    let mut variables: BTreeMap<OsString, (OsString, Origin)> = BTreeMap::new();
    let mut put = |name: OsString, value: OsString, origin: &Origin| {
        variables.insert(name, (value, origin.clone()));
    };
    put("PATH".into(), DEFAULT_PATH.into(), &Origin::Default);
    for pattern in &profile.environment.keep {
        for (name, value) in host.environment.iter().filter(|(name, _)| pattern.value.matches(name)) {
            put(name.clone(), value.clone(), &pattern.origin);
        }
    }
    put("HOME".into(), facts.home.into(), &Origin::Default);
    put("USER".into(), facts.user.into(), &Origin::Default);
    put("LOGNAME".into(), facts.user.into(), &Origin::Default);
    put("XDG_RUNTIME_DIR".into(), facts.runtime_dir.into(), &Origin::Default);
    put("container".into(), "sbx".into(), &Origin::Default);
    for Variable { name, value, origin } in facts.desktop {
        put(name.clone(), value.clone(), origin);
    }
    for (name, value) in &profile.environment.set {
        put(name.into(), (&value.value).into(), &value.origin);
    }
    for flag in &invocation.env {
        let value = match &flag.value {
            Some(value) => value.clone(),
            None => host
                .environment
                .iter()
                .find(|(name, _)| *name == flag.name)
                .map(|(_, value)| value.clone())
                .ok_or_else(|| PlanError::NoVariable(flag.name.clone()))?,
        };
        let origin = Origin::Flag(format!("--env {}", crate::diag::escape(&flag.name)));
        put(flag.name.clone(), value, &origin);
    }
    let variables = variables.into_iter().map(|(name, (value, origin))| Variable { name, value, origin });
    Ok(variables.collect())
}
