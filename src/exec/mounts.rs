//! Builds the root filesystem, inside, by descriptors only. Nothing here allocates.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::files::{Place, not_a_link};
use super::items::Item;
use super::operations::{MASK_DIR, MASK_FILE};
use super::readback::{Attached, took_effect};
use super::servers::Ways;
use super::step::{At, Failure, Result, Step};
use super::walk::{self, PathBuffer, Stop};
use crate::sys::mount::{self, MountAttr};

/// The root filesystem while it is being built.
pub(super) struct Builder<'a> {
    /// The new root, attached over `/`; the host's tree is still what absolute paths lead to.
    pub(super) root: OwnedFd,
    /// The tmpfs below a root that was bound over it.
    pub(super) scratch: OwnedFd,
    /// The procfs, until its mount point is reached.
    pub(super) proc: Option<OwnedFd>,
    /// Devices of filesystems that only this set-up can have written to.
    pub(super) own: &'a mut Vec<u64>,
    /// Device of a kept root, which has all that mounts need: nothing is made there, and its links lead nowhere else.
    pub(super) kept_root: Option<u64>,
    /// The directory of the last destination.
    last: Option<(&'a CStr, OwnedFd, bool)>,
    /// The directory of the last source.
    pub(super) last_source: Option<(&'a CStr, OwnedFd)>,
    pub(super) masks: Option<[walk::Identity; 2]>,
    /// Mounts below the root that go when the old root goes: the host's, and this root's own that others were bound over.
    stacked: usize,
    pub(super) on_host: bool,
    /// What was attached.
    pub(super) attached: &'a mut Attached,
    /// The sandbox's terminals.
    pub(super) devpts: Option<OwnedFd>,
    /// How those are reached that serve overlays.
    pub(super) ways: &'a Ways,
}

/// The root filesystem, built.
pub(super) struct Built {
    pub(super) root: OwnedFd,
    /// Mounts below the root that go when the old root goes.
    pub(super) stacked: usize,
    pub(super) devpts: Option<OwnedFd>,
}

impl<'a> Builder<'a> {
    /// Makes the root tmpfs and attaches it over `/`.
    pub(super) fn new(
        prepared: (&CStr, &CStr),
        own: &'a mut Vec<u64>,
        proc: OwnedFd,
        on_host: bool,
        attached: &'a mut Attached,
        ways: &'a Ways,
    ) -> Result<Self> {
        let mode = c"755";
        let parameters =
            [(c"mode", Some(mode)), (c"size", Some(prepared.0)), (c"nr_inodes", Some(prepared.1))];
        let attr = MountAttr::NOSUID.and(MountAttr::NODEV);
        let root = mount::new_filesystem(c"tmpfs", &parameters, attr).at(Step::Root)?;
        is_as_asked(&root, prepared.0, prepared.1, mode).at(Step::Root)?;
        own.push(fstat(&root).at(Step::Root)?.st_dev);
        let old =
            nix::fcntl::open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY, Mode::empty())
                .at(Step::Root)?;
        mount::attach(&root, &old, c"").at(Step::Root)?;
        let scratch = walk::open_without_links(&root, c".", OFlag::O_DIRECTORY).at(Step::Root)?;
        Ok(Self {
            root,
            scratch,
            proc: Some(proc),
            own,
            kept_root: None,
            last: None,
            last_source: None,
            masks: None,
            stacked: 1,
            on_host,
            attached,
            devpts: None,
            ways,
        })
    }

    /// Takes away what was only needed meanwhile.
    pub(super) fn finish(self, read_only: bool) -> Result<Built> {
        if self.masks.is_some() {
            unlinkat(&self.scratch, MASK_DIR, UnlinkatFlags::RemoveDir).at(Step::SealRoot)?;
            unlinkat(&self.scratch, MASK_FILE, UnlinkatFlags::NoRemoveDir).at(Step::SealRoot)?;
        }
        if read_only {
            mount::restrict(&self.root, MountAttr::RDONLY, false).at(Step::SealRoot)?;
        }
        Ok(Built { root: self.root, stacked: self.stacked, devpts: self.devpts })
    }

    /// Attaches `tree` at the item's destination, which is made if need be.
    pub(super) fn attach(&mut self, item: &'a Item, tree: &OwnedFd, is_dir: bool) -> Result<()> {
        let n = item.index;
        if item.path.is_empty() {
            mount::attach(tree, &self.root, c"").at_item(Step::Attach, n)?;
            self.root = tree.try_clone().map_err(|_| Errno::EMFILE).at_item(Step::Attach, n)?;
            self.last = None;
            self.stacked += 1;
            // What was attached before goes with the root that it was attached to.
            self.attached.clear();
            return self.remember(tree, n);
        }
        let mut step = Step::Target;
        let attached = self.at_place(item, Step::Target, |place, name| {
            step = Step::Target;
            mount_point(place, name, is_dir)?;
            step = Step::Attach;
            mount::attach(tree, place.directory, name)
        });
        attached.map_err(|failure| match failure.step {
            Step::Target => Failure { step, ..failure },
            _ => failure,
        })?;
        self.remember(tree, n)
    }

    /// Has the next destination looked for anew.
    pub(super) fn forget_place(&mut self) {
        self.last = None;
    }

    /// Notes the mount that `tree` is the root of as the item's.
    pub(super) fn remember(&mut self, tree: &OwnedFd, n: u32) -> Result<()> {
        self.attached.push((mount::mount_id_of(tree).at_item(Step::Attach, n)?, n));
        Ok(())
    }

    /// Calls `act` with the directory of the item's destination and the name in it. Directories above it are made where
    /// only this set-up can have written. `act` says `ELOOP` when it meets a link of that name: links are followed inside
    /// the root, if nobody else can have planted them, and `act` is called again with what they lead to.
    pub(super) fn at_place(
        &mut self,
        item: &'a Item,
        step: Step,
        mut act: impl FnMut(&Place<'_>, &CStr) -> nix::Result<()>,
    ) -> Result<()> {
        let n = item.index;
        if self.last.as_ref().is_none_or(|(parent, ..)| *parent != item.parent.as_c_str()) {
            match self.make_directories(&item.parent, n) {
                Ok((directory, own)) => self.last = Some((&item.parent, directory, own)),
                Err(Failure { errno: Errno::ELOOP, .. }) => return self.behind_links(item, step, act),
                Err(failure) => return Err(failure),
            }
        }
        let Some((_, directory, own)) = &self.last else {
            return Err(Failure { step, item: n, errno: Errno::ENOENT });
        };
        match act(&self.place(directory, *own), &item.name) {
            Err(Errno::ELOOP) => self.behind_links(item, step, act),
            result => result.at_item(step, n),
        }
    }

    fn place<'p>(&self, directory: &'p OwnedFd, own: bool) -> Place<'p> {
        Place { directory: directory.as_fd(), own, may_make: own || self.on_host }
    }

    /// The slow way: the destination's path has a link.
    fn behind_links(
        &mut self,
        item: &'a Item,
        step: Step,
        mut act: impl FnMut(&Place<'_>, &CStr) -> nix::Result<()>,
    ) -> Result<()> {
        let n = item.index;
        // What a link leads to may cover the directory that was remembered.
        self.last = None;
        let mut canonical = PathBuffer::new();
        let (own, kept_root) = (&*self.own, self.kept_root);
        let mut trust = |directory: BorrowedFd<'_>, _: &PathBuffer| {
            is_trusted(directory, own, kept_root).unwrap_or(false)
        };
        match walk::canonicalize(self.root.as_fd(), &item.path, &mut canonical, &mut trust) {
            Ok(()) => {}
            Err(Stop::Untrusted) => {
                return Err(Failure { step: Step::PlantedLink, item: n, errno: Errno::ELOOP });
            }
            Err(Stop::Errno(errno)) => return Err(Failure { step: Step::Target, item: n, errno }),
        }
        let (parent, name) = canonical.split();
        let (directory, own) = self.make_directories(parent.as_c_str(), n)?;
        act(&self.place(&directory, own), name.as_c_str()).at_item(step, n)
    }

    /// Opens a link-free directory below the root, making what is missing; whether only this set-up can have written there.
    fn make_directories(&self, path: &CStr, n: u32) -> Result<(OwnedFd, bool)> {
        let fail = |errno| Failure { step: Step::Target, item: n, errno };
        match walk::open_without_links(&self.root, path, OFlag::O_DIRECTORY) {
            Ok(directory) => {
                let own = is_own(directory.as_fd(), self.own).map_err(fail)?;
                return Ok((directory, own));
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let mut so_far = PathBuffer::new();
        let mut directory = walk::open_without_links(&self.root, c".", OFlag::O_DIRECTORY).map_err(fail)?;
        for component in
            path.to_bytes().split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
        {
            so_far.push(component).map_err(fail)?;
            let next = match walk::open_without_links(&self.root, so_far.as_c_str(), OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT)
                    if self.on_host || is_own(directory.as_fd(), self.own).map_err(fail)? =>
                {
                    let (_, name) = so_far.split();
                    mkdirat(&directory, name.as_c_str(), walk::mode(0o755)).map_err(fail)?;
                    walk::open_without_links(&self.root, so_far.as_c_str(), OFlag::O_DIRECTORY)
                }
                Err(Errno::ENOENT) => {
                    return Err(fail(Errno::EROFS));
                }
                other => other,
            };
            directory = next.map_err(fail)?;
        }
        let own = is_own(directory.as_fd(), self.own).map_err(fail)?;
        Ok((directory, own))
    }
}

