//! Unpacks one layer: decompressed, bounded, and with both its digests taken on the way.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::below::Below;
use super::digest::{Digest, Hashing};
use super::error::{ImageError, io_words};
use super::found::Packed;
use super::member::{self, Extensions, wrong};
use super::owners::Owner;
use super::store::Layer;
use super::tree::Tree;
use crate::diag::quote;

/// How many times longer a layer may become, once it has more than [`SUSPECT`] bytes. What deflate does to zeros is 1,030.
const RATIO: u64 = 250;
const SUSPECT: u64 = 64 << 20;

/// How much an image may be, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all its layers together, the archives' own included.
    pub size: u64,
    /// Members of all its layers together.
    pub entries: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { size: 16 << 30, entries: 500_000 }
    }
}

/// What a layer came to.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) size: u64,
    pub(super) entries: u64,
    pub(super) owners: BTreeMap<Vec<u8>, Owner>,
    /// It is another one on other layers.
    pub(super) is_of_stack: bool,
}

/// Unpacks a layer into an empty directory: `left` is what its image may still have of its bounds. `passed` is told how many bytes of the blob are read.
pub(super) fn unpack(
    packed: Packed,
    top: OwnedFd,
    bounds: Bounds,
    left: Bounds,
    below: &mut Below,
    passed: &mut dyn FnMut(u64),
) -> Result<Unpacked, ImageError> {
    let name = packed.digest.as_ref().unwrap_or(&packed.diff_id).to_string();
    let fail = |why: String, hint: Option<String>| ImageError::Layer { layer: name.clone(), why, hint };
    let read = Cell::new(0);
    let mut blob = Hashing::new(Watched { inner: packed.blob, read: &read, passed });
    let mut tree = Tree::new(top);
    let (size, entries, diff_id) = {
        let decoder = decoder(BufReader::with_capacity(1 << 16, &mut blob))
            .map_err(|error| fail(io_words(&error), None))?;
        let bounded = Bounded { inner: decoder, left: left.size, written: 0, read: &read, over: None };
        let mut plain = Hashing::new(bounded);
        let result = members(&mut plain, &mut tree, left.entries);
        let size = plain.bytes;
        let (bounded, diff_id) = plain.finish();
        match (result, bounded.over) {
            (_, Some(over)) => return Err(over.error(&name, bounds)),
            (Err(Stop::TooMany), _) => return Err(Over::Entries.error(&name, bounds)),
            (Err(Stop::At(path, error)), _) => {
                return Err(fail(format!("{}: {}", quote(OsStr::from_bytes(&path)), io_words(&error)), None));
            }
            (Err(Stop::Archive(error)), _) => return Err(fail(io_words(&error), None)),
            (Ok(entries), None) => (size, entries, diff_id),
        }
    };
    // What stands behind the compressed stream belongs to the blob.
    io::copy(&mut blob, &mut io::sink()).map_err(|error| fail(io_words(&error), None))?;
    let found = blob.finish().1;
    verify(packed.digest.as_ref(), &found).map_err(|why| fail(why, None))?;
    verify(Some(&packed.diff_id), &diff_id).map_err(|why| fail(format!("unpacked, {why}"), None))?;
    let is_of_stack = tree.finish(below).map_err(|error| fail(io_words(&error), None))?;
    Ok(Unpacked { size, entries, owners: tree.owners, is_of_stack })
}

/// Whether a layer that is stored already has room in what its image may still have.
pub(super) fn fits(layer: &Layer, bounds: Bounds, left: Bounds) -> Result<(), ImageError> {
    let over = match () {
        () if layer.size > left.size => Over::Size,
        () if layer.entries > left.entries => Over::Entries,
        () => return Ok(()),
    };
    Err(over.error(&layer.diff_id, bounds))
}

/// Takes the digest of a blob that is not unpacked, as its layer is stored already.
pub(super) fn check(packed: Packed, passed: &mut dyn FnMut(u64)) -> Result<(), ImageError> {
    let Some(digest) = &packed.digest else { return Ok(()) };
    let fail = |why: String| ImageError::Layer { layer: digest.to_string(), why, hint: None };
    let read = Cell::new(0);
    let mut blob = Hashing::new(Watched { inner: packed.blob, read: &read, passed });
    io::copy(&mut blob, &mut io::sink()).map_err(|error| fail(io_words(&error)))?;
    verify(Some(digest), &blob.finish().1).map_err(fail)
}

fn verify(wanted: Option<&Digest>, found: &Digest) -> Result<(), String> {
    match wanted {
        Some(wanted) if wanted != found => Err(format!("its digest is {found}, not {wanted}")),
        _ => Ok(()),
    }
}

/// Why a layer's archive was not read to its end.
enum Stop {
    TooMany,
    At(Vec<u8>, io::Error),
    Archive(io::Error),
}

