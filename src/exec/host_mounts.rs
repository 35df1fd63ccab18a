//! The mounts outside, as mountinfo tells them (proc_pid_mountinfo(5)).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostMount {
    /// The filesystem, by its device's numbers.
    pub(super) device: String,
    /// What of the filesystem is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// It waits to be mounted when somebody looks: nobody should.
    pub(super) waits: bool,
}

/// All of them, each after what it is mounted over.
pub(super) fn all() -> Vec<HostMount> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

/// A path's filesystem and its path in that.
pub(super) fn place(path: &Path, mounts: &[HostMount]) -> Option<(String, PathBuf)> {
    let over = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let mount = over.max_by_key(|mount| mount.point.as_os_str().len())?;
    let rest = path.strip_prefix(&mount.point).ok()?;
    Some((mount.device.clone(), mount.root.join(rest)))
}

fn parse(line: &[u8]) -> Option<HostMount> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = String::from_utf8(words.nth(2)?.to_vec()).ok()?;
    let (root, point) = (unescape(words.next()?), unescape(words.next()?));
    let waits = words.skip_while(|word| *word != b"-").nth(1) == Some(b"autofs");
    Some(HostMount { device, root, point, waits })
}

/// Space, tab, newline and backslash stand there in octal.
fn unescape(mut rest: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    while let [first, tail @ ..] = rest {
        let digits = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(root: &str, point: &str, kind: &str) -> Option<HostMount> {
        parse(format!("36 35 98:0 {root} {point} rw master:1 - {kind} /dev/x rw").as_bytes())
    }

    #[test]
    fn lines_are_read_with_their_escapes() {
        let mount = line("/a\\040b", "/c\\134d", "ext4").expect("a mount");
        assert_eq!((mount.device.as_str(), mount.waits), ("98:0", false));
        assert_eq!((mount.root, mount.point), ("/a b".into(), "/c\\d".into()));
        assert_eq!(line("/", "/a\\04", "ext4").expect("a mount").point, Path::new("/a\\04"));
        assert!(line("/", "/a", "autofs").expect("a mount").waits);
        assert_eq!(parse(b"nonsense"), None);
    }

    #[test]
    fn a_path_has_its_place_in_the_nearest_mount() {
        let mounts = [line("/", "/", "x"), line("/sub", "/home/ann", "x"), line("/", "/home", "x")];
        let mounts = mounts.map(|mount| mount.expect("a mount"));
        let place = |path: &str| place(Path::new(path), &mounts).map(|(_, path)| path);
        assert_eq!(place("/home/ann/.git"), Some("/sub/.git".into()));
        assert_eq!(place("/home/bob"), Some("/bob".into()));
        assert_eq!(place("/usr"), Some("/usr".into()));
    }
}
