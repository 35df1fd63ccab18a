//! What in a change to look at twice before it is carried over.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::geteuid;

use super::node::{Kind, Node};
use super::{Change, Ids, Status};
use crate::diag::escape;
use crate::profile::Profile;

/// Why to look at a change twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// A file that can be executed, and could not before.
    Executable,
    /// Other programs of the user run it, or take orders from it: a member of the `protect` list.
    Protected,
    /// Another user than the caller owns it; that is not carried over, unless by root.
    OtherOwner,
    /// It runs with its owner's rights, or with capabilities.
    SetId,
    /// A link that leads out of the directory, or may.
    LeadsOutside,
    /// A device, a named pipe or a socket.
    Special,
    /// Its name has characters in it that hide or change what a terminal shows.
    OddName,
    /// A part of it can't be read.
    Unreadable,
}

impl Mark {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Executable => "new executable",
            Self::Protected => "run or obeyed by other programs",
            Self::OtherOwner => "of another owner",
            Self::SetId => "set-id",
            Self::LeadsOutside => "leads outside",
            Self::Special => "special file",
            Self::OddName => "odd name",
            Self::Unreadable => "can't be read",
        }
    }
}

/// Marks changes of one layer.
pub(super) struct Marker {
    protected: Vec<PathBuf>,
    /// The directory that the layer lies over.
    directory: Option<PathBuf>,
    ids: Ids,
}

impl Marker {
    pub(super) fn new(directory: Option<&Path>, ids: Ids) -> Self {
        // What sbx protects in every writable directory, whatever the profile of the run added or left out.
        let protect = Profile::default().filesystem.protect;
        Self {
            protected: protect.iter().map(|setting| PathBuf::from(&setting.value)).collect(),
            directory: directory.map(Path::to_owned),
            ids,
        }
    }

    /// The marks of a change.
    pub(super) fn marks(&self, change: &Change) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mut mark = |mark, holds: bool| marks.extend(holds.then_some(mark));
        let file = |node: &Option<Node>| node.clone().filter(|node| node.kind == Kind::File);
        let bits = |bits: u32| {
            let old = file(&change.old).map_or(0, |old| old.mode & bits);
            file(&change.new).is_some_and(|new| new.mode & bits & !old != 0)
        };
        let runs = |node: &Option<Node>| file(node).is_some_and(|node| node.mode & 0o111 != 0);
        mark(Mark::Executable, runs(&change.new) && !runs(&change.old));
        mark(Mark::Protected, self.is_protected(change));
        mark(Mark::OtherOwner, self.is_of_another(change));
        mark(Mark::SetId, bits(0o6000) || change.capabilities);
        let target = change.new.as_ref().and_then(|new| new.target.as_deref());
        mark(Mark::LeadsOutside, target.is_some_and(|target| self.leads_outside(&change.path, target)));
        let special = |kind| matches!(kind, Kind::Device | Kind::Fifo | Kind::Socket);
        mark(Mark::Special, change.new.as_ref().is_some_and(|new| special(new.kind)));
        mark(Mark::OddName, is_odd(&change.path));
        mark(Mark::Unreadable, change.unreadable);
        marks
    }

    /// Whether it belongs to another user. To root, who carries owners over, that is nothing new where it did before.
    fn is_of_another(&self, change: &Change) -> bool {
        let Some(new) = &change.new else { return false };
        let kept = self.ids.carries_owners() && change.old.as_ref().is_some_and(|old| old.owner == new.owner);
        new.owner != geteuid().as_raw() && !kept
    }

    /// Whether it is a member of the list, lies in one, or takes one with it: at any depth, as there may be repositories in it.
    fn is_protected(&self, change: &Change) -> bool {
        let names: Vec<&OsStr> = change.path.iter().collect();
        // Only what goes or comes as a whole takes along what is in it and not listed itself.
        let whole = change.status == Status::Deleted
            || change.status == Status::TypeChanged
            || change.new.as_ref().is_some_and(|new| new.kind == Kind::Link);
        self.protected.iter().any(|member| {
            let member: Vec<&OsStr> = member.iter().collect();
            (0..names.len()).any(|start| {
                let tail = &names[start..];
                tail.starts_with(&member) || whole && member.starts_with(tail)
            })
        })
    }

    /// Whether a link leads out of the directory, or may: what `..` after a name means is for the name to say.
    fn leads_outside(&self, link: &Path, target: &OsStr) -> bool {
        let target = Path::new(target);
        let relative = match (&self.directory, target.is_absolute()) {
            (_, false) => target,
            (Some(directory), true) => match target.strip_prefix(directory) {
                Ok(inside) => inside,
                Err(_) => return true,
            },
            // In a root of its own a link stays in that root.
            (None, true) => return false,
        };
        let above = link.components().count().saturating_sub(1);
        let mut left = if target.is_absolute() { 0 } else { above };
        let mut named = false;
        for component in relative.components() {
            match component {
                Component::ParentDir if named || left == 0 => return true,
                Component::ParentDir => left -= 1,
                Component::Normal(_) => named = true,
                _ => {}
            }
        }
        false
    }
}

