//! What a process may use by itself, where no cgroup counts for all of them, and its turn among others. Nothing here allocates.
#![forbid(unsafe_code)]

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::step::{At, Result, Step};
use crate::plan::Plan;
use crate::profile::IoPriority;
use crate::sys::process;

/// Sets them on this process and all that it starts.
pub(super) fn limit_resources(plan: &Plan, has_cgroup: bool) -> Result<()> {
    let limits = &plan.limits;
    limit(Resource::RLIMIT_CORE, limits.core.value).at_item(Step::Limits, 0)?;
    limit(Resource::RLIMIT_NPROC, limits.processes.value).at_item(Step::Limits, 1)?;
    if let Some(files) = &limits.open_files {
        limit(Resource::RLIMIT_NOFILE, files.value).at_item(Step::Limits, 2)?;
    }
    if let Some(data) = limits.data.as_ref().filter(|_| !has_cgroup) {
        limit(Resource::RLIMIT_DATA, data.value).at_item(Step::Limits, 3)?;
    }
    if let Some(nice) = limits.nice.as_ref().filter(|nice| !is_as_nice(nice.value)) {
        process::set_nice(nice.value).at_item(Step::Priority, 0)?;
    }
    if let Some(priority) = &limits.io_priority {
        process::set_io_priority(io_priority(priority.value)).at_item(Step::Priority, 1)?;
    }
    Ok(())
}

/// Whether this process is as nice as that already. One that steps back more than is asked for goes on to.
pub(super) fn is_as_nice(value: i32) -> bool {
    let own = process::nice();
    own == value || own > value && value >= 0
}

/// Class and level as ioprio_set(2) packs them.
pub(super) fn io_priority(priority: IoPriority) -> u16 {
    const CLASS: u16 = 13;
    match priority {
        IoPriority::BestEffort(level) => 2 << CLASS | u16::from(level),
        IoPriority::Idle => 3 << CLASS,
    }
}

/// Sets a limit, soft and hard; one below the caller's own stays as low as it is.
fn limit(resource: Resource, value: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let value = value.min(hard);
    setrlimit(resource, value, value)
}
