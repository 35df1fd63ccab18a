//! The payload's environment: an allow-list of the caller's, what the sandbox itself says, what the profile sets, what
//! the user typed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::command::DEFAULT_PATH;
use super::error::PlanError;
use super::image::Asked;
use super::{Directory, Variable};
use crate::host::{Host, WorkingDirectory};
use crate::invocation::Invocation;
use crate::profile::value::{EnvironmentPattern, PathTemplate, Token};
use crate::profile::{Origin, Profile, Setting};

/// What the sandbox itself says.
pub(super) struct Facts<'a> {
    pub(super) home: &'a Path,
    pub(super) user: &'a str,
    pub(super) runtime_dir: &'a Path,
    pub(super) desktop: &'a [Variable],
    pub(super) image: &'a Option<Asked<'a>>,
}

impl Facts<'_> {
    /// A value as it is inside: one that starts with a token is a path.
    fn expand(&self, host: &Host, value: &Setting<String>) -> Result<OsString, PlanError> {
        let template = value.value.starts_with("${").then(|| PathTemplate::parse(&value.value));
        let Some(Ok(template)) = template else { return Ok((&value.value).into()) };
        let uid = host.uid.to_string();
        let path = template.expand(|token| match (token, &host.cwd) {
            (Token::Home, _) => Some(self.home.as_os_str()),
            (Token::RuntimeDir, _) => Some(self.runtime_dir.as_os_str()),
            (Token::Downloads, _) => host.downloads.as_deref().map(Path::as_os_str),
            (Token::Cwd, WorkingDirectory::Known(path)) => Some(path.as_os_str()),
            (Token::Cwd, _) => None,
            (Token::Uid, _) => Some(uid.as_ref()),
        });
        path.map(PathBuf::into_os_string)
            .map_err(|token| PlanError::NoValue { token, origin: value.origin.clone() })
    }
}

/// The environment, sorted by name.
pub(super) fn resolve(
    profile: &Profile,
    invocation: &Invocation,
    host: &Host,
    facts: &Facts<'_>,
    directory: &Setting<Directory>,
) -> Result<Vec<Variable>, PlanError> {
    let mut variables: BTreeMap<OsString, (OsString, Origin)> = BTreeMap::new();
    let mut put = |name: OsString, value: OsString, origin: &Origin| {
        variables.insert(name, (value, origin.clone()));
    };
    put("PATH".into(), DEFAULT_PATH.into(), &Origin::Default);
    // An image knows its own programs better than the caller's environment does, a profile better still.
    let (usual, asked): (Vec<_>, Vec<_>) =
        profile.environment.keep.iter().partition(|pattern| pattern.origin == Origin::Default);
    let keep = |patterns: Vec<&Setting<EnvironmentPattern>>, put: &mut dyn FnMut(_, _, &Origin)| {
        for pattern in patterns {
            for (name, value) in host.environment.iter().filter(|(name, _)| pattern.value.matches(name)) {
                put(name.clone(), value.clone(), &pattern.origin);
            }
        }
    };
    keep(usual, &mut put);
    if let Some(image) = facts.image.as_ref() {
        image.variables().for_each(|(name, value)| put(name, value, &image.origin));
    }
    keep(asked, &mut put);
    put("HOME".into(), facts.home.into(), &Origin::Default);
    put("USER".into(), facts.user.into(), &Origin::Default);
    put("LOGNAME".into(), facts.user.into(), &Origin::Default);
    put("XDG_RUNTIME_DIR".into(), facts.runtime_dir.into(), &Origin::Default);
    put("container".into(), "sbx".into(), &Origin::Default);
    for Variable { name, value, origin } in facts.desktop {
        put(name.clone(), value.clone(), origin);
    }
    for (name, value) in &profile.environment.set {
        put(name.into(), facts.expand(host, value)?, &value.origin);
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
    Ok(set_pwd(variables.collect(), directory))
}

/// The same with the directory that the payload starts in.
fn set_pwd(mut environment: Vec<Variable>, directory: &Setting<Directory>) -> Vec<Variable> {
    environment.retain(|variable| variable.name != "PWD");
    environment.push(Variable {
        name: "PWD".into(),
        value: directory.value.0.clone().into_os_string(),
        origin: directory.origin.clone(),
    });
    environment.sort_by(|left, right| left.name.cmp(&right.name));
    environment
}
