//! The operations of a plan on the root filesystem that is being built, inside. Nothing here allocates.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

use super::files::{Place, change_mode, copy, make_directory, new_file, not_a_link, symlink, write_file};
use super::items::{Fresh, Item, Op};
use super::mounts::{Builder, is_as_asked, is_own};
use super::prepare::Prepared;
use super::protect::Island;
use super::readback::took_effect;
use super::sources::Source;
use super::step::{At, Failure, Result, Step};
use super::walk::{self, Identity};
use crate::plan::Content;
use crate::sys::mount::{self, MountAttr};

/// Names in the root of what is only needed while it is built.
pub(super) const MASK_DIR: &CStr = c".sbx-mask-dir";
pub(super) const MASK_FILE: &CStr = c".sbx-mask-file";
const DATA_FILE: &CStr = c".sbx-data";

impl<'a> Builder<'a> {
    /// Carries out one operation. `whole` is a clone of the host's root made before this root was attached over it.
    pub(super) fn perform(
        &mut self,
        item: &'a Item,
        following: &'a [Item],
        whole: Option<&OwnedFd>,
    ) -> Result<()> {
        let n = item.index;
        match &item.op {
            Op::Bind { source, attr } => self.bind(item, source, *attr, whole),
            Op::Device { source, number } => {
                let node = self.device(source, *number, n)?;
                self.attach(item, &node, false)
            }
            Op::Tmpfs { fresh, attr } => {
                let tmpfs = self.new_tmpfs(fresh, *attr).at_item(Step::Filesystem, n)?;
                self.attach(item, &tmpfs, true)
            }
            Op::Proc => {
                let proc = match self.proc.take() {
                    Some(proc) => proc,
                    None => new_proc().at_item(Step::Filesystem, n)?,
                };
                self.attach(item, &proc, true)
            }
            Op::Devpts => self.terminals(item),
            Op::Mqueue => self.cover(item, &new_mqueue().at_item(Step::Filesystem, n)?),
            Op::Cgroup => self.attach(item, &new_cgroup().at_item(Step::Filesystem, n)?, true),
            Op::Overlay { lower, upper, served: None } => self.overlay(item, lower, upper, following),
            Op::Overlay { upper, served: Some(served), .. } => {
                self.served_overlay(item, upper, *served, following)
            }
            Op::Dir { mode } => {
                self.at_place(item, Step::Create, |place, name| make_directory(place, name, *mode))
            }
            Op::Private { mode, fresh } => self.private(item, *mode, fresh),
            Op::File { content, mode } => self.at_place(item, Step::Create, |place, name| {
                write_file(&new_file(place, name, *mode)?, content)
            }),
            Op::Copy { source, mode } => {
                let (source, size) = self.regular_file(source, n)?;
                self.at_place(item, Step::Create, |place, name| {
                    copy(&source, size, &new_file(place, name, *mode)?)
                })
            }
            Op::Data { content, mode, attr } => self.data(item, content, *mode, *attr),
            Op::Symlink { target } => {
                self.at_place(item, Step::Create, |place, name| symlink(place, name, target))
            }
            Op::Chmod { mode } => {
                self.at_place(item, Step::Create, |place, name| change_mode(place, name, *mode))
            }
            Op::Own { uid, gid } => self.give_away(item, *uid, *gid),
            Op::Mask => self.mask(item),
            Op::ReadOnly => self.read_only(item),
            Op::Island(island) => match (self.island(item, *island), island) {
                (Err(Errno::ENOENT), Island::Held) => Ok(()),
                (tree, _) => self.remember(&tree.at_item(Step::Protect, n)?, n),
            },
        }
    }

    fn bind(
        &mut self,
        item: &'a Item,
        source: &'a Source,
        attr: MountAttr,
        whole: Option<&OwnedFd>,
    ) -> Result<()> {
        let opened;
        let tree = match whole {
            Some(tree) => tree,
            None => {
                opened = self.clone_source(source, item.index)?;
                &opened
            }
        };
        mount::restrict(tree, attr, true).at_item(Step::Restrict, item.index)?;
        self.attach(item, tree, source.is_dir)
    }

