//! Reads a profile's file, if nobody but root and the caller could have written it.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::error::{ProfileError, Writer};

/// The most bytes that a profile may have.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The text of the file at `path`, or nothing where there is none.
pub(crate) fn read(path: &Path, uid: u32) -> Result<Option<String>, ProfileError> {
    // Without O_NONBLOCK the open of a named pipe waits for a writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.symlink_metadata() {
                Ok(_) => Err(ProfileError::Dangling { path: path.to_owned() }),
                Err(_) => Ok(None),
            };
        }
        Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => {
            return Err(ProfileError::NotAFile { path: path.to_owned(), kind: "a socket or a device" });
        }
        Err(error) => return Err(read_error(path, &error)),
    };
    let metadata = file.metadata().map_err(|error| read_error(path, &error))?;
    check_kind(path, &metadata)?;
    check_trust(path, &metadata, uid)?;
    let bytes = read_bytes(path, file, metadata.len())?;
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count();
        ProfileError::NotUtf8 { path: path.to_owned(), line, offset }
    })
}

/// A failed call on `path`, as an error.
pub(crate) fn read_error(path: &Path, error: &io::Error) -> ProfileError {
    let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
    ProfileError::Read { path: path.to_owned(), errno }
}

fn read_bytes(path: &Path, file: File, size: u64) -> Result<Vec<u8>, ProfileError> {
    let too_large = |size| ProfileError::TooLarge { path: path.to_owned(), size };
    if size > MAX_BYTES {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    // The file may have grown since its size was asked for.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| read_error(path, &error))?;
    match u64::try_from(bytes.len()) {
        Ok(read) if read <= MAX_BYTES => Ok(bytes),
        _ => Err(too_large(MAX_BYTES + 1)),
    }
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), ProfileError> {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(ProfileError::NotAFile { path: path.to_owned(), kind })
}

/// Refuses a file that someone else could have written, or put in its place.
fn check_trust(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), ProfileError> {
    let untrusted = |object: &Path, writer| ProfileError::Untrusted {
        path: path.to_owned(),
        object: object.to_owned(),
        writer,
    };
    if let Some(writer) = other_writer(metadata, uid, false) {
        return Err(untrusted(path, writer));
    }
    let real = path.canonicalize().map_err(|error| read_error(path, &error))?;
    let again = real.symlink_metadata().map_err(|error| read_error(path, &error))?;
    if (again.dev(), again.ino()) != (metadata.dev(), metadata.ino()) {
        return Err(ProfileError::Changed { path: path.to_owned() });
    }
    for directory in real.ancestors().skip(1) {
        let metadata = directory.symlink_metadata().map_err(|error| read_error(directory, &error))?;
        // In a sticky directory only its owner can rename what is not theirs.
        let sticky = metadata.mode() & 0o1000 != 0;
        if let Some(writer) = other_writer(&metadata, uid, sticky) {
            return Err(untrusted(directory, writer));
        }
    }
    Ok(())
}

/// Who could write it, besides root and `uid`. A group that has its owner's number is taken for the
/// owner's private one.
fn other_writer(metadata: &Metadata, uid: u32, sticky: bool) -> Option<Writer> {
    let (owner, group) = (metadata.uid(), metadata.gid());
    if owner != 0 && owner != uid {
        Some(Writer::Owner(owner))
    } else if sticky {
        None
    } else if metadata.mode() & 0o002 != 0 {
        Some(Writer::Everyone)
    } else if metadata.mode() & 0o020 != 0 && group != owner && group != 0 {
        Some(Writer::Group(group))
    } else {
        None
    }
}
