//! What has changed in texts, in the form that `git apply` and patch(1) take.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

use super::error::ChangesError;
use super::node::{Directory, Kind, Node, join, open_below};
use super::{Change, Layer, Status};
use crate::diag::escape;

/// Bytes of a file, at most, that lines are compared of.
const LARGEST: u64 = 8 << 20;
/// Time after which the shortest difference of one file is no longer looked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Unchanged lines around changed ones.
const AROUND: usize = 3;
/// Bytes within which git looks for a NUL, which makes a file binary.
const LOOKED_AT: usize = 8000;

/// How it is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// In colours.
    pub color: bool,
    /// For a terminal, which must not be told anything by what a program has written.
    pub terminal: bool,
}

/// One side of a file: what it holds, or that it is too large.
enum Text {
    None,
    Some { mode: &'static str, bytes: Vec<u8> },
    Large { mode: &'static str },
}

/// Gives the difference of each change to `out`, which says whether to go on.
///
/// # Errors
/// [`ChangesError::Read`].
pub fn patch(
    layer: &Layer,
    changes: &[Change],
    look: Look,
    out: &dyn Fn(&[u8]) -> bool,
) -> Result<(), ChangesError> {
    for change in changes {
        let path = &change.path;
        // A directory that is gone is all that was in it.
        let gone = match (&layer.lower, &change.old) {
            (Some(lower), Some(old)) if old.is_dir() && change.status != Status::Modified => {
                files_below(lower.as_fd(), path)?
            }
            _ => Vec::new(),
        };
        for (path, node) in gone {
            let old = text(layer.lower.as_ref().map(AsFd::as_fd), &path, Some(&node))?;
            if !out(&one(&path, &old, &Text::None, look)) {
                return Ok(());
            }
        }
        let old = text(layer.lower.as_ref().map(AsFd::as_fd), path, change.old.as_ref())?;
        let new = text(Some(layer.upper.as_fd()), path, change.new.as_ref())?;
        // Another kind of entry is, to git, another file of the same name.
        let parts = match change.status {
            Status::TypeChanged => {
                vec![one(path, &old, &Text::None, look), one(path, &Text::None, &new, look)]
            }
            _ => vec![one(path, &old, &new, look)],
        };
        if !parts.iter().all(|part| out(part)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Files and links below a directory, in order.
fn files_below(root: BorrowedFd<'_>, path: &Path) -> Result<Vec<(PathBuf, Node)>, ChangesError> {
    let at = |errno| ChangesError::Read { path: path.to_owned(), errno };
    let (mut found, mut waiting) = (Vec::new(), vec![path.to_owned()]);
    while let Some(path) = waiting.pop() {
        let directory = match Directory::open(root, &path) {
            Err(Errno::EACCES | Errno::EXDEV | Errno::ENAMETOOLONG) => continue,
            directory => directory.map_err(at)?,
        };
        for name in directory.names().map_err(at)? {
            let below = join(&path, &name);
            match directory.node(&name).map_err(at)? {
                Some(node) if node.is_dir() => waiting.push(below),
                Some(node) => found.push((below, node)),
                None => {}
            }
        }
    }
    found.sort_unstable_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    Ok(found)
}

fn text(root: Option<BorrowedFd<'_>>, path: &Path, node: Option<&Node>) -> Result<Text, ChangesError> {
    let (Some(root), Some(node)) = (root, node) else { return Ok(Text::None) };
    let mode = match node.kind {
        Kind::File if node.mode & 0o100 != 0 => "100755",
        Kind::File => "100644",
        Kind::Link => "120000",
        _ => return Ok(Text::None),
    };
    if let Some(target) = &node.target {
        return Ok(Text::Some { mode, bytes: target.as_bytes().to_vec() });
    }
    let at = |errno| ChangesError::Read { path: path.to_owned(), errno };
    if node.size > LARGEST {
        return Ok(Text::Large { mode });
    }
    let opened = match open_below(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Err(Errno::EACCES) => return Ok(Text::Large { mode }),
        opened => opened.map_err(at)?,
    };
    // Something else may have come to its place.
    if Kind::of(nix::sys::stat::fstat(&opened).map_err(at)?.st_mode) != Kind::File {
        return Err(at(Errno::EAGAIN));
    }
    let mut bytes = Vec::new();
    let read = File::from(opened).take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| at(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))?;
    Ok(if bytes.len() as u64 > LARGEST { Text::Large { mode } } else { Text::Some { mode, bytes } })
}

impl Text {
    fn mode(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Some { mode, .. } | Self::Large { mode } => Some(mode),
        }
    }

    /// What lines can be compared of.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::None => Some(&[]),
            Self::Some { bytes, .. } => {
                let head = bytes.get(..LOOKED_AT).unwrap_or(bytes);
                (!head.contains(&0)).then_some(bytes)
            }
            Self::Large { .. } => None,
        }
    }

    fn same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Some { bytes: a, .. }, Self::Some { bytes: b, .. }) if a == b)
    }
}

