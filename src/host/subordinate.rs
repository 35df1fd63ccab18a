//! The ids that a user has besides the own: `/etc/subuid` and `/etc/subgid` (subuid(5)), read as files as the user database is.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use super::{HostError, look, user};

/// Ranges of ids, each its first id and how many.
pub type IdRanges = Vec<(u32, u32)>;

/// The subordinate ids of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubordinateIds {
    /// Of `/etc/subuid`.
    pub uids: IdRanges,
    /// Of `/etc/subgid`.
    pub gids: IdRanges,
}

impl SubordinateIds {
    /// Those of this uid, by its number or its name; the files need not be there.
    ///
    /// # Errors
    /// [`HostError`] where one can't be read.
    pub fn look(uid: u32) -> Result<Self, HostError> {
        let name = user::lookup(uid)?.map(|account| account.name);
        let of = |path: &str| {
            let path = Path::new(path);
            let text = look::unless_absent(path, fs::read(path))?.unwrap_or_default();
            Ok(parse(&String::from_utf8_lossy(&text), uid, name.as_deref()))
        };
        Ok(Self { uids: of("/etc/subuid")?, gids: of("/etc/subgid")? })
    }
}

fn parse(text: &str, uid: u32, name: Option<&str>) -> IdRanges {
    let number = uid.to_string();
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
        let usable = count > 0 && first > 0 && first.checked_add(count).is_some();
        ((owner == number || Some(owner) == name) && usable).then_some((first, count))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_by_name_and_by_number() {
        let text = "ann:100000:65536\nbob:1:1\n1001:300000:10\nann:x:1\nann:7\n#ann:1:1\nann:4294967295:2\nann:0:5\n";
        assert_eq!(parse(text, 1001, Some("ann")), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(parse(text, 7, None), []);
    }
}
