//! The order of mounts: by destination, deeper wins; on the same destination the later layer wins; `hide` covers
//! all below it unless a later layer names the deeper path.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::base;
use super::changes;
use super::error::PlanError;
use super::mount::{Access, BindSource, Mount, MountOp};
use crate::host::{Host, WorkingDirectory};
use crate::invocation::Invocation;
use crate::profile::value::{PathTemplate, Token};
use crate::profile::{EntryKind, FilesystemEntry, Origin, Setting};

/// Mounts by destination, each with the number of the layer that named it: the base is layer 0, the working directory 1,
/// the profile's files follow.
#[derive(Default)]
pub(super) struct Layout {
    mounts: BTreeMap<Key, (usize, Mount)>,
    /// The links among them, and what they say.
    links: Vec<(PathBuf, PathBuf)>,
    /// What each layer hides.
    masks: Vec<(usize, PathBuf)>,
}

/// A destination as a key that sorts after everything that the destination lies in: its text, with the separator below
/// all other bytes. What lies below a destination stands together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Vec<u8>);

impl Key {
    fn of(dest: &Path) -> Self {
        let separator_first = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        Self(dest.as_os_str().as_bytes().iter().map(separator_first).collect())
    }

    fn lies_in(&self, above: &Self) -> bool {
        self.0.strip_prefix(above.0.as_slice()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

impl Layout {
    /// Starts with the base.
    pub(super) fn new(base: Vec<Mount>) -> Self {
        let mut layout = Self::default();
        for mount in base {
            layout.add(0, mount);
        }
        layout
    }

    /// Adds a mount of `layer`: on a destination that is taken the later layer wins, and a mask covers what layers up to
    /// its own have below, named before it or after.
    pub(super) fn add(&mut self, layer: usize, mut mount: Mount) {
        if let Some(dest) = self.behind_links(&mount.dest) {
            mount.dest = dest;
        }
        if self.masks.iter().any(|(same, hidden)| *same == layer && lies_in(&mount.dest, hidden)) {
            return;
        }
        if self.mounts.get(&Key::of(&mount.dest)).is_some_and(|(taken, _)| *taken > layer) {
            return;
        }
        if mount.op == MountOp::Mask {
            self.masks.push((layer, mount.dest.clone()));
            self.retain_below(&mount.dest, |other, _| other > layer);
        }
        if layer > 0 && matches!(mount.op, MountOp::Bind { .. } | MountOp::Overlay { .. }) {
            self.show_whole(&mount.dest);
        }
        self.links.retain(|(link, _)| link.as_os_str() != mount.dest.as_os_str());
        if let MountOp::Symlink { target } = &mount.op {
            self.links.push((mount.dest.clone(), target.clone()));
        }
        self.mounts.insert(Key::of(&mount.dest), (layer, mount));
    }

    /// Takes away what the base says about the inside of a directory of which somebody asked for the real one: `--ro /etc`
    /// shows all of `/etc`. What is private, or keeps something out, stays.
    fn show_whole(&mut self, directory: &Path) {
        self.links.retain(|(link, _)| !lies_in(link, directory));
        self.retain_below(directory, |layer, mount| {
            if layer > 0 {
                return true;
            }
            if let MountOp::Dir { mode } = mount.op {
                mount.op = MountOp::Private { mode };
            }
            let describes = matches!(
                mount.op,
                MountOp::File { .. }
                    | MountOp::Copy { .. }
                    | MountOp::Symlink { .. }
                    | MountOp::Device { .. }
                    | MountOp::Bind { access: Access::ReadOnly, .. }
            );
            !describes
        });
    }

    /// Keeps what `keep` says of what lies below a directory; it is told each one's layer.
    fn retain_below(&mut self, directory: &Path, mut keep: impl FnMut(usize, &mut Mount) -> bool) {
        let above = Key::of(directory);
        let below = self.mounts.range_mut(above.clone()..).skip_while(|(key, _)| **key == above);
        let below = below.take_while(|(key, _)| key.lies_in(&above));
        let gone: Vec<Key> =
            below.filter_map(|(key, (layer, mount))| (!keep(*layer, mount)).then(|| key.clone())).collect();
        for key in gone {
            self.mounts.remove(&key);
        }
    }

    /// Covers a path of the host's in every place where it would be shown, whoever asked for what.
    pub(super) fn keep_out(&mut self, path: &Path) {
        let place = |mount: &Mount| {
            let sources = match &mount.op {
                MountOp::Bind { source, .. } => std::slice::from_ref(source),
                MountOp::Overlay { lower, .. } => lower,
                _ => &[],
            };
            let of = |source: &BindSource| match source {
                BindSource::Path(source) if path.starts_with(source) => {
                    Some(mount.dest.join(path.strip_prefix(source).ok()?))
                }
                BindSource::Path(source) if source.starts_with(path) => Some(mount.dest.clone()),
                _ => None,
            };
            sources.iter().filter_map(of).collect::<Vec<_>>()
        };
        let places: Vec<PathBuf> = self.mounts.values().flat_map(|(_, mount)| place(mount)).collect();
        for place in places {
            let dest = place.components().collect();
            self.add(usize::MAX, Mount { dest, op: MountOp::Mask, origin: Origin::Default });
        }
    }

    /// The mounts in the order to make them: each after what it lies in.
    pub(super) fn into_mounts(self) -> Vec<Mount> {
        self.mounts.into_values().map(|(_, mount)| mount).collect()
    }

    /// Whether the sandbox has `path`: something is mounted there or above, and the nearest such thing does not hide it.
    pub(super) fn covers(&self, path: &Path) -> bool {
        self.nearest(path).is_some_and(|mount| mount.op != MountOp::Mask)
    }

    /// The mount that a path lies in, or is.
    pub(super) fn nearest(&self, path: &Path) -> Option<&Mount> {
        let real = self.behind_links(path);
        let above = real.as_deref().unwrap_or(path).ancestors().filter(|above| *above != Path::new("/"));
        above.map(Key::of).find_map(|key| self.mounts.get(&key)).map(|(_, mount)| mount)
    }

    /// Whether the nearest mount hides the path.
    pub(super) fn hides(&self, path: &Path) -> bool {
        self.nearest(path).is_some_and(|mount| mount.op == MountOp::Mask)
    }

    /// `dest` with the links that this layout itself makes (`/bin`, `/var/run`) resolved, if it lies behind any: what lies
    /// behind a link is ordered by where it really is. At most 40 links, as in path_resolution(7).
    fn behind_links(&self, dest: &Path) -> Option<PathBuf> {
        let mut resolved: Option<PathBuf> = None;
        for _ in 0..40 {
            let path = resolved.as_deref().unwrap_or(dest);
            let (link, target) = self.links.iter().find(|(link, _)| lies_in(path, link))?;
            let rest = path.strip_prefix(link).ok()?;
            resolved = Some(normalize(&link.parent()?.join(target).join(rest)));
            if !self.links.iter().any(|(link, _)| resolved.as_deref().is_some_and(|path| lies_in(path, link)))
            {
                break;
            }
        }
        resolved
    }
}

/// Whether `path` lies below `directory`, both normalized.
fn lies_in(path: &Path, directory: &Path) -> bool {
    let rest = path.as_os_str().as_bytes().strip_prefix(directory.as_os_str().as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The path without `.` and `..`, by its text alone.
pub(super) fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// What tokens stand for on this machine.
pub(super) struct Tokens<'a> {
    pub(super) host: &'a Host,
    pub(super) home: &'a Path,
    pub(super) uid: String,
}

impl Tokens<'_> {
    /// The absolute path that a template stands for.
    pub(super) fn expand(&self, template: &PathTemplate, origin: &Origin) -> Result<PathBuf, PlanError> {
        let value = |token| -> Option<&OsStr> {
            match token {
                Token::Home => Some(self.home.as_os_str()),
                Token::Cwd => match &self.host.cwd {
                    WorkingDirectory::Known(path) => Some(path.as_os_str()),
                    _ => None,
                },
                Token::RuntimeDir => self.host.runtime_dir.as_deref().map(Path::as_os_str),
                Token::Downloads => self.host.downloads.as_deref().map(Path::as_os_str),
                Token::Uid => Some(OsStr::new(&self.uid)),
            }
        };
        let path =
            template.expand(value).map_err(|token| PlanError::NoValue { token, origin: origin.clone() })?;
        check_path(&path, origin)?;
        Ok(path.components().collect())
    }

    /// The mount that an entry of a profile asks for.
    pub(super) fn entry(&self, entry: &Setting<FilesystemEntry>) -> Result<Mount, PlanError> {
        let Setting { value: FilesystemEntry { kind, path, dest, optional, size, layer }, origin } = entry;
        let path = match self.expand(path, origin) {
            // An optional path that this machine has no value for is a path that is missing.
            Err(PlanError::NoValue { .. }) if *optional => PathBuf::from("/nonexistent"),
            other => other?,
        };
        let dest = dest.as_ref().map_or(Ok(path.clone()), |dest| self.expand(dest, origin))?;
        let (layer, size) = (layer.as_deref(), size.map(|size| size.0));
        let wish = Wish { kind: *kind, path, dest, optional: *optional, size, layer };
        mount_for(wish, self.host, origin.clone())
    }
}

/// A path of the command line, from the working directory on.
pub(super) fn absolute(path: &Path, host: &Host) -> Result<PathBuf, PlanError> {
    match (&host.cwd, path.is_absolute()) {
        (_, true) => Ok(normalize(path)),
        (WorkingDirectory::Known(cwd), false) => Ok(normalize(&cwd.join(path))),
        (WorkingDirectory::Deleted, false) => Err(PlanError::WorkingDirectoryDeleted),
        (WorkingDirectory::Unreadable(errno), false) => Err(PlanError::WorkingDirectoryUnreadable(*errno)),
    }
}

/// The mounts that the path options ask for; a relative path starts at the working directory.
pub(super) fn flags(invocation: &Invocation, host: &Host) -> Result<Vec<Mount>, PlanError> {
    let mount = |flag: &crate::invocation::PathFlag| {
        let origin = Origin::Flag(format!("--{} {}", flag_name(flag.kind), crate::diag::escape(&flag.typed)));
        for path in [Some(&flag.path), flag.dest.as_ref()].into_iter().flatten() {
            check_text(path, &origin)?;
        }
        let path = absolute(&flag.path, host)?;
        let dest = match &flag.dest {
            Some(dest) if dest.is_absolute() => normalize(dest),
            Some(dest) => {
                let why = "a destination inside is absolute";
                return Err(PlanError::BadPath { path: dest.clone(), why, origin });
            }
            None => path.clone(),
        };
        let wish = Wish { kind: flag.kind, path, dest, optional: false, size: None, layer: None };
        mount_for(wish, host, origin)
    };
    invocation.paths.iter().map(mount).collect()
}

fn flag_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Read => "ro",
        EntryKind::Write => "rw",
        EntryKind::Hide => "hide",
        EntryKind::Tmpfs => "tmpfs",
        EntryKind::Overlay => "overlay",
    }
}

/// An entry or option about a path, its paths found.
struct Wish<'w> {
    kind: EntryKind,
    path: PathBuf,
    dest: PathBuf,
    optional: bool,
    /// Bytes, for a tmpfs.
    size: Option<u64>,
    /// For an overlay.
    layer: Option<&'w str>,
}