/// A name as git writes it: in quotes with octal bytes where it holds more than plain letters.
fn quoted(side: &str, path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !b"\"\\".contains(byte);
    if bytes.iter().all(plain) {
        return format!("{side}/{}", escape(path));
    }
    let mut out = format!("\"{side}/");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            byte if plain(byte) => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\{byte:03o}")),
        }
    }
    out + "\""
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const OFF: &str = "\x1b[0m";

struct Page {
    look: Look,
    bytes: Vec<u8>,
}

impl Page {
    fn line(&mut self, paint: &str, text: &str) {
        let (on, off) = if self.look.color && !paint.is_empty() { (paint, OFF) } else { ("", "") };
        self.bytes.extend_from_slice(format!("{on}{text}{off}\n").as_bytes());
    }

    /// A line of a file.
    fn content(&mut self, sign: char, paint: &str, line: &[u8]) {
        let (line, ends) = match line.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (on, off) = if self.look.color && !paint.is_empty() { (paint, OFF) } else { ("", "") };
        self.bytes.extend_from_slice(format!("{on}{sign}").as_bytes());
        if self.look.terminal {
            let parts: Vec<String> =
                line.split(|byte| *byte == b'\t').map(|part| escape(OsStr::from_bytes(part))).collect();
            self.bytes.extend_from_slice(parts.join("\t").as_bytes());
        } else {
            self.bytes.extend_from_slice(line);
        }
        self.bytes.extend_from_slice(off.as_bytes());
        self.bytes.push(b'\n');
        if !ends {
            self.line("", "\\ No newline at end of file");
        }
    }
}

/// The difference of one file; nothing where there is none that git knows of.
fn one(path: &Path, old: &Text, new: &Text, look: Look) -> Vec<u8> {
    let mut page = Page { look, bytes: Vec::new() };
    let (a, b) = (quoted("a", path), quoted("b", path));
    let modes = (old.mode(), new.mode());
    if modes == (None, None) || modes.0 == modes.1 && old.same(new) {
        return page.bytes;
    }
    page.line(BOLD, &format!("diff --git {a} {b}"));
    match modes {
        (None, Some(mode)) => page.line(BOLD, &format!("new file mode {mode}")),
        (Some(mode), None) => page.line(BOLD, &format!("deleted file mode {mode}")),
        (Some(old), Some(new)) if old != new => {
            page.line(BOLD, &format!("old mode {old}"));
            page.line(BOLD, &format!("new mode {new}"));
        }
        _ => {}
    }
    if old.same(new) {
        return page.bytes;
    }
    let a = if modes.0.is_none() { "/dev/null".to_owned() } else { a };
    let b = if modes.1.is_none() { "/dev/null".to_owned() } else { b };
    match (old.bytes(), new.bytes()) {
        (Some([]), Some([])) => {}
        (Some(old), Some(new)) => {
            page.line(BOLD, &format!("--- {a}"));
            page.line(BOLD, &format!("+++ {b}"));
            hunks(&mut page, old, new);
        }
        _ => page.line("", &format!("Binary files {a} and {b} differ")),
    }
    page.bytes
}

fn hunks(page: &mut Page, old: &[u8], new: &[u8]) {
    let lines = |bytes| -> Vec<&[u8]> { <[u8]>::split_inclusive(bytes, |byte| *byte == b'\n').collect() };
    let (old, new) = (lines(old), lines(new));
    let until = Instant::now() + PATIENCE;
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(until));
    for group in group_diff_ops(ops, AROUND) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        page.line(CYAN, &format!("@@ -{} +{} @@", extent(&old_range), extent(&new_range)));
        for op in &group {
            if let DiffOp::Equal { .. } = op {
                old[op.old_range()].iter().for_each(|line| page.content(' ', "", line));
            } else {
                old[op.old_range()].iter().for_each(|line| page.content('-', RED, line));
                new[op.new_range()].iter().for_each(|line| page.content('+', GREEN, line));
            }
        }
    }
}

/// Where and how long, as in a hunk's head: of no lines, the one before.
fn extent(range: &std::ops::Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        length => format!("{},{length}", range.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(bytes: &[u8]) -> Text {
        Text::Some { mode: "100644", bytes: bytes.to_vec() }
    }

    #[test]
    fn as_git_writes_it() {
        let text =
            |old: &Text, new: &Text, look| String::from_utf8(one(Path::new("d/é"), old, new, look)).unwrap();
        let plain = Look::default();
        let head = "diff --git \"a/d/\\303\\251\" \"b/d/\\303\\251\"\n";
        assert_eq!(
            text(&some(b"1\n2\n"), &some(b"1\n3"), plain),
            format!(
                "{head}--- \"a/d/\\303\\251\"\n+++ \"b/d/\\303\\251\"\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n\\ No newline at end of file\n"
            )
        );
        assert_eq!(text(&Text::None, &some(b""), plain), format!("{head}new file mode 100644\n"));
        assert!(text(&some(b"\0"), &Text::None, plain).ends_with("and /dev/null differ\n"));
        let terminal = Look { terminal: true, ..plain };
        assert!(text(&Text::None, &some(b"\x1b[2J\tx\n"), terminal).ends_with("+\\x1b[2J\tx\n"));
        assert!(text(&Text::None, &some(b"\x1b[2J\tx\n"), plain).ends_with("+\x1b[2J\tx\n"));
    }
}
