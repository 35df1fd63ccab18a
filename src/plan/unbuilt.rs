//! Keys and options whose part of sbx does not exist yet: they are known, and refused when they ask for more than
//! their default. Nothing is ever ignored in silence.
#![forbid(unsafe_code)]

use super::error::PlanError;
use crate::invocation::Invocation;
use crate::profile::{NetworkMode, Origin, Profile, Setting, X11Mode};

/// Refuses the first thing that is not built.
pub(super) fn refuse(profile: &Profile, invocation: &Invocation) -> Result<(), PlanError> {
    let asked =
        flag(invocation).map(|flag| (flag.clone(), Origin::Flag(flag))).or_else(|| key(profile, invocation));
    match asked {
        Some((what, origin)) => Err(PlanError::NotBuilt { what, origin }),
        None => Ok(()),
    }
}

fn flag(invocation: &Invocation) -> Option<String> {
    let given = [
        ("--net private", invocation.net == Some(NetworkMode::Private)),
        ("--net proxy", invocation.net == Some(NetworkMode::Proxy)),
        ("--allow-host", !invocation.allow_hosts.is_empty()),
        ("--publish", !invocation.publish.is_empty()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag.to_owned())
}

fn key(profile: &Profile, invocation: &Invocation) -> Option<(String, Origin)> {
    /// The key, if its value is more than the default.
    fn more<T>(key: &str, setting: &Setting<T>, is_more: impl Fn(&T) -> bool) -> Option<(String, Origin)> {
        is_more(&setting.value).then(|| (key.to_owned(), setting.origin.clone()))
    }
    /// The key, if anything is set or listed.
    fn any<T>(key: &str, settings: impl IntoIterator<Item = Setting<T>>) -> Option<(String, Origin)> {
        settings.into_iter().next().map(|setting| (key.to_owned(), setting.origin))
    }
    fn listed<T>(key: &str, settings: &[Setting<T>]) -> Option<(String, Origin)> {
        settings
            .iter()
            .find(|setting| !setting.is_default())
            .map(|setting| (key.to_owned(), setting.origin.clone()))
    }
    let Profile { network, seccomp, display, .. } = profile;
    let found = [
        more("network.mode", &network.mode, |mode| {
            invocation.net.is_none() && matches!(mode, NetworkMode::Private | NetworkMode::Proxy)
        }),
        listed("network.allow", &network.allow),
        listed("network.deny", &network.deny),
        listed("network.allow-private", &network.allow_private),
        listed("network.publish", &network.publish),
        more("network.block-lan", &network.block_lan, |block| *block),
        any("network.bandwidth", network.bandwidth.clone()),
        more("seccomp.multiarch", &seccomp.multiarch, |multiarch| *multiarch),
        more("display.x11", &display.x11, |x11| *x11 == X11Mode::Private),
        listed("dbus.session", &profile.dbus_session),
    ];
    found.into_iter().flatten().next()
}
