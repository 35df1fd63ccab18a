//! The members of a layer's archive, with their long names, links and attributes put together. Extension headers are bounded here:
//! a reader that put them together itself would take any length.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, Read};

/// Bytes of an extension header: a path, a link and some attributes of 64 KiB.
const EXTENSION: u64 = 1 << 20;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Link,
    /// `c` or `b`, and its numbers.
    Device(char, u32, u32),
    Directory,
    Fifo,
}

/// A member, without what is in it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// What a link says.
    pub(super) target: Vec<u8>,
    pub(super) size: u64,
    /// Permissions, with set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(super) mtime: (i64, i64),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What extension headers say of the member that follows.
#[derive(Default)]
pub(super) struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, i64)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A member; nothing for a header that is about the next, or about all.
pub(super) fn read<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    extensions: &mut Extensions,
) -> io::Result<Option<Member>> {
    let size = entry.size();
    match entry.header().as_bytes()[156] {
        b'L' => extensions.path = Some(name(extension(entry, size)?)),
        b'K' => extensions.target = Some(name(extension(entry, size)?)),
        b'x' => of_pax(&extension(entry, size)?, extensions)?,
        b'g' => drop(extension(entry, size)?),
        kind => return member(entry, kind, std::mem::take(extensions)).map(Some),
    }
    Ok(None)
}

fn extension<R: Read>(entry: &mut tar::Entry<'_, R>, size: u64) -> io::Result<Vec<u8>> {
    if size > EXTENSION {
        return Err(wrong(format!("an extension header of {size} bytes")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(wrong("it is cut off")) }
}

fn name(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

pub(super) fn wrong(why: impl Into<Cow<'static, str>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into().into_owned())
}

/// Reads `LENGTH KEY=VALUE\n` records (pax(1)); a value may hold any bytes.
fn of_pax(mut rest: &[u8], extensions: &mut Extensions) -> io::Result<()> {
    while !rest.is_empty() {
        let bad = || wrong("a pax header that is none");
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length: usize = number(&rest[..space]).ok_or_else(bad)?;
        let record =
            rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => extensions.path = Some(value.to_vec()),
            b"linkpath" => extensions.target = Some(value.to_vec()),
            b"size" => extensions.size = Some(number(value).ok_or_else(bad)?),
            b"uid" => extensions.uid = Some(number(value).ok_or_else(bad)?),
            b"gid" => extensions.gid = Some(number(value).ok_or_else(bad)?),
            b"mtime" => extensions.mtime = Some(time(value).ok_or_else(bad)?),
            _ if key.starts_with(b"GNU.sparse.") => return Err(wrong("a sparse file, which no image holds")),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    extensions.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        rest = &rest[length..];
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `-1.5` is half a second after second -2.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = part.chars().chain(std::iter::repeat('0')).take(9).collect();
    let (whole, nanoseconds): (i64, i64) = (whole.parse().ok()?, digits.parse().ok()?);
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((whole.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((whole, nanoseconds))
}

fn member<R: Read>(entry: &tar::Entry<'_, R>, kind: u8, extensions: Extensions) -> io::Result<Member> {
    let header = entry.header();
    let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let target = || header.link_name_bytes().map(Cow::into_owned).unwrap_or_default();
    // It is only written down.
    let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
    let device = |letter| Kind::Device(letter, number(header.device_major()), number(header.device_minor()));
    // Old archives mark a directory by its name alone.
    let kind = match kind {
        0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Link,
        b'3' => device('c'),
        b'4' => device('b'),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(wrong("a sparse file, which no image holds")),
        other => {
            return Err(wrong(format!(
                "a member of the unknown type {}",
                char::from(other).escape_default()
            )));
        }
    };
    let size = entry.size();
    if extensions.size.is_some_and(|said| said != size) {
        return Err(wrong("a member of 8 GiB or more"));
    }
    let of_header = |number: io::Result<u64>| number.unwrap_or(0);
    Ok(Member {
        path,
        kind,
        target: extensions.target.unwrap_or_else(target),
        size: if kind == Kind::File { size } else { 0 },
        mode: header.mode()? & 0o7777,
        uid: extensions.uid.unwrap_or_else(|| of_header(header.uid())),
        gid: extensions.gid.unwrap_or_else(|| of_header(header.gid())),
        mtime: extensions.mtime.unwrap_or_else(|| (i64::try_from(of_header(header.mtime())).unwrap_or(0), 0)),
        xattrs: extensions.xattrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_values_hold_any_bytes() {
        let mut extensions = Extensions::default();
        of_pax(b"23 SCHILY.xattr.a.b=\n\n\n9 uid=70\n15 mtime=-1.50\n", &mut extensions).unwrap();
        assert_eq!(extensions.xattrs, [(b"a.b".to_vec(), b"\n\n".to_vec())]);
        assert_eq!((extensions.uid, extensions.mtime), (Some(70), Some((-2, 500_000_000))));
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"0 a=b\n",
            b"6 a-b\n",
            b"18446744073709551615 a=b\n",
            b"9 uid=-1\n",
        ] {
            assert!(of_pax(bad, &mut Extensions::default()).is_err(), "{bad:?}");
        }
    }
}
