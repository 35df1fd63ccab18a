//! The files of an image that is to be imported: those of a directory, or of a tar archive.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::error::{ImageError, io_words};

/// Bytes that a JSON document may have: those of images have some thousand.
const DOCUMENT: u64 = 4 << 20;
/// Members that an archive may have: a layer and its record are three.
const MEMBERS: usize = 10_000;
/// What compressed files begin with.
const COMPRESSED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2")];

/// An image layout or archive that was opened.
pub(super) struct Blobs {
    pub(super) path: PathBuf,
    place: Place,
}

enum Place {
    Directory(OwnedFd),
    Archive { file: File, members: HashMap<Vec<u8>, (u64, u64)> },
}

/// A file of it, from its beginning on.
#[derive(Debug)]
pub(super) struct Blob {
    file: File,
    position: u64,
    left: u64,
}

impl Blob {
    /// Bytes that are not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let length = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

impl Blobs {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let wrong = |error: &io::Error| ImageError::source(path, io_words(error));
        // A FIFO would wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty());
        let file = File::from(opened.map_err(|errno| wrong(&errno.into()))?);
        let kind = file.metadata().map_err(|error| wrong(&error))?.file_type();
        let place = if kind.is_dir() {
            Place::Directory(file.into())
        } else if kind.is_file() {
            let members = members(&file).map_err(|why| ImageError::Source {
                path: path.to_owned(),
                why,
                hint: Some("name an OCI image layout, or an archive that `docker save` wrote".to_owned()),
            })?;
            Place::Archive { file, members }
        } else {
            return Err(ImageError::source(path, "it is neither a directory nor a file"));
        };
        Ok(Self { path: path.to_owned(), place })
    }

    /// The file of that name, if there is one.
    pub(super) fn get(&self, name: &str) -> Result<Option<Blob>, ImageError> {
        let wrong = |why: String| {
            let why = format!("its file {}: {why}", crate::diag::quote(name));
            ImageError::source(&self.path, why)
        };
        match &self.place {
            Place::Directory(directory) => {
                let resolve = ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
                let opened = openat2(directory, name, OpenHow::new().flags(flags).resolve(resolve));
                let file = match opened {
                    Ok(file) => File::from(file),
                    Err(Errno::ENOENT) => return Ok(None),
                    Err(Errno::ELOOP) => return Err(wrong("a symbolic link is not followed".to_owned())),
                    Err(errno) => return Err(wrong(crate::diag::errno_words(errno))),
                };
                let metadata = file.metadata().map_err(|error| wrong(io_words(&error)))?;
                if !metadata.is_file() {
                    return Err(wrong("it is not a file".to_owned()));
                }
                Ok(Some(Blob { file, position: 0, left: metadata.len() }))
            }
            Place::Archive { file, members } => {
                let Some((position, left)) = members.get(name.as_bytes()) else { return Ok(None) };
                let file = file.try_clone().map_err(|error| wrong(io_words(&error)))?;
                Ok(Some(Blob { file, position: *position, left: *left }))
            }
        }
    }

    /// The file of that name, which must be there.
    pub(super) fn need(&self, name: &str) -> Result<Blob, ImageError> {
        let missing =
            || ImageError::source(&self.path, format!("its file {} is missing", crate::diag::quote(name)));
        self.get(name)?.ok_or_else(missing)
    }

    /// What is in a document.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(mut blob) = self.get(name)? else { return Ok(None) };
        let name = crate::diag::quote(name);
        if blob.left > DOCUMENT {
            let why = format!(
                "its file {name} has {} bytes, and no such document has more than {DOCUMENT}",
                blob.left
            );
            return Err(ImageError::source(&self.path, why));
        }
        let (mut bytes, length) = (Vec::new(), blob.left);
        let read = blob.read_to_end(&mut bytes);
        read.map_err(|error| {
            ImageError::source(&self.path, format!("its file {name}: {}", io_words(&error)))
        })?;
        if bytes.len() as u64 != length {
            return Err(ImageError::source(&self.path, format!("its file {name} is cut off")));
        }
        Ok(Some(bytes))
    }
}

/// Where an archive's files lie in it.
fn members(file: &File) -> Result<HashMap<Vec<u8>, (u64, u64)>, String> {
    let mut start = [0; 6];
    let length = file.read_at(&mut start, 0).map_err(|error| io_words(&error))?;
    if let Some((_, how)) = COMPRESSED.iter().find(|(magic, _)| start[..length].starts_with(magic)) {
        return Err(format!("the archive itself is compressed with {how}: decompress it first"));
    }
    // What the reader says of something else repeats parts of it.
    let no_archive = |error: io::Error| match error.raw_os_error() {
        Some(_) => io_words(&error),
        None => "it is not a tar archive, or not all of one".to_owned(),
    };
    let mut archive = tar::Archive::new(file);
    let mut members = HashMap::new();
    for entry in archive.entries_with_seek().map_err(no_archive)?.raw(true) {
        let entry = entry.map_err(no_archive)?;
        if members.len() == MEMBERS {
            return Err(format!("it has more than {MEMBERS} members, and no image's archive has"));
        }
        if entry.header().entry_type().is_file() {
            let name = entry.path_bytes();
            let name = name.strip_prefix(b"./").unwrap_or(&name).to_vec();
            members.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(members)
}
