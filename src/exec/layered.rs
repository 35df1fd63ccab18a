//! A root filesystem of layers, inside. Nothing here allocates.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, mkdirat};

use super::items::{Item, Op, Upper};
use super::mounts::{Builder, mount_point};
use super::overlay::{self, Writable};
use super::sources::Source;
use super::step::{At, Result, Step};
use super::walk;

/// Where overlays are made, in the tmpfs that the root then covers.
const MADE: &CStr = c".sbx-layers";
/// The layer with the mount points, and the work dir that it is made with.
const INIT: &CStr = c".sbx-init";
const INIT_WORK: &CStr = c".sbx-init-work";

impl<'a> Builder<'a> {
    /// Mounts an overlay, or makes one the root.
    pub(super) fn overlay(
        &mut self,
        item: &'a Item,
        lower: &'a [Source],
        upper: &'a Upper,
        following: &'a [Item],
    ) -> Result<()> {
        if item.path.is_empty() {
            return self.layered_root(item, lower, upper, following);
        }
        let n = item.index;
        let target = self.open_directory(item)?;
        let writable = overlay::writable(upper, &target).at_item(Step::Filesystem, n)?;
        if let Upper::Tmpfs { .. } = upper {
            let tmpfs = self.open_directory(item)?;
            self.remember(&tmpfs, n)?;
        }
        overlay::mount(None, lower, writable.as_ref(), &target).at_item(Step::Filesystem, n)?;
        let overlay = self.open_directory(item)?;
        self.remember(&overlay, n)
    }

    /// Puts a root of layers over the tmpfs. What mounts that follow need there is made in a layer that is thrown away.
    fn layered_root(
        &mut self,
        item: &'a Item,
        lower: &'a [Source],
        upper: &'a Upper,
        following: &'a [Item],
    ) -> Result<()> {
        let n = item.index;
        let made = self.make(MADE).at_item(Step::Create, n)?;
        let writable = overlay::writable(upper, &made).at_item(Step::Filesystem, n)?;
        let init = match (upper, &writable) {
            (Upper::Kept { .. }, Some(kept)) => Some(self.init_layer(&made, lower, kept, n, following)?),
            _ => None,
        };
        overlay::mount(init.as_ref(), lower, writable.as_ref(), &made).at_item(Step::Filesystem, n)?;
        let root = self.open(MADE).at_item(Step::Attach, n)?;
        self.attach(item, &root, true)?;
        self.own.push(fstat(&root).at_item(Step::Attach, n)?.st_dev);
        Ok(())
    }

    /// A layer with the mount points that the others lack: made in an overlay of all of them, which is gone when the real one
    /// is mounted.
    fn init_layer(
        &mut self,
        made: &OwnedFd,
        lower: &'a [Source],
        kept: &Writable,
        n: u32,
        following: &'a [Item],
    ) -> Result<OwnedFd> {
        let init = self.make(INIT).at_item(Step::Create, n)?;
        let work = self.make(INIT_WORK).at_item(Step::Create, n)?;
        let own = Writable { upper: init, work };
        overlay::mount(Some(&kept.upper), lower, Some(&own), made).at_item(Step::Filesystem, n)?;
        let all = self.open(MADE).at_item(Step::Filesystem, n)?;
        let device = fstat(&all).at_item(Step::Filesystem, n)?.st_dev;
        let bare = std::mem::replace(&mut self.root, all);
        self.own.push(device);
        // What lies below a destination follows it.
        let mut above: Option<&CStr> = None;
        for item in following {
            let is_dir = matches!(item.op, Op::Dir { .. }).then_some(true).or(item.op.mounts_over());
            let Some(is_dir) = is_dir else { continue };
            if above.is_some_and(|above| lies_in(&item.path, above)) {
                continue;
            }
            above = Some(&item.path);
            self.at_place(item, Step::Target, |place, name| mount_point(place, name, is_dir))?;
        }
        self.own.pop();
        self.forget_place();
        let all = std::mem::replace(&mut self.root, bare);
        overlay::unmount(&all).at_item(Step::Filesystem, n)?;
        Ok(own.upper)
    }

    /// A directory of the tmpfs that the root covers.
    fn make(&self, name: &CStr) -> nix::Result<OwnedFd> {
        mkdirat(&self.scratch, name, walk::mode(0o755))?;
        self.open(name)
    }

    fn open(&self, name: &CStr) -> nix::Result<OwnedFd> {
        walk::open_without_links(self.scratch.as_fd(), name, OFlag::O_DIRECTORY)
    }
}

fn lies_in(path: &CStr, above: &CStr) -> bool {
    path.to_bytes().strip_prefix(above.to_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}
