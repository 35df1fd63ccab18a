//! Which mount a path leads to, by a list of mounts alone.

use crate::common::process::Mount;
use std::path::{Path, PathBuf};

/// The mount that `path` lies in, as a walk from the root would find it: what is covered by another mount does not count.
pub(crate) fn leads_to<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let is_top = |mount: &&Mount| mounts.iter().all(|other| other.id != mount.parent);
    let mut current = mounts.iter().filter(is_top).find(|mount| path.starts_with(&mount.target))?;
    // A walk meets the mount points of the mount that it is in from the top down. Each mount is entered once.
    for _ in mounts {
        let next = mounts
            .iter()
            .filter(|mount| mount.parent == current.id && path.starts_with(&mount.target))
            .min_by_key(|mount| mount.target.components().count());
        match next {
            Some(mount) => current = mount,
            None => break,
        }
    }
    Some(current)
}

/// What of its filesystem lies at `path`, when `path` lies in `mount`.
pub(crate) fn root_at(mount: &Mount, path: &Path) -> String {
    let below = path.strip_prefix(&mount.target).unwrap_or(Path::new(""));
    let root: PathBuf = Path::new(&mount.root).join(below).components().collect();
    root.to_string_lossy().into_owned()
}

/// The mounts below `path` that a recursive bind of it takes along.
pub(crate) fn below<'a>(mounts: &'a [Mount], path: &Path) -> Vec<&'a Mount> {
    let Some(start) = leads_to(mounts, path) else { return Vec::new() };
    let mut taken = vec![start.id];
    let mut found = Vec::new();
    // A mount comes after the one that it sits on, or a later round finds it.
    loop {
        let before = found.len();
        for mount in mounts {
            let new = !taken.contains(&mount.id) && taken.contains(&mount.parent);
            let bindable = !mount.propagation.iter().any(|word| word == "unbindable");
            if new && bindable && mount.target.starts_with(path) {
                taken.push(mount.id);
                found.push(mount);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
