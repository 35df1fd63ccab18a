//! Overlays on their places, and a root filesystem that is one, inside. Nothing here allocates.
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

/// Bytes and files of such a layer over a directory.
const INIT_SIZE: &CStr = c"16777216";
const INIT_FILES: &CStr = c"65536";

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
        let init = match (upper, &writable) {
            (Upper::Kept { .. }, Some(kept))
                if following.iter().any(|next| lies_in(&next.path, &item.path)) =>
            {
                Some(self.init_layer_over(item, &target, lower, kept, following)?)
            }
            _ => None,
        };
        if let Upper::Tmpfs { .. } = upper {
            let tmpfs = self.open_directory(item)?;
            self.remember(&tmpfs, n)?;
        }
        overlay::mount(init.as_ref(), lower, writable.as_ref(), &target).at_item(Step::Filesystem, n)?;
        let overlay = self.open_directory(item)?;
        self.remember(&overlay, n)
    }

    /// A layer with the mount points below a directory, in a tmpfs that the overlay then covers.
    fn init_layer_over(
        &mut self,
        item: &'a Item,
        target: &OwnedFd,
        lower: &'a [Source],
        kept: &Writable,
        following: &'a [Item],
    ) -> Result<OwnedFd> {
        let n = item.index;
        let own = overlay::in_memory(INIT_SIZE, INIT_FILES, target).at_item(Step::Filesystem, n)?;
        let tmpfs = self.open_directory(item)?;
        self.remember(&tmpfs, n)?;
        overlay::mount(Some(&kept.upper), lower, Some(&own), target).at_item(Step::Filesystem, n)?;
        let all = self.open_directory(item)?;
        self.own.push(fstat(&all).at_item(Step::Filesystem, n)?.st_dev);
        for point in points(following.iter().filter(|next| lies_in(&next.path, &item.path))) {
            // What can't be made, as in a directory of somebody else's, is found missing by whoever needs it.
            let _ = self.make_point(point);
        }
        self.forget_place();
        self.own.pop();
        overlay::unmount(&all).at_item(Step::Filesystem, n)?;
        Ok(own.upper)
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
        let made = self.make_layers(n)?;
        let writable = overlay::writable(upper, &made).at_item(Step::Filesystem, n)?;
        let init = match (upper, &writable) {
            (Upper::Kept { .. }, Some(kept)) => Some(self.init_layer(&made, lower, kept, n, following)?),
            _ => None,
        };
        overlay::mount(init.as_ref(), lower, writable.as_ref(), &made).at_item(Step::Filesystem, n)?;
        self.take_layers_as_root(item, init.is_some())
    }

    /// The directory where a root of layers is mounted.
    pub(super) fn make_layers(&self, n: u32) -> Result<OwnedFd> {
        self.make(MADE).at_item(Step::Create, n)
    }

    /// The root of what is mounted there.
    pub(super) fn open_layers(&self, n: u32) -> Result<OwnedFd> {
        self.open(MADE).at_item(Step::Attach, n)
    }

    /// Puts what is mounted there over the tmpfs. Where it has a layer for what mounts need, all of it is there, and nothing more
    /// is made: that would be kept.
    pub(super) fn take_layers_as_root(&mut self, item: &'a Item, has_points: bool) -> Result<()> {
        let n = item.index;
        let root = self.open_layers(n)?;
        self.attach(item, &root, true)?;
        let device = fstat(&root).at_item(Step::Attach, n)?.st_dev;
        match has_points {
            true => self.kept_root = Some(device),
            false => self.own.push(device),
        }
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
        for point in points(following.iter()) {
            self.make_point(point)?;
        }
        self.forget_place();
        self.own.pop();
        let all = std::mem::replace(&mut self.root, bare);
        overlay::unmount(&all).at_item(Step::Filesystem, n)?;
        Ok(own.upper)
    }

    pub(super) fn make_point(&mut self, (item, is_dir): (&'a Item, bool)) -> Result<()> {
        self.at_place(item, Step::Target, |place, name| mount_point(place, name, is_dir))
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

/// What needs a place to be mounted at, and whether that is a directory. What lies below a destination follows it.
pub(super) fn points<'i>(
    following: impl Iterator<Item = &'i Item>,
) -> impl Iterator<Item = (&'i Item, bool)> {
    let mut above: Option<&CStr> = None;
    following.filter_map(move |item| {
        let is_dir = matches!(item.op, Op::Dir { .. }).then_some(true).or(item.op.mounts_over())?;
        if above.is_some_and(|above| lies_in(&item.path, above)) {
            return None;
        }
        above = Some(&item.path);
        Some((item, is_dir))
    })
}

pub(super) fn lies_in(path: &CStr, above: &CStr) -> bool {
    path.to_bytes().strip_prefix(above.to_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}