/// Something to mount over: what is there, or else made if it may be.
pub(super) fn mount_point(place: &Place<'_>, name: &CStr, is_dir: bool) -> nix::Result<()> {
    let made = match is_dir {
        _ if !place.may_make => Err(Errno::EEXIST),
        true => mkdirat(place.directory, name, walk::mode(0o755)),
        false => mknodat(place.directory, name, SFlag::S_IFREG, walk::mode(0o444), 0),
    };
    match made {
        Err(Errno::EEXIST) => match not_a_link(place, name) {
            Err(Errno::ENOENT) => Err(Errno::EROFS),
            other => other.map(drop),
        },
        other => other,
    }
}

/// Whether a new tmpfs is what it was made for: that many bytes and files, and this mode, which is octal.
pub(super) fn is_as_asked(tmpfs: &OwnedFd, size: &CStr, inodes: &CStr, mode: &CStr) -> nix::Result<()> {
    let is = nix::sys::statfs::fstatfs(tmpfs)?;
    let number = |text: &CStr, radix| u64::from_str_radix(text.to_str().ok()?, radix).ok();
    let block = u64::try_from(is.block_size()).unwrap_or(1).max(1);
    let blocks = number(size, 10).map(|size| size.div_ceil(block));
    took_effect(blocks == Some(is.blocks()) && number(inodes, 10) == Some(is.files()))?;
    took_effect(number(mode, 8) == Some(u64::from(fstat(tmpfs)?.st_mode & 0o7777)))
}

pub(super) fn is_own(directory: BorrowedFd<'_>, own: &[u64]) -> nix::Result<bool> {
    Ok(own.contains(&fstat(directory)?.st_dev))
}

/// Whether a link in `directory` can only have been made by this set-up, or by somebody whose mount the sandbox can't
/// write; or, in a root that is kept, by an earlier run, which it leads to nothing that the root's paths don't.
fn is_trusted(directory: BorrowedFd<'_>, own: &[u64], kept_root: Option<u64>) -> nix::Result<bool> {
    use nix::sys::statvfs::{FsFlags, fstatvfs};
    let device = fstat(directory)?.st_dev;
    let is_known = own.contains(&device) || kept_root == Some(device);
    Ok(is_known || fstatvfs(directory)?.flags().contains(FsFlags::ST_RDONLY))
}
