//! The sandbox's place outside: its entry in the registry, and its cgroup, on whichever rung of the ladder that is.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpid};

use super::init::Placement;
use super::janitor::{Bequeathed, Janitor};
use super::leaf::{Leaf, Site, Unmet, not_made};
use super::scope::{Scope, unit_name};
use super::{ExecError, Outcome, subordinate};
use crate::cgroup::{Events, Usage};
use crate::diag::errno_words;
use crate::plan::{Cgroup, CgroupPlace, Plan};
use crate::profile::Level;
use crate::profile::value::in_units;
use crate::registry::{Entry, Info, Registry, RegistryError, VERSION};
use crate::sys::message;

/// Where a sandbox is from outside.
#[derive(Debug)]
pub(super) struct Place<'p> {
    plan: &'p Plan,
    entry: Option<Entry>,
    leaf: Option<Leaf>,
    /// Where that is, or will be.
    site: Option<Site>,
    /// A scope is to be asked for.
    scope: bool,
    /// What was preferred and could not be had.
    pub(super) misses: Vec<String>,
}

impl<'p> Place<'p> {
    /// Registers the sandbox, and finds out where its cgroup can be made; goes on with these misses.
    pub(super) fn take(plan: &'p Plan, misses: Vec<String>) -> Result<Self, ExecError> {
        let mut place = Self { plan, entry: None, leaf: None, site: None, scope: false, misses };
        place.entry = place.register()?;
        place.find_site()?;
        Ok(place)
    }

    fn find_site(&mut self) -> Result<(), ExecError> {
        let Some(cgroup) = &self.plan.cgroup else { return Ok(()) };
        self.scope = matches!(cgroup.place, CgroupPlace::Scope { .. });
        if !self.scope {
            let found = Site::find(cgroup, format!("{}-{}", self.word(), id()));
            self.site = self.or_without(found)?;
        }
        Ok(())
    }

    /// Makes the cgroup that PID 1 will be born in, if it will. Whether that was at the site that there was.
    pub(super) fn make_cgroup(&mut self, tries: usize) -> Result<bool, ExecError> {
        let (Some(site), Some(cgroup)) = (&self.site, &self.plan.cgroup) else { return Ok(true) };
        let made = match (site.make(cgroup), &cgroup.place) {
            // systemd took the keeper's cgroup away in between.
            (Err(Errno::ENOENT | Errno::ENODEV), CgroupPlace::Keeper { .. }) if tries > 0 => {
                self.find_site()?;
                return Ok(false);
            }
            (made, _) => made.map_err(not_made),
        };
        let limited = made.and_then(|leaf| leaf.limit(cgroup, &mut self.misses).map(|()| leaf));
        self.leaf = self.or_without(limited)?;
        if self.leaf.is_none() {
            self.site = None;
        }
        Ok(true)
    }

    fn register(&mut self) -> Result<Option<Entry>, ExecError> {
        let wanted = self.plan.name.as_deref();
        let registered = match &self.plan.registry {
            None => Err(RegistryError::NoPlace),
            Some(path) => Registry::open_or_make(path)
                .and_then(|registry| registry.register(wanted, &self.command_word())),
        };
        match registered {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if wanted.is_some() => Err(ExecError::Registry(error)),
            Err(error @ RegistryError::Foreign { .. }) => {
                self.misses.push(format!("{error}; running without an entry there"));
                Ok(None)
            }
            // Nobody has asked for it to be found.
            Err(_) => Ok(None),
        }
    }

    /// The name of the program.
    fn command_word(&self) -> String {
        let program = self.plan.command.first().map(Path::new).and_then(Path::file_name);
        program.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn word(&self) -> String {
        self.name().map_or_else(|| "sandbox".to_owned(), str::to_owned)
    }

    /// The sandbox's name, where it is registered.
    pub(super) fn name(&self) -> Option<&str> {
        self.entry.as_ref().map(Entry::name)
    }

    pub(super) fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    pub(super) fn leaf(&self) -> Option<&Leaf> {
        self.leaf.as_ref()
    }

    /// What the janitor has to do about the cgroup.
    pub(super) fn bequeathed(&self) -> Bequeathed<'_> {
        match &self.site {
            Some(site) => Bequeathed::Site(site),
            None if self.scope => Bequeathed::Scope,
            None => Bequeathed::None,
        }
    }

    /// The cgroup that PID 1 is born in.
    pub(super) fn birthplace(&self) -> Option<i32> {
        self.leaf.as_ref().map(|leaf| leaf.inner().as_raw_fd())
    }

