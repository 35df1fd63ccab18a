//! Landlock, inside: scopes, and the mount view once more as rules about files.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::items::{Op, Upper};
use super::prepare::Prepared;
use super::protect::Island;
use crate::plan::Plan;
use crate::profile::LandlockScope;
use crate::sys::mount::MountAttr;

/// Enforces what the plan says, all of it or nothing runs: what the kernel can was asked before. To be called in the new
/// root.
pub(super) fn enforce(plan: &Plan, prepared: &Prepared) -> nix::Result<()> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = plan.landlock_files.as_ref().map(|abi| abi_of(abi.value));
    if files.is_none() && plan.landlock_scope.is_empty() {
        return Ok(());
    }
    if let Some(abi) = files {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi)).or(Err(Errno::EOPNOTSUPP))?;
    }
    for scope in &plan.landlock_scope {
        let scope = match scope.value {
            LandlockScope::Signal => Scope::Signal,
            LandlockScope::AbstractUnix => Scope::AbstractUnixSocket,
        };
        ruleset = ruleset.scope(scope).or(Err(Errno::EOPNOTSUPP))?;
    }
    let mut created = ruleset.create().or(Err(Errno::EOPNOTSUPP))?;
    if let Some(abi) = files {
        created = add_rules(created, abi, prepared, plan.root.read_only)?;
    }
    let status = created.restrict_self().or(Err(Errno::EOPNOTSUPP))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// The version of Landlock's interface by its number; one that this program does not know yet counts as the last it knows.
fn abi_of(number: u32) -> ABI {
    match number {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        _ => ABI::V9,
    }
}

/// A rule for each mount and file of the plan. Every directory may be listed: names alone are no secret that a mount would
/// not hide.
fn add_rules(
    mut created: RulesetCreated,
    abi: ABI,
    prepared: &Prepared,
    root_is_sealed: bool,
) -> nix::Result<RulesetCreated> {
    created = add_rule(created, c".", AccessFs::ReadDir.into())?;
    for item in &prepared.items {
        let is_root = item.path.is_empty();
        let mut allowed = allowed(&item.op, abi);
        if is_root && root_is_sealed {
            allowed &= AccessFs::from_read(abi);
        }
        if !allowed.is_empty() {
            created = add_rule(created, if is_root { c"." } else { item.path.as_c_str() }, allowed)?;
        }
    }
    Ok(created)
}

/// Allows this below a path; nothing where the path does not exist.
fn add_rule(
    created: RulesetCreated,
    path: &CStr,
    allowed: BitFlags<AccessFs>,
) -> nix::Result<RulesetCreated> {
    let target = match nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(created),
        other => other?,
    };
    let allowed = if is_directory(&target)? { allowed } else { allowed & AccessFs::from_file(ABI::V9) };
    match allowed.is_empty() {
        true => Ok(created),
        false => created.add_rule(PathBeneath::new(target, allowed)).or(Err(Errno::EOPNOTSUPP)),
    }
}

fn is_directory(target: &OwnedFd) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(target)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// What the payload may do with what an operation makes.
fn allowed(op: &Op, abi: ABI) -> BitFlags<AccessFs> {
    let (read, all) = (AccessFs::from_read(abi), AccessFs::from_all(abi));
    let by = |attr: &MountAttr| if attr.0 & MountAttr::RDONLY.0 == 0 { all } else { read };
    match op {
        Op::Bind { attr, .. } | Op::Tmpfs { attr, .. } | Op::Data { attr, .. } => by(attr),
        Op::Overlay { upper: Upper::None, .. } => read,
        Op::Overlay { .. } | Op::Private { .. } | Op::Mqueue | Op::Cgroup => all,
        Op::Copy { .. } | Op::File { .. } | Op::ReadOnly | Op::Island(Island::ReadOnly | Island::Held) => {
            read
        }
        // What is not a directory's is left away: devices and the files of processes are written, none is made.
        Op::Device { .. } | Op::Devpts | Op::Proc => read | (AccessFs::from_file(ABI::V9) & all),
        Op::Dir { .. }
        | Op::Symlink { .. }
        | Op::Chmod { .. }
        | Op::Own { .. }
        | Op::Mask
        | Op::Island(Island::Parent) => BitFlags::EMPTY,
    }
}