    /// Calls `act` with the directory of a source and the source's name in it.
    fn at_source<T>(
        &mut self,
        source: &'a Source,
        n: u32,
        act: impl FnOnce(&OwnedFd, &CStr) -> nix::Result<T>,
    ) -> Result<T> {
        if self.last_source.as_ref().is_none_or(|(parent, _)| *parent != source.parent.as_c_str()) {
            self.last_source =
                Some((&source.parent, walk::open_directory(&source.parent).at_item(Step::Source, n)?));
        }
        match &self.last_source {
            Some((_, parent)) => act(parent, &source.name).at_item(Step::Source, n),
            None => Err(Failure { step: Step::Source, item: n, errno: Errno::ENOENT }),
        }
    }

    /// A detached copy of a source with every mount below it.
    fn clone_source(&mut self, source: &'a Source, n: u32) -> Result<OwnedFd> {
        let tree = self.at_source(source, n, |parent, name| mount::clone_tree(parent, name, true))?;
        check_source(&tree, source).at_item(Step::Source, n)?;
        Ok(tree)
    }

    /// A device node of the host's, if it is the device that it should be (CVE-2025-31133).
    fn device(&mut self, source: &'a Source, number: u64, n: u32) -> Result<OwnedFd> {
        let tree = self.at_source(source, n, |parent, name| mount::clone_tree(parent, name, false))?;
        let status = fstat(&tree).at_item(Step::Source, n)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFCHR
            || status.st_rdev != number
        {
            return Err(Failure { step: Step::Source, item: n, errno: Errno::ENODEV });
        }
        mount::restrict(&tree, MountAttr::NOSUID.and(MountAttr::NOEXEC), false).at_item(Step::Restrict, n)?;
        Ok(tree)
    }

    /// A regular file of the host's, opened for reading, and its size in bytes.
    fn regular_file(&mut self, source: &'a Source, n: u32) -> Result<(OwnedFd, usize)> {
        let file = self.at_source(source, n, |parent, name| walk::open_readable(parent, name))?;
        let status = fstat(&file).at_item(Step::Source, n)?;
        match (SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT, usize::try_from(status.st_size)) {
            (SFlag::S_IFREG, Ok(size)) => Ok((file, size)),
            _ => Err(Failure { step: Step::Source, item: n, errno: Errno::EINVAL }),
        }
    }

    /// The sandbox's terminals, of which the payload may get one.
    fn terminals(&mut self, item: &'a Item) -> Result<()> {
        let devpts = new_devpts().at_item(Step::Filesystem, item.index)?;
        self.cover(item, &devpts)?;
        self.devpts = Some(devpts);
        Ok(())
    }

    /// A file without a name, mounted at the destination.
    fn data(&mut self, item: &'a Item, content: &Content, mode: u32, attr: MountAttr) -> Result<()> {
        let n = item.index;
        let scratch = Place { directory: self.scratch.as_fd(), own: true, may_make: true };
        let file = new_file(&scratch, DATA_FILE, mode).at_item(Step::Create, n)?;
        write_file(&file, content).at_item(Step::Create, n)?;
        let tree = mount::clone_tree(&self.scratch, DATA_FILE, false).at_item(Step::Create, n)?;
        mount::restrict(&tree, attr, false).at_item(Step::Restrict, n)?;
        self.attach(item, &tree, false)?;
        // Not before: what has no name can't be attached.
        unlinkat(&self.scratch, DATA_FILE, UnlinkatFlags::NoRemoveDir).at_item(Step::Create, n)
    }

    /// A new tmpfs, remembered as one that only this set-up has written to.
    fn new_tmpfs(&mut self, fresh: &Fresh, attr: MountAttr) -> nix::Result<OwnedFd> {
        let parameters = [
            (c"size", Some(fresh.size.as_c_str())),
            (c"nr_inodes", Some(fresh.inodes.as_c_str())),
            (c"mode", Some(fresh.mode.as_c_str())),
        ];
        let tmpfs = mount::new_filesystem(c"tmpfs", &parameters, attr)?;
        is_as_asked(&tmpfs, &fresh.size, &fresh.inodes, &fresh.mode)?;
        self.own.push(fstat(&tmpfs)?.st_dev);
        Ok(tmpfs)
    }

    /// Attaches something of the sandbox's own where a bind shows what would be the host's; where the host has nothing there
    /// is nothing to cover.
    fn cover(&mut self, item: &'a Item, tree: &OwnedFd) -> Result<()> {
        match self.attach(item, tree, true) {
            Err(Failure { step: Step::Target, errno: Errno::EROFS, .. }) => Ok(()),
            other => other,
        }
    }

