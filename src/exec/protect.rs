//! Protected paths, found outside: what exists stays as it is in each place where the sandbox can write it, what doesn't is
//! held by a placeholder in directories with a repository, and elsewhere looked at when the run is over.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::sources::FileId;
use crate::plan::{MountOp, Placeholder, Plan, Protected};

/// A directory of the host's that the sandbox can write.
#[derive(Clone, Debug)]
pub(super) struct Writable {
    /// Its mount in the plan.
    pub(super) mount: usize,
    /// Its path outside, without links.
    pub(super) source: PathBuf,
    /// Where it is inside.
    pub(super) dest: PathBuf,
}

/// A mount over what is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Island {
    /// Only so that it can't be renamed: something below it is protected.
    Parent,
    /// Read-only, with all below.
    ReadOnly,
}

/// The place of something protected that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its path outside; the directory that it lies in has no link in its path.
    pub(super) path: PathBuf,
    pub(super) placeholder: Placeholder,
}

/// Something protected that did not exist and that nothing holds the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    path: PathBuf,
    /// A link of that name leads nowhere.
    dangling: bool,
}

/// What to do about the protected paths of a plan.
#[derive(Debug, Default)]
pub(super) struct Protection {
    /// Mounts by where they go, each after what it lies in.
    pub(super) islands: BTreeMap<PathBuf, Island>,
    /// Placeholders to make, or to hold if another sandbox has made them.
    pub(super) places: Vec<Place>,
    missing: Vec<Missing>,
}

impl Protection {
    /// Looks at every directory that the plan lets the sandbox write.
    pub(super) fn of(plan: &Plan, writable: &[Writable]) -> Self {
        let mut protection = Self::default();
        if plan.protect.is_empty() {
            return protection;
        }
        let mut objects = Vec::new();
        let mut seen: Vec<FileId> = Vec::new();
        for directory in writable {
            let Some(id) = id_of(&directory.source) else { continue };
            if !seen.contains(&id) {
                seen.push(id);
                protection.look(&directory.source, &plan.protect, &mut objects);
            }
        }
        if !objects.is_empty() {
            let views = views(writable);
            for object in &objects {
                protection.add_islands(plan, object, &views);
            }
        }
        protection
    }

    /// What of the list exists in one directory; paths of what must become an island are added to `objects`.
    fn look(&mut self, directory: &Path, list: &[Protected], objects: &mut Vec<PathBuf>) {
        let git = fs::symlink_metadata(directory.join(".git"));
        let repository = git.as_ref().is_ok_and(Metadata::is_dir);
        if git.is_ok() && !repository && list.iter().any(|protected| protected.path.starts_with(".git")) {
            // A file says where the repository is, and so does a link: neither may be made to say something else.
            objects.push(directory.join(".git"));
        }
        for protected in list {
            let whole = directory.join(&protected.path);
            match first_obstacle(directory, &protected.path) {
                Obstacle::None(metadata) => {
                    if is_placeholder(&metadata, protected.placeholder) {
                        self.places.push(Place { path: whole.clone(), placeholder: protected.placeholder });
                    }
                    objects.push(whole);
                }
                Obstacle::Link(link) => {
                    objects.push(link);
                    match fs::canonicalize(&whole) {
                        Ok(real) => objects.push(real),
                        Err(_) => self.missing.push(Missing { path: whole, dangling: true }),
                    }
                }
                Obstacle::Nothing(path) if repository => {
                    let placeholder =
                        if path == whole { protected.placeholder } else { Placeholder::Directory };
                    self.places.push(Place { path: path.clone(), placeholder });
                    objects.push(path);
                }
                Obstacle::Nothing(_) | Obstacle::File => {
                    self.missing.push(Missing { path: whole, dangling: false });
                }
            }
        }
        self.places.sort_by(|left, right| left.path.cmp(&right.path));
        self.places.dedup_by(|left, right| left.path == right.path);
    }

    /// The islands of one object, in every place inside where it can be written.
    fn add_islands(&mut self, plan: &Plan, object: &Path, views: &[View]) {
        let Some(parent) = object.parent() else { return };
        for (directory, id) in parent.ancestors().filter_map(|above| Some((above, id_of(above)?))) {
            let Ok(rest) = object.strip_prefix(directory) else { continue };
            for view in views.iter().filter(|view| view.id == id) {
                let island = view.inside.join(rest);
                if is_covered(plan, view, &island) {
                    continue;
                }
                let parents = island.ancestors().skip(1).take_while(|above| *above != view.root);
                for parent in parents {
                    self.islands.entry(parent.to_owned()).or_insert(Island::Parent);
                }
                self.islands.insert(island, Island::ReadOnly);
            }
        }
    }

