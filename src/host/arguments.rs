//! Files that the caller names on the command line.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A word of the command that names a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Which word.
    pub index: usize,
    /// The word up to the file's name: empty, `--option=` or `file://`.
    pub before: OsString,
    /// The file is named from the working directory on.
    pub relative: bool,
    /// The file's path: absolute, without `.` and `..`.
    pub path: PathBuf,
}

impl NamedFile {
    /// The word, with another path for the file.
    pub fn word_for(&self, path: &Path) -> OsString {
        let mut word = self.before.clone();
        if self.before == "file://" {
            word.push(encode(path.as_os_str().as_bytes()))
        } else {
            word.push(path)
        }
        word
    }
}

/// Those of the words that are, or hold, the name of a regular file.
pub(super) fn files(words: &[OsString], cwd: Option<&Path>) -> Vec<NamedFile> {
    words.iter().enumerate().filter_map(|(index, word)| file(index, word, cwd)).collect()
}

fn file(index: usize, word: &OsStr, cwd: Option<&Path>) -> Option<NamedFile> {
    let bytes = word.as_bytes();
    let (before, name) = if let Some(rest) = bytes.strip_prefix(b"file://") {
        // An empty host is this one (RFC 8089).
        (&b"file://"[..], decode(rest.strip_prefix(b"localhost").unwrap_or(rest))?)
    } else if bytes.starts_with(b"-") {
        let end = bytes.iter().position(|byte| *byte == b'=')? + 1;
        (&bytes[..end], bytes[end..].to_vec())
    } else {
        (&b""[..], bytes.to_vec())
    };
    let name = PathBuf::from(OsString::from_vec(name));
    let relative = !name.is_absolute();
    if name.as_os_str().is_empty() || (relative && before == b"file://") {
        return None;
    }
    let path = if relative { cwd?.join(&name) } else { name };
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    // The sandbox has these of its own: a program that is told to read `/dev/stdin` means its own.
    let real = fs::canonicalize(&path).ok()?;
    let kernels = |path: &Path| ["/proc", "/sys", "/dev"].iter().any(|kernel| path.starts_with(kernel));
    if (kernels(&path) || kernels(&real)) && !real.starts_with("/dev/shm") {
        return None;
    }
    // What `..` means depends on links. The name stays, also where it is a link's.
    let path = match path.components().any(|part| part == Component::ParentDir) {
        true => fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?),
        false => path.components().collect(),
    };
    Some(NamedFile { index, before: OsStr::from_bytes(before).to_owned(), relative, path })
}

/// Without percent-encoding; nothing for text that is no such URL.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(text.len());
    let mut out = Vec::new();
    let mut rest = &text[..end];
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(out)
}

fn encode(path: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.iter()
        .map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(word: &str, cwd: &str) -> Option<(String, PathBuf)> {
        let found = files(&[word.into()], Some(Path::new(cwd))).pop()?;
        Some((found.before.to_str()?.to_owned(), found.path))
    }

    #[test]
    fn finds_files_in_words() {
        let passwd = |before: &str| Some((before.to_owned(), PathBuf::from("/etc/passwd")));
        for (word, cwd, wanted) in [
            ("/etc/passwd", "/", passwd("")),
            ("passwd", "/etc", passwd("")),
            ("./passwd", "/etc", passwd("")),
            ("../etc/passwd", "/usr", passwd("")),
            ("--file=/etc/passwd", "/", passwd("--file=")),
            ("-f=passwd", "/etc", passwd("-f=")),
            ("file:///etc/passwd", "/", passwd("file://")),
            ("file://localhost/etc/pass%77d#top", "/", passwd("file://")),
            ("file://elsewhere/etc/passwd", "/", None),
            ("file:///etc/pass%7", "/", None),
            ("https://example.org/etc/passwd", "/", None),
            ("--file", "/etc", None),
            ("/etc", "/", None),
            ("/dev/null", "/", None),
            ("/proc/self/environ", "/", None),
            ("self/../self/environ", "/proc", None),
            ("", "/etc", None),
            ("passwd", "/nonexistent", None),
        ] {
            assert_eq!(named(word, cwd), wanted, "{word}");
        }
    }

    #[test]
    fn a_url_is_written_as_one() {
        let file = NamedFile { index: 1, before: "file://".into(), relative: false, path: "/a".into() };
        assert_eq!(file.word_for(Path::new("/a b/%ü")), "file:///a%20b/%25%C3%BC");
        let file = NamedFile { before: "--x=".into(), ..file };
        assert_eq!(file.word_for(Path::new("/a b")), "--x=/a b");
    }
}