    /// An empty directory of the sandbox's own: of the root filesystem where it can be, and else, where a bind shows a
    /// directory of the host's, a tmpfs that covers that.
    fn private(&mut self, item: &'a Item, mode: u32, fresh: &Fresh) -> Result<()> {
        let mut own = None;
        self.at_place(item, Step::Create, |place, name| {
            if !place.own {
                return Ok(());
            }
            make_directory(place, name, mode)?;
            let tree = mount::clone_tree(place.directory, name, false)?;
            mount::attach(&tree, place.directory, name)?;
            own = Some(tree);
            Ok(())
        })?;
        if let Some(tree) = own {
            return self.remember(&tree, item.index);
        }
        let attr = MountAttr::NOSUID.and(MountAttr::NODEV);
        let tmpfs = self.new_tmpfs(fresh, attr).at_item(Step::Filesystem, item.index)?;
        self.cover(item, &tmpfs)
    }

    /// Covers what is there. Nothing is made where nothing is, or where a mask is that another path led to: one on top of
    /// another would hold the other's file.
    fn mask(&mut self, item: &'a Item) -> Result<()> {
        let n = item.index;
        let Some(there) = self.existing(item)? else { return Ok(()) };
        let masks = match self.masks {
            Some(masks) => masks,
            None => self.make_masks().at_item(Step::Create, n)?,
        };
        if masks.contains(&walk::identity(&there)) {
            return Ok(());
        }
        let is_dir = walk::kind_of(&there) == SFlag::S_IFDIR;
        let cover = mount::clone_tree(&self.scratch, if is_dir { MASK_DIR } else { MASK_FILE }, false)
            .at_item(Step::Filesystem, n)?;
        let attr = MountAttr::RDONLY.and(MountAttr::NOSUID).and(MountAttr::NODEV).and(MountAttr::NOEXEC);
        mount::restrict(&cover, attr, false).at_item(Step::Restrict, n)?;
        self.attach(item, &cover, is_dir)
    }

    /// Makes what masks are clones of, a directory and a file that nobody may open.
    fn make_masks(&mut self) -> nix::Result<[Identity; 2]> {
        let closed = Mode::empty();
        mkdirat(&self.scratch, MASK_DIR, closed)?;
        mknodat(&self.scratch, MASK_FILE, SFlag::S_IFREG, closed, 0)?;
        let identity = |name| Ok(walk::identity(&walk::status(&self.scratch, name)?));
        let masks = [identity(MASK_DIR)?, identity(MASK_FILE)?];
        self.masks = Some(masks);
        Ok(masks)
    }

    /// Mounts what is there over itself, read-only.
    fn read_only(&mut self, item: &'a Item) -> Result<()> {
        let n = item.index;
        let Some(there) = self.existing(item)? else { return Ok(()) };
        let tree = self.clone_inside(item, true)?;
        mount::restrict(&tree, MountAttr::RDONLY, true).at_item(Step::Restrict, n)?;
        self.attach(item, &tree, walk::kind_of(&there) == SFlag::S_IFDIR)
    }

    /// Mounts what is there over itself, a link too: what has a mount can be neither renamed, replaced nor removed.
    fn island(&mut self, item: &'a Item, island: Island) -> nix::Result<OwnedFd> {
        let parent = walk::open_without_links(&self.root, &item.parent, OFlag::O_DIRECTORY)?;
        let tree = mount::clone_tree(&parent, &item.name, true)?;
        if island != Island::Parent {
            mount::restrict(&tree, MountAttr::RDONLY, true)?;
        }
        mount::attach(&tree, &parent, &item.name)?;
        Ok(tree)
    }

    /// A detached copy of what is at the destination.
    fn clone_inside(&mut self, item: &'a Item, recursive: bool) -> Result<OwnedFd> {
        let mut tree = None;
        self.at_place(item, Step::Source, |place, name| {
            tree = Some(mount::clone_tree(place.directory, name, recursive)?);
            Ok(())
        })?;
        tree.ok_or(Errno::ENOENT).at_item(Step::Source, item.index)
    }

