//! Packs a tree as a layer's archive: what overlayfs reads becomes what the image specification says, and owners come back.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use tar::{EntryType, Header};

use super::owners::{Attribute, Owner};
use super::tree::OPAQUE;
use crate::sys;

/// A whiteout of Linux 6.7's other kind: an empty file with this, in a directory that says `x` for opaque.
const WHITEOUT: &CStr = c"user.overlay.whiteout";
/// What overlayfs notes for itself.
const OVERLAY: &[u8] = b"user.overlay.";
/// How deep a tree may be: each level takes a descriptor.
const DEPTH: usize = 500;

/// Whose the files of a tree are.
#[derive(Clone, Copy)]
pub(super) enum Owners<'a> {
    /// Root's, but for what is noted.
    Noted(&'a BTreeMap<Vec<u8>, Owner>),
    /// As the files themselves have it, set-id bits and capabilities as well.
    Files,
}

impl<'a> Owners<'a> {
    fn noted(self, path: &[u8]) -> Option<&'a Owner> {
        match self {
            Self::Noted(owners) => owners.get(path),
            Self::Files => None,
        }
    }
}

/// Packs the tree in a directory.
pub(super) fn pack<W: Write>(out: W, top: &OwnedFd, owners: Owners<'_>) -> io::Result<W> {
    let mut packer = Packer { out, owners, links: BTreeMap::new() };
    let status = fstat(top)?;
    packer.entry(b"./", b"", &status, &packer.attributes(top.as_fd())?, EntryType::Directory, b"", 0)?;
    packer.directory(top, b"", 0)?;
    packer.out.write_all(&[0; 1024])?;
    Ok(packer.out)
}