    /// The same for the inside, which has it by inheritance.
    pub(super) fn placement(&self) -> Placement<'_> {
        match &self.leaf {
            Some(leaf) => Placement::Born(leaf.inner().as_fd()),
            None if self.scope => Placement::Moved,
            None => Placement::None,
        }
    }

    /// Whether the inside finds itself in a cgroup of its own, or will.
    pub(super) fn has_cgroup(&self) -> bool {
        self.site.is_some() || self.scope
    }

    /// Takes the cgroup away while the janitor ends. A scope that one leaves after that: systemd gives up sweeping a scope
    /// where something goes meanwhile, and forgets it (seen with 252).
    pub(super) fn leave(self, mut janitor: Option<Janitor>) {
        if !self.scope {
            janitor.iter_mut().for_each(Janitor::let_go);
        }
        drop((self, janitor));
    }

    /// A cgroup, or none where it need not be had; that is told where somebody would rather have had it.
    fn or_without<T>(&mut self, made: Result<T, Unmet>) -> Result<Option<T>, ExecError> {
        let unmet = match made {
            Ok(made) => return Ok(Some(made)),
            Err(unmet) => unmet,
        };
        match self.plan.cgroup.as_ref().map_or(Level::Off, |cgroup| cgroup.level) {
            Level::Require => Err(ExecError::Unmet { what: unmet.what, why: unmet.why, hint: unmet.hint }),
            Level::Prefer => {
                let instead = match &self.plan.limits.data {
                    Some(data) => format!(
                        "each process alone is held to {} of data (RLIMIT_DATA), and to no other limit of a cgroup's",
                        in_units(data.value)
                    ),
                    None => "running without its limits".to_owned(),
                };
                self.misses.push(format!("cannot {}: {}; {instead}", unmet.what, unmet.why));
                Ok(None)
            }
            Level::Available | Level::Off => Ok(None),
        }
    }

    /// The kernel made no process in the cgroup. Whether to try without it.
    pub(super) fn refuse_birth(&mut self, errno: Errno) -> Result<bool, ExecError> {
        let of_cgroup = matches!(
            errno,
            Errno::EACCES | Errno::EBUSY | Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EBADF
        );
        if self.leaf.is_none() || !of_cgroup {
            return Ok(false);
        }
        let why = match errno {
            Errno::EACCES => {
                "the kernel lets nobody start a process there but who may write in the cgroup above both"
                    .to_owned()
            }
            errno => errno_words(errno),
        };
        let unmet = Unmet {
            what: "start the sandbox in its cgroup".to_owned(),
            why,
            hint: Some("start sbx from a process below the same delegated cgroup".to_owned()),
        };
        self.leaf = None;
        self.site = None;
        self.or_without::<()>(Err(unmet)).map(|_| true)
    }

    /// PID 1 lives: has its ids mapped that it may not map itself, has it moved where it was not born in place, and tells the
    /// registry. `control` leads to it.
    pub(super) fn settle(
        &mut self,
        pid: i32,
        pidfd: &OwnedFd,
        control: &OwnedFd,
        janitor: Option<&Janitor>,
    ) -> Result<(), ExecError> {
        if self.plan.identity.subordinate.is_some() {
            subordinate::map(Pid::from_raw(pid), &self.plan.identity)?;
            // Where it is gone that is told by its report.
            let _ = nix::unistd::write(control, &[0]);
        }
        if let (true, Some(cgroup)) = (self.scope, &self.plan.cgroup) {
            let moved = self.move_to_scope(cgroup, pid, pidfd, janitor.map_or(pid, Janitor::pid));
            let moved = match moved {
                // What it failed of is in its report.
                Err(_) if has_ended(pidfd) => None,
                moved => self.or_without(moved)?,
            };
            (self.site, self.leaf) = moved.unzip();
            // Where it is gone that is told by its report.
            let _ = match &self.leaf {
                Some(leaf) => message::send_descriptor(control, leaf.inner()),
                None => nix::unistd::write(control, &[0]).map(drop),
            };
        }
        let Some(entry) = &self.entry else { return Ok(()) };
        let text = |word: &std::ffi::OsString| word.to_string_lossy().into_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let info = Info {
            version: VERSION,
            profile: self.plan.profile.clone(),
            command: self.plan.command.iter().map(text).collect(),
            started: now,
            init: pid,
            rung: self
                .leaf
                .as_ref()
                .and(self.plan.cgroup.as_ref())
                .map(|cgroup| cgroup.place.word().to_owned()),
            cgroup: self.leaf.as_ref().map(|leaf| leaf.path().to_owned()),
        };
        // What can't be told is not there for others, and the sandbox runs all the same.
        let _ = entry.tell(&info);
        Ok(())
    }

    fn move_to_scope(
        &mut self,
        cgroup: &Cgroup,
        pid: i32,
        pidfd: &OwnedFd,
        holder: i32,
    ) -> Result<(Site, Leaf), Unmet> {
        let CgroupPlace::Scope { service, application } = &cgroup.place else {
            return Err(Unmet::new("make a scope for the sandbox", "the plan has none"));
        };
        let application = application.clone().unwrap_or_else(|| self.word());
        let no_scope = |why| Unmet::new("make a scope for the sandbox", why);
        let unit = unit_name(&application, &id());
        let scope = Scope::ask(service, unit, holder, cgroup).map_err(no_scope)?;
        let scope = scope.settle(pid, || !has_ended(pidfd)).map_err(no_scope)?;
        Leaf::of_scope(scope, pid, cgroup, &mut self.misses)
    }

    /// What the sandbox has used, and how it ended in the light of that.
    pub(super) fn judge(
        &self,
        ended: Result<Outcome, ExecError>,
    ) -> (Result<Outcome, ExecError>, Option<Usage>) {
        let Some(leaf) = &self.leaf else { return (ended, None) };
        let (events, usage) = (Events::of(&leaf.group), Usage::of(&leaf.group));
        let killed =
            matches!(ended, Ok(Outcome::Signaled(libc::SIGKILL)) | Err(ExecError::InitKilled { .. }));
        if !killed || events.killed == 0 {
            return (ended, Some(usage));
        }
        let limit = leaf.group.number("memory.max").filter(|_| events.out_of_memory > 0);
        let ended = match ended {
            Err(ExecError::InitKilled { ran: false }) => Err(ExecError::Unmet {
                what: "set the sandbox up".to_owned(),
                why: match limit {
                    Some(limit) => format!("its memory limit of {} is too low", in_units(limit)),
                    None => "the machine has no memory left".to_owned(),
                },
                hint: Some("give it more memory".to_owned()),
            }),
            _ => Ok(Outcome::OutOfMemory { limit, peak: usage.memory_peak }),
        };
        (ended, Some(usage))
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut ended, PollTimeout::ZERO) != Ok(0)
}

/// What no other process has at the same time, in whatever PID namespace it is.
fn id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    format!("{}.{:05x}", getpid(), now & 0xf_ffff)
}
