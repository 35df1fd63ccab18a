//! What is written down when changes are carried over, and what leaves the layer then.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::apply::Apply;
use super::journal::{Foreign, Journal, Leaving, Step};
use super::known::Known;
use super::node::{Directory, Node, open_below};
use super::stage;
use crate::layers::WHITEOUT;
use crate::removal;

impl Apply<'_> {
    /// Writes down which times in the directory are from here.
    pub(super) fn remember<'p>(
        &self,
        journal: &Journal,
        paths: impl IntoIterator<Item = &'p Path>,
    ) -> nix::Result<()> {
        let mut known = Known::read(&self.layer.dir);
        let is_foreign = |path: &Path| journal.foreign.iter().any(|foreign| foreign.path == path);
        for path in paths.into_iter().filter(|path| !is_foreign(path)) {
            if let Some(node) = self.node(path)? {
                known.0.insert(path.to_owned(), node.changed);
            }
        }
        known.write(&self.layer.dir)
    }

    /// What the directory has at a path. Nothing if it has nothing there, or no way to it.
    fn node(&self, path: &Path) -> nix::Result<Option<Node>> {
        let Some(name) = path.file_name() else {
            return Directory::open(self.lower, path)?.itself().map(Some);
        };
        match Directory::open(self.lower, path.parent().unwrap_or(Path::new(""))) {
            Ok(parent) => parent.node(name),
            Err(_) => Ok(None),
        }
    }

    /// Those of the paths that are directories which somebody has changed since the layer was made.
    pub(super) fn foreign(&self, steps: &[Step], stage: &Path) -> nix::Result<Vec<Foreign>> {
        let known = Known::read(&self.layer.dir);
        let created = self.layer.record.as_ref().map_or(0, |record| record.created);
        let mut foreign = Vec::new();
        for path in touched(steps, stage) {
            let node = self.node(path)?.filter(Node::is_dir);
            if node.is_some_and(|node| known.is_foreign(path, node.changed, created)) {
                foreign.push(Foreign { path: path.to_owned() });
            }
        }
        Ok(foreign)
    }

    /// Takes what is applied out of the layer.
    pub(super) fn leave(&self, leaving: &Leaving) -> nix::Result<()> {
        let Some(name) = leaving.path.file_name() else { return Ok(()) };
        let _opened = self.layer.ids.open_layer()?;
        let above = leaving.path.parent().unwrap_or(Path::new(""));
        let parent = match open_below(&self.layer.upper, above, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT | Errno::EACCES) => return Ok(()),
            parent => parent?,
        };
        // What stays because its directory in the layer can't be written is no change any more.
        let unless_gone = |result| match result {
            Err(Errno::ENOENT | Errno::EACCES) => Ok(()),
            result => result,
        };
        if leaving.tree {
            let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
            return unless_gone(removal::remove(&parent, &name));
        }
        unless_gone(unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir))?;
        if !self.layer.is_by_name() {
            return Ok(());
        }
        let mut whiteout = WHITEOUT.to_vec();
        whiteout.extend_from_slice(name.as_bytes());
        unless_gone(unlinkat(&parent, OsStr::from_bytes(&whiteout), UnlinkatFlags::NoRemoveDir))
    }

    /// Removes the layer, first from sight: it is never seen as a part of itself.
    pub(super) fn remove_layer(&self) -> nix::Result<()> {
        let _opened = self.layer.ids.open_layer()?;
        let above = self.layer.path.parent().ok_or(Errno::EINVAL)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let above = nix::fcntl::open(above, flags, Mode::empty())?;
        let passing = format!(".passing-applied-{}", &stage::new_name()[1..]);
        renameat(&above, self.layer.name.as_os_str(), &above, passing.as_str())?;
        // What can't be removed now is when the next layer is made.
        let _ = removal::remove(&above, &CString::new(passing).unwrap_or_default());
        Ok(())
    }
}

/// Everything whose times are changed by the steps.
pub(super) fn touched<'p>(steps: &'p [Step], stage: &'p Path) -> BTreeSet<&'p Path> {
    let parents = steps.iter().map(Step::path).flat_map(|path| [Some(path), path.parent()]).flatten();
    parents.chain(stage.parent()).collect()
}