    /// What is at the destination, if anything.
    fn existing(&mut self, item: &'a Item) -> Result<Option<FileStat>> {
        match walk::open_without_links(&self.root, &item.parent, OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(Errno::ELOOP) | Ok(_) => {}
            Err(errno) => return Err(Failure { step: Step::Target, item: item.index, errno }),
        }
        let mut found = None;
        self.at_place(item, Step::Target, |place, name| match walk::status(place.directory, name) {
            Err(Errno::ENOENT) => Ok(()),
            Ok(status) if walk::kind_of(&status) == SFlag::S_IFLNK => Err(Errno::ELOOP),
            other => {
                found = Some(other?);
                Ok(())
            }
        })?;
        Ok(found)
    }

    /// Gives away what is there, which must be of a filesystem that this set-up has made: never a file of the host's.
    fn give_away(&mut self, item: &'a Item, uid: u32, gid: u32) -> Result<()> {
        let mut there = None;
        self.at_place(item, Step::Create, |place, name| {
            not_a_link(place, name)?;
            there = Some(walk::open_without_links(place.directory, name, OFlag::empty())?);
            Ok(())
        })?;
        let given = |there: &OwnedFd| {
            if !is_own(there.as_fd(), self.own)? {
                return Err(Errno::EXDEV);
            }
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchownat(there, c"", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)?;
            let now = fstat(there)?;
            took_effect((now.st_uid, now.st_gid) == (uid, gid))
        };
        there.as_ref().ok_or(Errno::ENOENT).and_then(given).at_item(Step::Create, item.index)
    }

    /// The destination as a directory, made if need be.
    pub(super) fn open_directory(&mut self, item: &'a Item) -> Result<OwnedFd> {
        let mut opened = None;
        self.at_place(item, Step::Target, |place, name| {
            if not_a_link(place, name) == Err(Errno::ENOENT) {
                make_directory(place, name, 0o755)?;
            }
            not_a_link(place, name)?;
            opened = Some(walk::open_without_links(place.directory, name, OFlag::O_DIRECTORY)?);
            Ok(())
        })?;
        opened.ok_or(Errno::ENOENT).at_item(Step::Target, item.index)
    }
}

/// A procfs of the current PID namespace.
pub(super) fn new_proc() -> nix::Result<OwnedFd> {
    let attr = MountAttr::NOSUID.and(MountAttr::NODEV).and(MountAttr::NOEXEC);
    mount::new_filesystem(c"proc", &[], attr)
}

/// A devpts of the sandbox's own: its terminals are nobody else's.
fn new_devpts() -> nix::Result<OwnedFd> {
    let parameters = [(c"ptmxmode", Some(c"0666"))];
    let devpts = mount::new_filesystem(c"devpts", &parameters, MountAttr::NOSUID.and(MountAttr::NOEXEC))?;
    let ptmx = nix::sys::stat::fstatat(&devpts, c"ptmx", nix::fcntl::AtFlags::empty())?;
    took_effect(ptmx.st_mode & 0o777 == 0o666)?;
    Ok(devpts)
}

/// The message queues of the current IPC namespace.
fn new_mqueue() -> nix::Result<OwnedFd> {
    mount::new_filesystem(c"mqueue", &[], MountAttr::NOSUID.and(MountAttr::NODEV).and(MountAttr::NOEXEC))
}

/// The cgroups below the one that the current cgroup namespace begins with.
fn new_cgroup() -> nix::Result<OwnedFd> {
    mount::new_filesystem(c"cgroup2", &[], MountAttr::NOSUID.and(MountAttr::NODEV).and(MountAttr::NOEXEC))
}

/// Whether a clone is what was seen outside: no link took its place, and it is the file that a descriptor referred to.
fn check_source(tree: &OwnedFd, source: &Source) -> nix::Result<()> {
    let status = fstat(tree)?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFLNK {
        return Err(Errno::ELOOP);
    }
    if source.is_dir != (kind == SFlag::S_IFDIR) {
        return Err(if source.is_dir { Errno::ENOTDIR } else { Errno::EISDIR });
    }
    match source.expect {
        Some(expected) if expected != (status.st_dev, status.st_ino) => Err(Errno::ESTALE),
        _ => Ok(()),
    }
}

/// Clones of the host's root for the items that bind it: they must be made before the new root is attached over it.
pub(super) fn clone_root(prepared: &Prepared, into: &mut Vec<(u32, OwnedFd)>) -> Result<()> {
    for item in prepared.items.iter().filter(|item| item.binds_root()) {
        let root = walk::open_directory(c"/").at_item(Step::Source, item.index)?;
        into.push((item.index, mount::clone_tree(&root, c"", true).at_item(Step::Source, item.index)?));
    }
    Ok(())
}
