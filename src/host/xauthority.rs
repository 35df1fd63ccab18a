//! The file of X11 cookies (Xauthority, Xsecurity(7)): entries of five fields, the first a number of two bytes, the others
//! counted by one.
#![forbid(unsafe_code)]

/// An address of any host.
const FAMILY_WILD: u16 = 65535;
/// The name of a local host.
const FAMILY_LOCAL: u16 = 256;

/// The kind of cookie that every server knows. Others are bound to a host or a clock.
const COOKIE: &[u8] = b"MIT-MAGIC-COOKIE-1";

struct Entry<'a> {
    family: u16,
    number: &'a [u8],
    name: &'a [u8],
    data: &'a [u8],
}

/// The cookies that the file holds for a display of this machine.
pub(super) fn cookies(file: &[u8], number: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = file;
    while let Some(entry) = next(&mut rest) {
        let here = matches!(entry.family, FAMILY_LOCAL | FAMILY_WILD);
        if here && entry.name == COOKIE && (entry.number.is_empty() || entry.number == number) {
            found.push(entry.data.to_vec());
        }
    }
    found
}

/// The next entry; nothing at the end, or where the file is broken.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let family = short(rest)?;
    field(rest)?;
    Some(Entry { family, number: field(rest)?, name: field(rest)?, data: field(rest)? })
}

fn short(rest: &mut &[u8]) -> Option<u16> {
    let (number, tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    Some(u16::from_be_bytes(*number))
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(short(rest)?);
    let (field, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(family: u16, fields: [&[u8]; 4]) -> Vec<u8> {
        let mut out = family.to_be_bytes().to_vec();
        for field in fields {
            out.extend(u16::try_from(field.len()).expect("short").to_be_bytes());
            out.extend(field);
        }
        out
    }

    #[test]
    fn finds_what_is_for_this_display_alone() {
        let file = [
            entry(FAMILY_LOCAL, [b"box", b"1", COOKIE, b"other display"]),
            entry(0, [b"\x7f\0\0\x01", b"0", COOKIE, b"by network"]),
            entry(FAMILY_LOCAL, [b"box", b"0", b"XDM-AUTHORIZATION-1", b"bound"]),
            entry(FAMILY_LOCAL, [b"box", b"0", COOKIE, b"secret"]),
        ]
        .concat();
        assert_eq!(cookies(&file, b"0"), [b"secret"]);
        assert_eq!(cookies(&entry(FAMILY_WILD, [b"", b"", COOKIE, b"any"]), b"0"), [b"any"]);
        assert_eq!(cookies(&file, b"2"), [b""; 0]);
    }

    #[test]
    fn a_broken_file_is_read_up_to_there() {
        let whole = entry(FAMILY_LOCAL, [b"box", b"0", COOKIE, b"secret"]);
        let file = [whole.clone(), whole.clone()].concat();
        for length in 0..file.len() {
            assert_eq!(cookies(&file[..length], b"0").len(), usize::from(length >= whole.len()));
        }
        assert_eq!(cookies(b"\xff\xff\xff\xff", b"0"), [b""; 0]);
    }
}
