//! Protected paths, found outside: what exists stays as it is in each place where the sandbox can write it, what doesn't is
//! held by a placeholder in directories with a repository, and elsewhere looked at when the run is over.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::host_mounts::{self, HostMount};
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
    /// The same for a placeholder, which is missing where nobody inside could make anything either.
    Held,
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
    ///
    /// What is `under` an overlay is written in no other place where it shows.
    pub(super) fn of(plan: &Plan, writable: &[Writable], under: &[PathBuf]) -> Self {
        let mut protection = Self::default();
        let mut objects: Vec<_> = under.iter().map(|under| (under.clone(), Island::ReadOnly)).collect();
        let mut seen: Vec<FileId> = Vec::new();
        for directory in writable.iter().filter(|_| !plan.protect.is_empty()) {
            let Some(id) = id_of(&directory.source) else { continue };
            if !seen.contains(&id) {
                seen.push(id);
                protection.look(&directory.source, &plan.protect, &mut objects);
            }
        }
        if !objects.is_empty() {
            let mounts = host_mounts::all();
            let views = views(writable, &mounts);
            for (object, island) in &objects {
                protection.add_islands(plan, object, *island, &views);
                protection.add_parts(object, &views, &mounts);
            }
        }
        protection
    }

    /// What of the list exists in one directory; paths of what must become an island are added to `objects`.
    fn look(&mut self, directory: &Path, list: &[Protected], objects: &mut Vec<(PathBuf, Island)>) {
        let git = fs::symlink_metadata(directory.join(".git"));
        let repository = git.as_ref().is_ok_and(Metadata::is_dir);
        if git.is_ok() && !repository && list.iter().any(|protected| protected.path.starts_with(".git")) {
            // A file says where the repository is, and so does a link: neither may be made to say something else.
            objects.push((directory.join(".git"), Island::ReadOnly));
        }
        // Where a file names the repository, that is what its members are protected in.
        let elsewhere = git.is_ok_and(|git| git.is_file()).then(|| named_repository(directory)).flatten();
        for protected in list {
            let whole = match (&elsewhere, protected.path.strip_prefix(".git")) {
                (Some(repository), Ok(rest)) => repository.join(rest),
                _ => directory.join(&protected.path),
            };
            let walk = match whole.strip_prefix(directory) {
                Ok(rest) => Walk::along(directory, rest),
                Err(_) => Walk::along(Path::new("/"), &whole),
            };
            let direct = walk.links.is_empty();
            objects.extend(walk.links.into_iter().map(|link| (link, Island::ReadOnly)));
            match walk.end {
                End::Found(path, metadata) => {
                    let placeholder = direct && is_placeholder(&metadata, protected.placeholder);
                    if placeholder {
                        self.places.push(Place { path: path.clone(), placeholder: protected.placeholder });
                    }
                    objects.push((path, if placeholder { Island::Held } else { Island::ReadOnly }));
                }
                End::File(path) => objects.push((path, Island::ReadOnly)),
                End::Missing { path, held } if direct && (repository || held) => {
                    let placeholder =
                        if path == whole { protected.placeholder } else { Placeholder::Directory };
                    self.places.push(Place { path: path.clone(), placeholder });
                    objects.push((path, Island::Held));
                }
                End::Missing { .. } => self.missing.push(Missing { path: whole, dangling: !direct }),
            }
        }
        self.places.sort_by(|left, right| left.path.cmp(&right.path));
        self.places.dedup_by(|left, right| left.path == right.path);
    }

    /// The islands of one object, in every place inside where it can be written. A mount of the host's may show the object
    /// itself, or a directory above it.
    fn add_islands(&mut self, plan: &Plan, object: &Path, island: Island, views: &[View]) {
        for (above, id) in object.ancestors().filter_map(|above| Some((above, id_of(above)?))) {
            let Ok(rest) = object.strip_prefix(above) else { continue };
            for view in views.iter().filter(|view| view.id == id) {
                let path: PathBuf = view.inside.join(rest).components().collect();
                // What is bound writable by its own name is meant to be.
                if path == view.root {
                    continue;
                }
                let cover = cover(plan, view, &path);
                let end = cover.unwrap_or(&path);
                for parent in end.ancestors().skip(1).take_while(|above| *above != view.root) {
                    self.islands.entry(parent.to_owned()).or_insert(Island::Parent);
                }
                if cover.is_none() {
                    self.islands.insert(path, island);
                }
            }
        }
    }

    /// Islands of mounts of the host's that show a part of an object alone.
    fn add_parts(&mut self, object: &Path, views: &[View], mounts: &[HostMount]) {
        let Some((device, path)) = host_mounts::place(object, mounts) else { return };
        for view in views {
            let is_part =
                |(its, root): &(String, PathBuf)| *its == device && root.starts_with(&path) && *root != path;
            if view.place.as_ref().is_some_and(is_part) {
                self.islands.insert(view.inside.clone(), Island::ReadOnly);
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
    /// Its place in its filesystem, if it is a mount of the host's below that bind.
    place: Option<(String, PathBuf)>,
}

/// Every writable directory, and every mount of the host's below one: the same directory may be there under another path.
fn views(writable: &[Writable], mounts: &[HostMount]) -> Vec<View> {
    let mut views = Vec::new();
    for directory in writable {
        let mut add = |path: &Path, place| {
            let (Some(id), Ok(rest)) = (id_of(path), path.strip_prefix(&directory.source)) else { return };
            let inside = directory.dest.join(rest).components().collect();
            views.push(View { mount: directory.mount, id, inside, root: directory.dest.clone(), place });
        };
        add(&directory.source, None);
        for mount in mounts.iter().filter(|mount| !mount.waits) {
            if mount.point != directory.source && mount.point.starts_with(&directory.source) {
                add(&mount.point, Some((mount.device.clone(), mount.root.clone())));
            }
        }
    }
    views
}

/// The repository that a `.git` file names (gitrepository-layout(5)).
fn named_repository(directory: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let text = fs::read(directory.join(".git")).ok()?;
    let name = text.strip_prefix(b"gitdir: ")?.split(|byte| *byte == b'\n').next()?;
    Some(directory.join(std::ffi::OsStr::from_bytes(name)))
}

/// The first other mount of the plan on the way to a path: what is seen from there on is that one's matter. One that is asked
/// for at the very path of an island takes its place.
fn cover<'p>(plan: &'p Plan, view: &View, path: &Path) -> Option<&'p Path> {
    let makes_no_mount = |op: &MountOp| {
        matches!(
            op,
            MountOp::Dir { .. } | MountOp::Symlink { .. } | MountOp::Chmod { .. } | MountOp::Own { .. }
        )
    };
    let over = plan.mounts.iter().enumerate().filter(|(index, mount)| {
        *index != view.mount
            && !makes_no_mount(&mount.op)
            && path.starts_with(&mount.dest)
            && mount.dest != view.root
            && mount.dest.starts_with(&view.root)
    });
    over.map(|(_, mount)| mount.dest.as_path()).min_by_key(|dest| dest.as_os_str().len())
}