    /// Protected paths that have come into being since, by the sandbox or while it ran.
    pub(super) fn appeared(&self) -> Vec<PathBuf> {
        let there = |missing: &&Missing| match missing.dangling {
            true => fs::metadata(&missing.path).is_ok(),
            false => fs::symlink_metadata(&missing.path).is_ok(),
        };
        self.missing.iter().filter(there).map(|missing| missing.path.clone()).collect()
    }
}

/// Something that can be written inside, and where.
struct View {
    mount: usize,
    id: FileId,
    /// Where it is inside.
    inside: PathBuf,
    /// The writable bind that it belongs to: a mount point already.
    root: PathBuf,
}

/// Every writable directory, and every mount of the host's below one: the same directory may be there under another path.
fn views(writable: &[Writable]) -> Vec<View> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut views = Vec::new();
    for directory in writable {
        let mut add = |path: &Path| {
            let (Some(id), Ok(rest)) = (id_of(path), path.strip_prefix(&directory.source)) else { return };
            let inside = directory.dest.join(rest).components().collect();
            views.push(View { mount: directory.mount, id, inside, root: directory.dest.clone() });
        };
        add(&directory.source);
        for point in mounts.lines().filter_map(mount_point) {
            if point != directory.source && point.starts_with(&directory.source) {
                add(&point);
            }
        }
    }
    views
}

/// The mount point of a line of mountinfo (proc_pid_mountinfo(5)); nothing for one that waits to be mounted when looked at.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    if filesystem.starts_with("autofs ") {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = mount.split(' ').nth(4)?.as_bytes();
    while let [first, tail @ ..] = rest {
        // Space, tab, newline and backslash stand there in octal.
        let escaped = (*first == b'\\').then(|| tail.get(..3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Whether another mount of the plan lies over the path: what is seen there is that one's matter. One that is asked for at
/// the very path of an island takes its place.
fn is_covered(plan: &Plan, view: &View, path: &Path) -> bool {
    plan.mounts.iter().enumerate().any(|(index, mount)| {
        let covers =
            !matches!(mount.op, MountOp::Dir { .. } | MountOp::Chmod { .. } | MountOp::Symlink { .. });
        covers
            && index != view.mount
            && path.starts_with(&mount.dest)
            && mount.dest != view.root
            && mount.dest.starts_with(&view.root)
    })
}

/// What stands in the way of a path below a directory.
enum Obstacle {
    /// Nothing: it exists.
    None(Metadata),
    /// This part of it is a link.
    Link(PathBuf),
    /// This part of it does not exist.
    Nothing(PathBuf),
    /// A part of it is a file.
    File,
}

fn first_obstacle(directory: &Path, path: &Path) -> Obstacle {
    let mut here = directory.to_owned();
    let mut parts = path.components().filter(|part| matches!(part, Component::Normal(_))).peekable();
    while let Some(part) = parts.next() {
        here.push(part);
        match fs::symlink_metadata(&here) {
            Ok(metadata) if metadata.is_symlink() => return Obstacle::Link(here),
            Ok(metadata) if parts.peek().is_none() => return Obstacle::None(metadata),
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Obstacle::File,
            Err(_) => return Obstacle::Nothing(here),
        }
    }
    Obstacle::File
}

/// The mode that marks a placeholder: nobody makes such a thing by accident, and it has it from its first moment.
pub(super) fn placeholder_mode(placeholder: Placeholder) -> u32 {
    match placeholder {
        Placeholder::Directory => 0o1555,
        Placeholder::File | Placeholder::Dot => 0o1444,
    }
}

/// Whether this can only be such a placeholder: ours, with its mode, and as far as can be seen with no more in it than that
/// has at the most.
pub(super) fn is_placeholder(metadata: &Metadata, placeholder: Placeholder) -> bool {
    let ours = metadata.uid() == nix::unistd::getuid().as_raw();
    let marked = metadata.mode() & 0o7777 == placeholder_mode(placeholder);
    let of_its_kind = match placeholder {
        Placeholder::Directory => metadata.is_dir(),
        _ => metadata.is_file() && metadata.size() <= placeholder.content().len() as u64,
    };
    ours && marked && of_its_kind
}

fn id_of(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let line = |point: &str, kind: &str| format!("36 35 98:0 / {point} rw master:1 - {kind} /dev/x rw");
        assert_eq!(mount_point(&line("/a", "ext4")), Some("/a".into()));
        assert_eq!(mount_point(&line("/a\\040b\\134c", "ext4")), Some("/a b\\c".into()));
        assert_eq!(mount_point(&line("/a\\04", "ext4")), Some("/a\\04".into()));
        assert_eq!(mount_point(&line("/a", "autofs")), None);
        assert_eq!(mount_point("nonsense"), None);
    }
}
