//! Builds the root filesystem, inside, by descriptors only. Nothing here allocates.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::overlay;
use super::prepare::{Item, Op, Prepared};
use super::sources::Source;
use super::step::{At, Failure, Result, Step};
use super::walk::{self, PathBuffer, Stop};
use crate::plan::Content;
use crate::sys::mount::{self, MountAttr};
use crate::sys::process;

/// Names in the root of what is only needed while it is built.
const MASK_DIR: &CStr = c".sbx-mask-dir";
const MASK_FILE: &CStr = c".sbx-mask-file";
const DATA_FILE: &CStr = c".sbx-data";

/// The root filesystem while it is being built.
pub(super) struct Builder<'a> {
    /// The new root, attached over `/`; the host's tree is still what absolute paths lead to.
    root: OwnedFd,
    /// The tmpfs below a root that was bound over it.
    scratch: OwnedFd,
    /// The procfs, until its mount point is reached.
    proc: Option<OwnedFd>,
    /// Devices of filesystems that only this set-up can have written to.
    own: &'a mut Vec<u64>,
    /// The directory of the last destination.
    last: Option<(&'a CStr, OwnedFd, bool)>,
    masks: bool,
    on_host: bool,
}

/// A directory and a name in it, the name not a link.
struct Place<'p> {
    directory: BorrowedFd<'p>,
    /// Only this set-up can have written there.
    own: bool,
}

