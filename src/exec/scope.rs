//! A scope of the sandbox's own, for a session whose cgroups belong to root (ssh, a text console, su): the user's systemd
//! asks the machine's to move the process. That takes tens of milliseconds, so it is asked for as soon as there is a process,
//! and waited for when its set-up is done.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::bus::{Call, Property, TIME, no_answer};
use crate::cgroup::{self, Group, wait};
use crate::plan::{Cgroup, Service};

/// A scope that was asked for.
#[derive(Debug)]
pub(super) struct Scope<'s> {
    service: &'s Service,
    unit: String,
    holder: i32,
    call: Call,
}

impl<'s> Scope<'s> {
    /// Asks for a scope with `holder` in it, which keeps it from being taken away before it is known what the sandbox has
    /// used. PID 1 comes second: where it is gone by then, and systemd can't move it, the scope ends like any other.
    ///
    /// Shares are among scopes, so they are the scope's and not those of a cgroup below it.
    pub(super) fn ask(
        service: &'s Service,
        unit: String,
        holder: i32,
        cgroup: &Cgroup,
    ) -> Result<Self, String> {
        let number = holder.to_string();
        let description = format!("Sandbox {unit}");
        let slice = if service.is_system { "system.slice" } else { "app.slice" };
        let share = |file, prefix| {
            let knob = cgroup.knobs.iter().find(|knob| knob.file == file)?;
            knob.value.strip_prefix(prefix)
        };
        let shares = [share("cpu.weight", ""), share("io.weight", "default ")];
        let mut properties = vec![
            Property::new("Description", "s", &[&description]),
            Property::new("PIDs", "au", &["1", &number]),
            Property::new("Delegate", "b", &["true"]),
            Property::new("CollectMode", "s", &["inactive-or-failed"]),
            Property::new("Slice", "s", &[slice]),
            Property::new("TasksMax", "t", &["18446744073709551615"]),
            Property::new("TimeoutStopUSec", "t", &["5000000"]),
        ];
        for (name, share) in ["CPUWeight", "IOWeight"].into_iter().zip(shares) {
            properties.extend(share.map(|share| Property::new(name, "t", &[share])));
        }
        let call = Call::start_unit(service, &unit, &properties)?;
        Ok(Self { service, unit, holder, call })
    }

    /// Waits until its holder is in it, and then this process. `goes_on` says whether there is still reason to.
    pub(super) fn settle(mut self, pid: i32, goes_on: impl Fn() -> bool) -> Result<Group, String> {
        self.arrive(self.holder, &goes_on)?;
        self.call = Call::attach(self.service, &self.unit, pid)?;
        let path = self.arrive(pid, &goes_on)?;
        Group::open(&Path::new("/sys/fs/cgroup").join(path)).map_err(crate::diag::errno_words)
    }

    /// The scope's cgroup, once the process that was asked for is in it.
    fn arrive(&mut self, pid: i32, goes_on: &impl Fn() -> bool) -> Result<PathBuf, String> {
        let mut taken = false;
        let arrived = wait(TIME, || {
            if !taken {
                match self.call.answer() {
                    Some(Err(why)) => return Some(Err(format!("systemd did not make the scope: {why}"))),
                    answer => taken = answer.is_some(),
                }
            }
            let is_own = |path: &PathBuf| path.file_name().is_some_and(|name| *name == *self.unit);
            match cgroup::of_process(pid).filter(is_own) {
                Some(path) => Some(Ok(path)),
                None if !goes_on() => Some(Err("the sandbox's PID 1 has ended".to_owned())),
                None => None,
            }
        });
        arrived.unwrap_or_else(|| Err(no_answer()))
    }
}

/// The unit of a sandbox: what desktops read an application's id from (systemd's desktop environments, XDG standardization).
pub(super) fn unit_name(application: &str, id: &str) -> String {
    format!("app-sbx-{}-{id}.scope", escape(application))
}

/// A part of a unit's name, in which `-` parts parts (systemd.unit(5), string escaping).
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_have_their_parts() {
        assert_eq!(unit_name("org.example.Build", "12ab"), "app-sbx-org.example.Build-12ab.scope");
        assert_eq!(unit_name("my-box", "1"), "app-sbx-my\\x2dbox-1.scope");
    }
}