fn mount_for(wish: Wish<'_>, host: &Host, origin: Origin) -> Result<Mount, PlanError> {
    let Wish { kind, path, dest, optional, size, layer } = wish;
    if dest == Path::new("/") {
        return Err(PlanError::BadPath { path: dest, why: "the root itself can't be a destination", origin });
    }
    let bind = |access| MountOp::Bind {
        source: BindSource::Path(path.clone()),
        access,
        devices: false,
        optional,
        create: None,
    };
    let op = match kind {
        EntryKind::Read => bind(Access::ReadOnly),
        EntryKind::Write => bind(Access::Writable),
        EntryKind::Hide => MountOp::Mask,
        EntryKind::Tmpfs => base::tmpfs(size.unwrap_or(base::TMPFS_SIZE), 0o755),
        EntryKind::Overlay => changes::overlay(&path, layer, optional, host, &origin)?,
    };
    Ok(Mount { dest, op, origin })
}

pub(super) fn check_path(path: &Path, origin: &Origin) -> Result<(), PlanError> {
    check_text(path, origin)?;
    let bad = |why| Err(PlanError::BadPath { path: path.to_owned(), why, origin: origin.clone() });
    if !path.is_absolute() {
        return bad("it is not absolute");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return bad("it holds `..`");
    }
    Ok(())
}

/// What no path may be: empty, with a NUL byte, or longer than the kernel takes.
pub(super) fn check_text(path: &Path, origin: &Origin) -> Result<(), PlanError> {
    let bytes = path.as_os_str().as_bytes();
    let why = match bytes {
        [] => "it is empty",
        _ if bytes.contains(&0) => "it holds a NUL byte",
        _ if bytes.len() >= libc::PATH_MAX as usize => "it is longer than 4,095 bytes",
        _ => return Ok(()),
    };
    Err(PlanError::BadPath { path: path.to_owned(), why, origin: origin.clone() })
}

/// Numbers the layers of a profile's entries, from 2: entries of one file share a number.
pub(super) fn layer_numbers(entries: &[Setting<FilesystemEntry>]) -> Vec<usize> {
    let mut layer = 1;
    let mut last: Option<&Origin> = None;
    let numbers = entries.iter().map(|entry| {
        let same = match (last, &entry.origin) {
            (Some(Origin::Profile(above)), Origin::Profile(here)) => Arc::ptr_eq(&above.source, &here.source),
            _ => false,
        };
        layer += usize::from(!same);
        last = Some(&entry.origin);
        layer
    });
    numbers.collect()
}
