//! Toolchains in the user's home: their programs read-only, what is secret beside them not at all.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::mount::{Access, BindSource, Mount, MountOp};
use crate::host::Host;
use crate::profile::{Origin, Profile};

/// The mounts of the toolchains that the profile names and the machine has.
pub(super) fn mounts(profile: &Profile, host: &Host) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for found in &host.toolchains {
        let origin = profile
            .toolchains
            .iter()
            .find(|toolchain| toolchain.value.word() == found.word)
            .map_or(Origin::Default, |toolchain| toolchain.origin.clone());
        let mut add =
            |dest: &Path, op| mounts.push(Mount { dest: dest.to_owned(), op, origin: origin.clone() });
        for path in &found.written {
            add(path, MountOp::Private { mode: 0o755 });
        }
        for path in &found.read {
            add(path, read_only(path));
        }
        for path in &found.hide {
            add(path, MountOp::Mask);
        }
    }
    mounts
}

fn read_only(path: &Path) -> MountOp {
    MountOp::Bind {
        source: BindSource::Path(PathBuf::from(path)),
        access: Access::ReadOnly,
        devices: false,
        // It was there when it was looked for.
        optional: true,
        create: None,
    }
}