/// The way of a path below a directory.
struct Walk {
    /// Every link on it.
    links: Vec<PathBuf>,
    end: End,
}

enum End {
    /// It exists, and is this without links.
    Found(PathBuf, Metadata),
    /// A part of it is this file.
    File(PathBuf),
    /// This part of it does not exist, or is the placeholder of another sandbox.
    Missing { path: PathBuf, held: bool },
}

impl Walk {
    /// Links that one path may hold (path_resolution(7)).
    const MAX_LINKS: usize = 40;

    fn along(directory: &Path, path: &Path) -> Self {
        let mut here = directory.to_owned();
        let mut links = Vec::new();
        let mut rest = path.to_owned();
        loop {
            let mut parts = rest.components();
            let Some(part) = parts.next() else { break };
            let tail = parts.as_path().to_owned();
            match part {
                Component::RootDir | Component::Prefix(_) => here = PathBuf::from("/"),
                Component::CurDir => {}
                Component::ParentDir => drop(here.pop()),
                Component::Normal(name) => {
                    here.push(name);
                    let last = tail.as_os_str().is_empty();
                    let end = match fs::symlink_metadata(&here) {
                        Ok(metadata) if metadata.is_symlink() && links.len() < Self::MAX_LINKS => {
                            links.push(here.clone());
                            let Ok(target) = fs::read_link(&here) else { break };
                            here.pop();
                            rest = target.join(tail);
                            continue;
                        }
                        Ok(metadata) if last => Some(End::Found(here.clone(), metadata)),
                        Ok(metadata) if is_placeholder(&metadata, Placeholder::Directory) => {
                            Some(End::Missing { path: here.clone(), held: true })
                        }
                        Ok(metadata) if metadata.is_dir() => None,
                        Ok(_) => Some(End::File(here.clone())),
                        Err(_) => Some(End::Missing { path: here.clone(), held: false }),
                    };
                    if let Some(end) = end {
                        return Self { links, end };
                    }
                }
            }
            rest = tail;
        }
        // Ends in `..` or a link that can't be read: a directory.
        let end = match fs::symlink_metadata(&here) {
            Ok(metadata) => End::Found(here, metadata),
            Err(_) => End::Missing { path: here, held: false },
        };
        Self { links, end }
    }
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