/// Whether a terminal would show it as something else. Bytes that are no text are shown as such.
fn is_odd(path: &Path) -> bool {
    path.as_os_str().as_bytes().utf8_chunks().any(|chunk| escape(chunk.valid()) != chunk.valid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: Kind, mode: u32, target: Option<&str>) -> Option<Node> {
        let target = target.map(Into::into);
        Some(Node {
            kind,
            mode,
            size: 0,
            target,
            inode: 1,
            changed: 0,
            names: 1,
            blocks: 0,
            owner: geteuid().as_raw(),
            group: 0,
            device: 0,
        })
    }

    fn marks(path: &str, status: Status, old: Option<Node>, new: Option<Node>) -> Vec<Mark> {
        Marker::new(Some(Path::new("/srv/p")), Ids::Hosts).marks(&Change::new(path.into(), status, old, new))
    }

    #[test]
    fn links_that_lead_out() {
        for (link, target, out) in [
            ("a", "b", false),
            ("a", "..", true),
            ("d/a", "../b", false),
            ("d/a", "../../b", true),
            ("d/e/a", "../../b", false),
            ("a", "/etc/passwd", true),
            ("a", "/srv/p/b", false),
            ("a", "/srv/p", false),
            ("a", "/srv/p/../q", true),
            ("a", "/srv/pp", true),
            ("d/e/a", "f/../../../x", true),
            ("a", "./b/./c", false),
        ] {
            let found = marks(link, Status::Added, None, node(Kind::Link, 0o777, Some(target)));
            assert_eq!(found.contains(&Mark::LeadsOutside), out, "{link} -> {target}");
        }
    }

    #[test]
    fn files_that_others_run() {
        let file = |mode| node(Kind::File, mode, None);
        let directory = || node(Kind::Directory, 0o755, None);
        assert_eq!(marks("a", Status::Added, None, file(0o755)), [Mark::Executable]);
        assert_eq!(marks("a", Status::Modified, file(0o644), file(0o744)), [Mark::Executable]);
        assert_eq!(marks("a", Status::Modified, file(0o755), file(0o755)), []);
        assert_eq!(marks("a", Status::Modified, file(0o755), file(0o4755)), [Mark::SetId]);
        assert_eq!(marks("a", Status::Modified, file(0o2755), file(0o2755)), []);
        assert_eq!(marks("x/.git/hooks/pre-commit", Status::Added, None, file(0o644)), [Mark::Protected]);
        assert_eq!(marks(".envrc", Status::Deleted, file(0o644), None), [Mark::Protected]);
        assert_eq!(marks(".git", Status::Deleted, directory(), None), [Mark::Protected]);
        assert_eq!(marks(".git", Status::Modified, directory(), directory()), []);
        assert_eq!(marks(".git/index", Status::Added, None, file(0o644)), []);
        assert_eq!(marks("x.envrc", Status::Added, None, file(0o644)), []);
        assert_eq!(marks("a\x1b[2J", Status::Added, None, file(0o644)), [Mark::OddName]);
        assert_eq!(marks("a", Status::Added, None, node(Kind::Fifo, 0o644, None)), [Mark::Special]);
    }
}