struct Packer<'a, W> {
    out: W,
    owners: Owners<'a>,
    /// The first name of each file that has several.
    links: BTreeMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let opaque = sys::xattr::get(directory, OPAQUE).unwrap_or_default();
        if opaque == b"y" {
            self.mark(path, b".wh..opq")?;
        }
        for name in names(directory)? {
            let path = if path.is_empty() {
                name.to_bytes().to_vec()
            } else {
                [path, b"/", name.to_bytes()].concat()
            };
            self.member(directory, &name, &path, depth)?;
        }
        Ok(())
    }

    fn member(&mut self, directory: &OwnedFd, name: &CStr, path: &[u8], depth: usize) -> io::Result<()> {
        let status = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        let first = self.links.get(&(status.st_dev, status.st_ino)).cloned();
        if let (Some(first), true) = (first, kind != SFlag::S_IFDIR && kind != SFlag::S_IFCHR) {
            return self.entry(path, path, &status, &[], EntryType::Link, &first, 0);
        }
        if status.st_nlink > 1 && kind != SFlag::S_IFDIR {
            self.links.insert((status.st_dev, status.st_ino), path.to_vec());
        }
        match kind {
            SFlag::S_IFDIR => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let below = openat(directory, name, flags, Mode::empty())?;
                let shown = [path, b"/"].concat();
                self.entry(
                    &shown,
                    path,
                    &status,
                    &self.attributes(below.as_fd())?,
                    EntryType::Directory,
                    b"",
                    0,
                )?;
                self.directory(&below, path, depth + 1)
            }
            SFlag::S_IFREG => self.file(directory, name, path, &status),
            SFlag::S_IFLNK => {
                let target = readlinkat(directory, name)?;
                self.entry(path, path, &status, &[], EntryType::Symlink, target.as_encoded_bytes(), 0)
            }
            SFlag::S_IFIFO => self.entry(path, path, &status, &[], EntryType::Fifo, b"", 0),
            SFlag::S_IFCHR if status.st_rdev == 0 => {
                match self.owners.noted(path).and_then(|owner| owner.device) {
                    Some((letter, ..)) => {
                        let kind = if letter == 'c' { EntryType::Char } else { EntryType::Block };
                        self.entry(path, path, &status, &[], kind, b"", 0)
                    }
                    None => self.whiteout(path),
                }
            }
            // No image holds sockets.
            _ => Ok(()),
        }
    }

    fn file(&mut self, directory: &OwnedFd, name: &CStr, path: &[u8], status: &FileStat) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(directory, name, flags, Mode::empty())?);
        if status.st_size == 0 && sys::xattr::get(&file, WHITEOUT).is_ok() {
            return self.whiteout(path);
        }
        let size = u64::try_from(status.st_size).unwrap_or(0);
        let xattrs = self.attributes(file.as_fd())?;
        self.entry(path, path, status, &xattrs, EntryType::Regular, b"", size)?;
        let copied = io::copy(&mut file.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::other("a file of it has become shorter meanwhile"));
        }
        self.pad(size)
    }

    fn attributes(&self, file: BorrowedFd<'_>) -> io::Result<Vec<Attribute>> {
        attributes(file, matches!(self.owners, Owners::Files))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.out.write_all(&[0; 512][..rest])
    }

    fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = slash.map_or((&b""[..], path), |slash| (&path[..slash], &path[slash + 1..]));
        self.mark(parent, name)
    }

    /// Says that a name in a directory is gone.
    fn mark(&mut self, parent: &[u8], name: &[u8]) -> io::Result<()> {
        let name = [b".wh.", name].concat();
        let path = if parent.is_empty() { name } else { [parent, b"/", &name].concat() };
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(0);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.header(header, &path, b"", &[])
    }

    /// The header of a member, called `shown`, as the owners file and the file itself have it.
    #[allow(clippy::too_many_arguments, reason = "a tar header has that many fields")]
    fn entry(
        &mut self,
        shown: &[u8],
        path: &[u8],
        status: &FileStat,
        xattrs: &[Attribute],
        kind: EntryType,
        target: &[u8],
        size: u64,
    ) -> io::Result<()> {
        let owner = self.owners.noted(path);
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        let from_files = matches!(self.owners, Owners::Files);
        let set_id = if from_files { status.st_mode } else { owner.map_or(0, |owner| owner.mode) } & 0o6000;
        let device = owner.and_then(|owner| owner.device);
        header.set_mode(match (owner, device) {
            (Some(owner), Some(_)) => owner.mode,
            _ => status.st_mode & 0o1777 | set_id,
        });
        if let Some((_, major, minor)) = device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let (uid, gid) = match owner {
            Some(owner) => (owner.uid, owner.gid),
            None if from_files => (status.st_uid.into(), status.st_gid.into()),
            None => (0, 0),
        };
        header.set_mtime(u64::try_from(status.st_mtime).unwrap_or(0));
        let mut extended: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        // More than seven octal digits go elsewhere.
        for (key, id) in [("uid", uid), ("gid", gid)] {
            if id >= 1 << 21 {
                extended.push((key.into(), id.to_string().into_bytes()));
            }
        }
        header.set_uid(uid.min((1 << 21) - 1));
        header.set_gid(gid.min((1 << 21) - 1));
        if size >= 1 << 33 {
            return Err(io::Error::other("a file of 8 GiB or more can't be packed"));
        }
        if kind != EntryType::Link {
            let noted = owner.map(|owner| owner.xattrs.as_slice()).unwrap_or_default();
            let all = xattrs.iter().chain(noted);
            extended.extend(all.map(|one| ([b"SCHILY.xattr.", &*one.name].concat(), one.value.clone())));
        }
        self.header(header, shown, target, &extended)
    }

    /// Writes a header; what has no room in it stands in a pax header before it.
    fn header(
        &mut self,
        mut header: Header,
        path: &[u8],
        target: &[u8],
        extended: &[(Vec<u8>, Vec<u8>)],
    ) -> io::Result<()> {
        let mut records = Vec::new();
        let old = header.as_old_mut();
        for (key, text, field) in [("path", path, &mut old.name), ("linkpath", target, &mut old.linkname)] {
            let fits = text.len().min(field.len());
            field[..fits].copy_from_slice(&text[..fits]);
            if fits < text.len() {
                record(&mut records, key.as_bytes(), text);
            }
        }
        for (key, value) in extended {
            record(&mut records, key, value);
        }
        if !records.is_empty() {
            let mut before = Header::new_ustar();
            before.set_entry_type(EntryType::XHeader);
            before.set_size(records.len() as u64);
            before.set_mode(0o644);
            before.as_old_mut().name[..3].copy_from_slice(b"pax");
            before.set_cksum();
            self.out.write_all(before.as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }
}

/// `LENGTH KEY=VALUE\n`, where the length is that of all of it (pax(1)).
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length.to_string().len() + body != length {
        length += 1;
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The names in a directory, sorted.
fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for entry in Dir::openat(directory, c".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            found.push(entry.file_name().to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// File capabilities. What is read of them where ids are mapped is as root there would set it.
const CAPABILITY: &[u8] = b"security.capability";

/// What a file has of `user.` attributes, but those that are overlayfs's own, and with `capabilities` those.
fn attributes(file: BorrowedFd<'_>, capabilities: bool) -> io::Result<Vec<Attribute>> {
    let names = match sys::xattr::names(file) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        let is_own = name.starts_with(b"user.") && !name.starts_with(OVERLAY);
        if is_own || capabilities && name == CAPABILITY {
            let value = sys::xattr::get(file, &CString::new(name)?)?;
            found.push(Attribute { name: name.to_vec(), value });
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}