impl<'a> Builder<'a> {
    /// Makes the root tmpfs and attaches it over `/`.
    pub(super) fn new(
        prepared: (&CStr, &CStr),
        own: &'a mut Vec<u64>,
        proc: OwnedFd,
        on_host: bool,
    ) -> Result<Self> {
        let parameters =
            [(c"mode", Some(c"0755")), (c"size", Some(prepared.0)), (c"nr_inodes", Some(prepared.1))];
        let attr = MountAttr::NOSUID.and(MountAttr::NODEV);
        let root = mount::new_filesystem(c"tmpfs", &parameters, attr).at(Step::Root)?;
        own.push(fstat(&root).at(Step::Root)?.st_dev);
        let old =
            nix::fcntl::open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY, Mode::empty())
                .at(Step::Root)?;
        mount::attach(&root, &old, c"").at(Step::Root)?;
        let scratch = walk::open_without_links(&root, c".", OFlag::O_DIRECTORY).at(Step::Root)?;
        Ok(Self { root, scratch, proc: Some(proc), own, last: None, masks: false, on_host })
    }

    /// Carries out one operation. `whole` is a clone of the host's root made before this root was attached over it.
    pub(super) fn perform(&mut self, item: &'a Item, whole: Option<&OwnedFd>) -> Result<()> {
        let n = item.index;
        match &item.op {
            Op::Bind { source, attr } => {
                let opened;
                let tree = match whole {
                    Some(tree) => tree,
                    None => {
                        opened = clone_source(source, n)?;
                        &opened
                    }
                };
                mount::restrict(tree, *attr, true).at_item(Step::Restrict, n)?;
                self.attach(item, tree, source.is_dir)
            }
            Op::Device { path, number } => self.attach(item, &device(path, *number, n)?, false),
            Op::Tmpfs { size, inodes, mode, attr } => {
                let parameters =
                    [(c"size", Some(size.as_c_str())), (c"nr_inodes", Some(inodes)), (c"mode", Some(mode))];
                let tmpfs =
                    mount::new_filesystem(c"tmpfs", &parameters, *attr).at_item(Step::Filesystem, n)?;
                self.own.push(fstat(&tmpfs).at_item(Step::Filesystem, n)?.st_dev);
                self.attach(item, &tmpfs, true)
            }
            Op::Proc => {
                let proc = match self.proc.take() {
                    Some(proc) => proc,
                    None => new_proc().at_item(Step::Filesystem, n)?,
                };
                self.attach(item, &proc, true)
            }
            Op::Devpts => {
                let parameters = [(c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620"))];
                let attr = MountAttr::NOSUID.and(MountAttr::NOEXEC);
                let devpts =
                    mount::new_filesystem(c"devpts", &parameters, attr).at_item(Step::Filesystem, n)?;
                self.attach(item, &devpts, true)
            }
            Op::Mqueue => {
                let attr = MountAttr::NOSUID.and(MountAttr::NODEV).and(MountAttr::NOEXEC);
                let mqueue = mount::new_filesystem(c"mqueue", &[], attr).at_item(Step::Filesystem, n)?;
                self.attach(item, &mqueue, true)
            }
            Op::Overlay { lower, upper } => {
                let target = self.open_directory(item)?;
                overlay::mount(lower, upper, &target).at_item(Step::Filesystem, n)
            }
            Op::Dir { mode } => {
                self.at_place(item, Step::Create, |place, name| make_directory(place, name, *mode))
            }
            Op::Private { mode } => {
                self.at_place(item, Step::Create, |place, name| make_directory(place, name, *mode))?;
                let tree = self.clone_inside(item, false)?;
                self.attach(item, &tree, true)
            }
            Op::File { content, mode } => self.at_place(item, Step::Create, |place, name| {
                write_file(&new_file(place, name, *mode)?, content)
            }),
            Op::Copy { source, mode } => {
                let source = regular_file(source, n)?;
                self.at_place(item, Step::Create, |place, name| copy(&source, &new_file(place, name, *mode)?))
            }
            Op::Data { content, mode, attr } => {
                let scratch = Place { directory: self.scratch.as_fd(), own: true };
                let file = new_file(&scratch, DATA_FILE, *mode).at_item(Step::Create, n)?;
                write_file(&file, content).at_item(Step::Create, n)?;
                let tree = mount::clone_tree(&self.scratch, DATA_FILE, false).at_item(Step::Create, n)?;
                unlinkat(&self.scratch, DATA_FILE, UnlinkatFlags::NoRemoveDir).at_item(Step::Create, n)?;
                mount::restrict(&tree, *attr, false).at_item(Step::Restrict, n)?;
                self.attach(item, &tree, false)
            }
            Op::Symlink { target } => self.at_place(item, Step::Create, |place, name| {
                match symlinkat(target.as_c_str(), place.directory, name) {
                    Err(Errno::EEXIST) if says(place, name, target)? => Ok(()),
                    other => other,
                }
            }),
            Op::Chmod { mode } => {
                self.at_place(item, Step::Create, |place, name| change_mode(place, name, *mode))
            }
            Op::Mask => self.mask(item),
            Op::ReadOnly => self.read_only(item),
        }
    }

    /// Takes away what was only needed meanwhile; the root's descriptor is what is left.
    pub(super) fn finish(self, read_only: bool) -> Result<OwnedFd> {
        if self.masks {
            unlinkat(&self.scratch, MASK_DIR, UnlinkatFlags::RemoveDir).at(Step::SealRoot)?;
            unlinkat(&self.scratch, MASK_FILE, UnlinkatFlags::NoRemoveDir).at(Step::SealRoot)?;
        }
        if read_only {
            mount::restrict(&self.root, MountAttr::RDONLY, false).at(Step::SealRoot)?;
        }
        Ok(self.root)
    }

    /// Attaches `tree` at the item's destination, which is made if need be.
    fn attach(&mut self, item: &'a Item, tree: &OwnedFd, is_dir: bool) -> Result<()> {
        let n = item.index;
        if item.path.is_empty() {
            mount::attach(tree, &self.root, c"").at_item(Step::Attach, n)?;
            self.root = tree.try_clone().map_err(|_| Errno::EMFILE).at_item(Step::Attach, n)?;
            self.last = None;
            return Ok(());
        }
        let on_host = self.on_host;
        let mut step = Step::Target;
        let attached = self.at_place(item, Step::Target, |place, name| {
            step = Step::Target;
            let made = match is_dir {
                _ if !place.own && !on_host => Err(Errno::EEXIST),
                true => mkdirat(place.directory, name, walk::mode(0o755)),
                false => mknodat(place.directory, name, SFlag::S_IFREG, walk::mode(0o444), 0),
            };
            match made {
                Err(Errno::EEXIST) => match not_a_link(place, name) {
                    Err(Errno::ENOENT) => {
                        step = Step::HostMountPoint;
                        return Err(Errno::ENOENT);
                    }
                    other => other.map(drop)?,
                },
                other => other?,
            }
            step = Step::Attach;
            mount::attach(tree, place.directory, name)
        });
        attached.map_err(
            |failure| if failure.step == Step::Target { Failure { step, ..failure } } else { failure },
        )
    }

    /// Covers what is there. Nothing is made where nothing is.
    fn mask(&mut self, item: &'a Item) -> Result<()> {
        let n = item.index;
        let Some(kind) = self.existing(item)? else { return Ok(()) };
        if !self.masks {
            let closed = Mode::empty();
            mkdirat(&self.scratch, MASK_DIR, closed).at_item(Step::Create, n)?;
            mknodat(&self.scratch, MASK_FILE, SFlag::S_IFREG, closed, 0).at_item(Step::Create, n)?;
            self.masks = true;
        }
        let is_dir = kind == SFlag::S_IFDIR;
        let cover = mount::clone_tree(&self.scratch, if is_dir { MASK_DIR } else { MASK_FILE }, false)
            .at_item(Step::Filesystem, n)?;
        let attr = MountAttr::RDONLY.and(MountAttr::NOSUID).and(MountAttr::NODEV).and(MountAttr::NOEXEC);
        mount::restrict(&cover, attr, false).at_item(Step::Restrict, n)?;
        self.attach(item, &cover, is_dir)
    }

    /// Mounts what is there over itself, read-only.
    fn read_only(&mut self, item: &'a Item) -> Result<()> {
        let n = item.index;
        let Some(kind) = self.existing(item)? else { return Ok(()) };
        let tree = self.clone_inside(item, true)?;
        mount::restrict(&tree, MountAttr::RDONLY, true).at_item(Step::Restrict, n)?;
        self.attach(item, &tree, kind == SFlag::S_IFDIR)
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
    fn existing(&mut self, item: &'a Item) -> Result<Option<SFlag>> {
        match walk::open_without_links(&self.root, &item.parent, OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(Errno::ELOOP) | Ok(_) => {}
            Err(errno) => return Err(Failure { step: Step::Target, item: item.index, errno }),
        }
        let mut found = None;
        self.at_place(item, Step::Target, |place, name| match not_a_link(place, name) {
            Err(Errno::ENOENT) => Ok(()),
            other => {
                found = Some(other?);
                Ok(())
            }
        })?;
        Ok(found)
    }

    /// The destination as a directory, made if need be.
    fn open_directory(&mut self, item: &'a Item) -> Result<OwnedFd> {
        let mut opened = None;
        self.at_place(item, Step::Target, |place, name| {
            match mkdirat(place.directory, name, walk::mode(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            not_a_link(place, name)?;
            opened = Some(walk::open_without_links(place.directory, name, OFlag::O_DIRECTORY)?);
            Ok(())
        })?;
        opened.ok_or(Errno::ENOENT).at_item(Step::Target, item.index)
    }

    /// Calls `act` with the directory of the item's destination and the name in it. Directories above it are made where
    /// only this set-up can have written. `act` says `ELOOP` when it meets a link of that name: links are followed inside
    /// the root, if nobody else can have planted them, and `act` is called again with what they lead to.
    fn at_place(
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
        match act(&Place { directory: directory.as_fd(), own: *own }, &item.name) {
            Err(Errno::ELOOP) => self.behind_links(item, step, act),
            result => result.at_item(step, n),
        }
    }

    /// The slow way: the destination's path has a link.
    fn behind_links(
        &mut self,
        item: &'a Item,
        step: Step,
        mut act: impl FnMut(&Place<'_>, &CStr) -> nix::Result<()>,
    ) -> Result<()> {
        let n = item.index;
        let mut canonical = PathBuffer::new();
        let own = &*self.own;
        let mut trust =
            |directory: BorrowedFd<'_>, _: &PathBuffer| is_trusted(directory, own).unwrap_or(false);
        match walk::canonicalize(self.root.as_fd(), &item.path, &mut canonical, &mut trust) {
            Ok(()) => {}
            Err(Stop::Untrusted) => {
                return Err(Failure { step: Step::PlantedLink, item: n, errno: Errno::ELOOP });
            }
            Err(Stop::Errno(errno)) => return Err(Failure { step: Step::Target, item: n, errno }),
        }
        let (parent, name) = canonical.split();
        let (directory, own) = self.make_directories(parent.as_c_str(), n)?;
        act(&Place { directory: directory.as_fd(), own }, name.as_c_str()).at_item(step, n)
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
                    return Err(Failure { step: Step::HostMountPoint, item: n, errno: Errno::ENOENT });
                }
                other => other,
            };
            directory = next.map_err(fail)?;
        }
        let own = is_own(directory.as_fd(), self.own).map_err(fail)?;
        Ok((directory, own))
    }
}

/// A procfs of the current PID namespace.
pub(super) fn new_proc() -> nix::Result<OwnedFd> {
    let attr = MountAttr::NOSUID.and(MountAttr::NODEV).and(MountAttr::NOEXEC);
    mount::new_filesystem(c"proc", &[], attr)
}

/// A detached copy of a source with every mount below it.
pub(super) fn clone_source(source: &Source, n: u32) -> Result<OwnedFd> {
    let opened = walk::open_source(&source.path).at_item(Step::Source, n)?;
    if let Some(expected) = source.expect {
        let status = fstat(&opened).at_item(Step::Source, n)?;
        if (status.st_dev, status.st_ino) != expected {
            return Err(Failure { step: Step::Source, item: n, errno: Errno::ESTALE });
        }
    }
    mount::clone_tree(&opened, c"", true).at_item(Step::Source, n)
}

/// A device node of the host's, if it is the device that it should be (CVE-2025-31133).
fn device(path: &CStr, number: u64, n: u32) -> Result<OwnedFd> {
    let opened = walk::open_source(path).at_item(Step::Source, n)?;
    let status = fstat(&opened).at_item(Step::Source, n)?;
    let is_character = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    if !is_character || status.st_rdev != number {
        return Err(Failure { step: Step::Source, item: n, errno: Errno::ENODEV });
    }
    let tree = mount::clone_tree(&opened, c"", false).at_item(Step::Source, n)?;
    mount::restrict(&tree, MountAttr::NOSUID.and(MountAttr::NOEXEC), false).at_item(Step::Restrict, n)?;
    Ok(tree)
}

fn is_own(directory: BorrowedFd<'_>, own: &[u64]) -> nix::Result<bool> {
    Ok(own.contains(&fstat(directory)?.st_dev))
}

/// Whether a link in `directory` can only have been made by this set-up, or by somebody whose mount the sandbox can't
/// write.
fn is_trusted(directory: BorrowedFd<'_>, own: &[u64]) -> nix::Result<bool> {
    use nix::sys::statvfs::{FsFlags, fstatvfs};
    Ok(is_own(directory, own)? || fstatvfs(directory)?.flags().contains(FsFlags::ST_RDONLY))
}

/// What is called `name`; `ELOOP` when that is a link.
fn not_a_link(place: &Place<'_>, name: &CStr) -> nix::Result<SFlag> {
    match walk::kind(place.directory, name)? {
        SFlag::S_IFLNK => Err(Errno::ELOOP),
        kind => Ok(kind),
    }
}

/// A directory with just this mode, where one is or can be made.
fn make_directory(place: &Place<'_>, name: &CStr, mode: u32) -> nix::Result<()> {
    match mkdirat(place.directory, name, walk::mode(mode)) {
        Err(Errno::EEXIST) => match not_a_link(place, name)? {
            SFlag::S_IFDIR if place.own => change_mode(place, name, mode),
            SFlag::S_IFDIR => Ok(()),
            _ => Err(Errno::ENOTDIR),
        },
        other => other,
    }
}

/// A new, empty file.
fn new_file(place: &Place<'_>, name: &CStr, mode: u32) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(place.directory, name, flags, walk::mode(mode)) {
        Err(Errno::EEXIST) => not_a_link(place, name).and(Err(Errno::EEXIST)),
        other => other,
    }
}

fn write_file(file: &OwnedFd, content: &Content) -> nix::Result<()> {
    match content {
        Content::Bytes(bytes) => write_all(file, bytes),
        Content::Fd(fd) => {
            let input = process::inherited(*fd)?;
            let mut buffer = [0; 16 * 1024];
            loop {
                match nix::unistd::read(input, &mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(length) => write_all(file, &buffer[..length])?,
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
}

/// A regular file of the host's, opened for reading without following links.
fn regular_file(path: &CStr, n: u32) -> Result<OwnedFd> {
    let file = walk::open_readable(path).at_item(Step::Source, n)?;
    let kind = SFlag::from_bits_truncate(fstat(&file).at_item(Step::Source, n)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFREG {
        Ok(file)
    } else {
        Err(Failure { step: Step::Source, item: n, errno: Errno::EINVAL })
    }
}

/// Copies all of `from`, in the kernel.
fn copy(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    const AT_MOST: usize = 1 << 20;
    loop {
        match nix::sys::sendfile::sendfile(to, from, None, AT_MOST) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(super) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets the mode of something of the set-up's own, where no link can appear after the look.
fn change_mode(place: &Place<'_>, name: &CStr, mode: u32) -> nix::Result<()> {
    if !place.own {
        return Err(Errno::EROFS);
    }
    not_a_link(place, name)?;
    fchmodat(place.directory, name, walk::mode(mode), FchmodatFlags::FollowSymlink)
}

/// Whether `name` is a link with just this text.
fn says(place: &Place<'_>, name: &CStr, target: &CStr) -> nix::Result<bool> {
    let link = walk::open_without_links(place.directory, name, OFlag::empty())?;
    let mut text = [0; libc::PATH_MAX as usize];
    let length = process::read_link(&link, &mut text)?;
    Ok(text[..length] == *target.to_bytes())
}

/// Clones of the host's root for the items that bind it: they must be made before the new root is attached over it.
pub(super) fn clone_root(prepared: &Prepared, into: &mut Vec<(u32, OwnedFd)>) -> Result<()> {
    for item in &prepared.items {
        if let Op::Bind { source, .. } = &item.op {
            if source.path.as_bytes() == b"/" {
                into.push((item.index, clone_source(source, item.index)?));
            }
        }
    }
    Ok(())
}