fn members(plain: &mut dyn Read, tree: &mut Tree, most: u64) -> Result<u64, Stop> {
    let mut archive = tar::Archive::new(&mut *plain);
    let mut extensions = Extensions::default();
    let mut entries = 0;
    for entry in archive.entries().map_err(Stop::Archive)?.raw(true) {
        let mut entry = entry.map_err(Stop::Archive)?;
        entries += 1;
        if entries > most {
            return Err(Stop::TooMany);
        }
        let path = entry.path_bytes().into_owned();
        let member = member::read(&mut entry, &mut extensions).map_err(|error| Stop::At(path, error))?;
        let Some(member) = member else { continue };
        tree.add(&member, &mut entry).map_err(|error| Stop::At(member.path, error))?;
        // Directories above a member count as well: a path has room for 2,048.
        if entries + tree.implied > most {
            return Err(Stop::TooMany);
        }
    }
    // The padding at the end is hashed too.
    io::copy(plain, &mut io::sink()).map_err(Stop::Archive)?;
    Ok(entries + tree.implied)
}

/// Tells of every MiB that is read.
struct Watched<'a, R> {
    inner: R,
    read: &'a Cell<u64>,
    passed: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let before = self.read.get();
        let now = before + length as u64;
        self.read.set(now);
        if length == 0 || before >> 20 != now >> 20 {
            (self.passed)(now);
        }
        Ok(length)
    }
}

/// Which bound a layer was over.
#[derive(Clone, Copy)]
enum Over {
    Size,
    Entries,
    Ratio,
}

impl Over {
    fn error(self, layer: &str, bounds: Bounds) -> ImageError {
        let (why, hint) = match self {
            Self::Size => (
                format!("the image has more than {} bytes", bounds.size),
                "allow more with --max-size, if it is to be trusted",
            ),
            Self::Entries => (
                format!("the image has more than {} members", bounds.entries),
                "allow more with --max-entries, if it is to be trusted",
            ),
            Self::Ratio => (
                format!("it becomes more than {RATIO} times as long as it is: a decompression bomb"),
                "import it with layers that are not compressed, if it is to be trusted",
            ),
        };
        ImageError::Layer { layer: layer.to_owned(), why, hint: Some(hint.to_owned()) }
    }
}

/// Ends where there is more than there may be.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    written: u64,
    read: &'a Cell<u64>,
    over: Option<Over>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.written += length as u64;
        if length as u64 > self.left {
            self.over = Some(Over::Size);
        } else if self.written > SUSPECT && self.written / RATIO > self.read.get() {
            self.over = Some(Over::Ratio);
        }
        if self.over.is_some() {
            return Err(wrong("more than there may be"));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// What decompresses a blob, by what it begins with: media types are often wrong.
fn decoder<'a, R: BufRead + 'a>(mut blob: R) -> io::Result<Box<dyn Read + 'a>> {
    let start = blob.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(blob)),
        // A frame, or one that is skipped.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Box::new(Zstd::Between(blob)),
        [0xfd, b'7', b'z', ..] | [b'B', b'Z', b'h', ..] => {
            return Err(wrong("it is compressed neither with gzip nor with zstd"));
        }
        _ => Box::new(blob),
    })
}

/// Frames of zstd, one after the other (RFC 8878).
enum Zstd<R: Read> {
    Between(R),
    In(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    Over,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Over) {
                Self::Over => return Ok(0),
                Self::Between(mut blob) => {
                    let start = blob.fill_buf()?;
                    if start.is_empty() {
                        return Ok(0);
                    }
                    *self = if matches!(start, [0x50..=0x5f, 0x2a, ..]) {
                        skip(&mut blob)?;
                        Self::Between(blob)
                    } else {
                        let decoder = StreamingDecoder::new(blob);
                        Self::In(Box::new(decoder.map_err(|error| wrong(error.to_string()))?))
                    };
                }
                Self::In(mut decoder) => {
                    let length = decoder.read(buffer)?;
                    if length > 0 || buffer.is_empty() {
                        *self = Self::In(decoder);
                        return Ok(length);
                    }
                    *self = Self::Between(decoder.into_inner());
                }
            }
        }
    }
}

/// Skips a frame that holds no data.
fn skip(blob: &mut impl Read) -> io::Result<()> {
    let mut header = [0; 8];
    blob.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let skipped = io::copy(&mut blob.take(length.into()), &mut io::sink())?;
    if skipped == u64::from(length) { Ok(()) } else { Err(wrong("it is cut off")) }
}

#[cfg(test)]
mod tests {
    use super::super::member::{Kind, Member};
    use super::super::store;
    use super::*;

    /// Whoever has attributes made up that no file here takes fills no memory with them.
    #[test]
    fn what_is_remembered_has_a_bound() {
        let place = std::env::temp_dir().join(format!("sbx-noted-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        let mut tree = Tree::new(store::open(&place).unwrap());
        let mut add = |number: u32| {
            let member = Member {
                path: number.to_string().into_bytes(),
                kind: Kind::Fifo,
                target: Vec::new(),
                size: 0,
                mode: 0o600,
                uid: 0,
                gid: 0,
                mtime: (0, 0),
                xattrs: vec![(b"trusted.x".to_vec(), vec![0; 1 << 20])],
            };
            tree.add(&member, &mut io::empty())
        };
        let refused = (0..1000).find_map(|number| Some((number, add(number).err()?)));
        let (number, error) = refused.unwrap();
        assert_eq!((number, error.to_string().contains("remembered")), (255, true));
        std::fs::remove_dir_all(&place).unwrap();
    }
}
