//! Overlays that `fuse-overlayfs` serves, inside. Nothing here allocates.
//!
//! PID 1 opens `/dev/fuse` and mounts what that will be asked for, both in the sandbox's own user namespace, as the kernel wants
//! it (Linux 4.18); the descriptor goes to the server, outside, and no process of the sandbox has it from then on. So there is
//! nothing inside by which the server could be reached but the filesystem, and when the server ends, so does the filesystem:
//! whatever is asked of it fails (`ENOTCONN`).
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use super::items::{Item, Served, Upper};
use super::layered::{lies_in, points};
use super::mounts::Builder;
use super::overlay::{self, Options};
use super::servers::Ways;
use super::step::{At, Result, Step};
use crate::sys::message;
use crate::sys::mount::{self, MountAttr};

impl Ways {
    /// Mounts what a server serves at the target, and hands the server the other end.
    fn mount(&self, server: usize, read_only: bool, target: &OwnedFd) -> nix::Result<()> {
        let socket = self.sockets.get(server).ok_or(Errno::EBADF)?;
        let device = nix::fcntl::open(c"/dev/fuse", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut number = Options::new();
        number.number(&device)?;
        let parameters: [(&CStr, Option<&CStr>); 7] = [
            (c"source", Some(c"fuse-overlayfs")),
            (c"fd", Some(number.as_c_str())),
            (c"rootmode", Some(c"40000")),
            (c"user_id", Some(&self.uid)),
            (c"group_id", Some(&self.gid)),
            // The kernel compares owners and modes, as it does elsewhere.
            (c"default_permissions", None),
            // With more than one id inside, not only the one who mounts it.
            (c"allow_other", None),
        ];
        let plain = MountAttr::NOSUID.and(MountAttr::NODEV);
        let attr = if read_only { plain.and(MountAttr::RDONLY) } else { plain };
        let filesystem = mount::new_filesystem(c"fuse", &parameters, attr)?;
        message::send_descriptor(socket, &device)?;
        // From here on only the server has it: what it does not answer any more fails.
        drop(device);
        mount::attach(&filesystem, target, c"")
    }
}

impl<'a> Builder<'a> {
    /// Mounts an overlay that is served, or makes one the root. Its layers are the server's affair.
    pub(super) fn served_overlay(
        &mut self,
        item: &'a Item,
        upper: &'a Upper,
        served: Served,
        following: &'a [Item],
    ) -> Result<()> {
        let n = item.index;
        let is_root = item.path.is_empty();
        let target = if is_root { self.make_layers(n)? } else { self.open_directory(item)? };
        if let Some(init) = served.init {
            self.make_points_in(item, init, &target, following)?;
        }
        let read_only = matches!(upper, Upper::None);
        self.ways.mount(served.server, read_only, &target).at_item(Step::Filesystem, n)?;
        if is_root {
            return self.take_layers_as_root(item, served.init.is_some());
        }
        let overlay = self.open_directory(item)?;
        self.remember(&overlay, n)
    }

    /// Makes the mount points that layers lack in an overlay of all of them, served by one that is gone afterwards: the next has
    /// what was made as a layer.
    fn make_points_in(
        &mut self,
        item: &'a Item,
        init: usize,
        target: &OwnedFd,
        following: &'a [Item],
    ) -> Result<()> {
        let n = item.index;
        self.ways.mount(init, false, target).at_item(Step::Filesystem, n)?;
        let is_root = item.path.is_empty();
        let all = if is_root { self.open_layers(n)? } else { self.open_directory(item)? };
        let device = fstat(&all).at_item(Step::Filesystem, n)?.st_dev;
        self.own.push(device);
        let all = if is_root {
            let bare = std::mem::replace(&mut self.root, all);
            for point in points(following.iter()) {
                self.make_point(point)?;
            }
            std::mem::replace(&mut self.root, bare)
        } else {
            for point in points(following.iter().filter(|next| lies_in(&next.path, &item.path))) {
                // What can't be made, as in a directory of somebody else's, is found missing by whoever needs it.
                let _ = self.make_point(point);
            }
            all
        };
        self.forget_place();
        self.own.pop();
        overlay::unmount(&all).at_item(Step::Filesystem, n)
    }
}
