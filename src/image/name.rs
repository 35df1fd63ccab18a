//! Names of images: `debian`, `debian:13`, `registry.example.org:5000/team/tool:1.2`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;

use super::error::ImageError;

/// The tag of an image that is called by its name alone.
const LATEST: &str = "latest";
/// Bytes that a name may have: it is a file's too.
const LONGEST: usize = 200;

/// The name and its tag, if it has one.
pub(super) fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((front, tag)) if !tag.contains('/') => (front, Some(tag)),
        _ => (name, None),
    }
}

/// The name with its tag.
pub(super) fn full(name: &str) -> Result<String, ImageError> {
    let wrong = || ImageError::Name(name.to_owned());
    let (front, tag) = split(name);
    let tag = tag.unwrap_or(LATEST);
    let mut components = front.split('/');
    let first = components.next().unwrap_or_default();
    let (host, port) = first.split_once(':').unwrap_or((first, "0"));
    let fine = is_component(host)
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && components.all(is_component)
        && is_component(tag);
    let full = format!("{front}:{tag}");
    if fine && full.len() <= LONGEST { Ok(full) } else { Err(wrong()) }
}

fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.bytes().all(plain)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What an image is called that has no name where it is.
pub(super) fn of_file(path: &Path) -> String {
    let name = path.file_stem().map_or_else(OsString::new, OsString::from);
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
    name.to_string_lossy().chars().map(plain).collect::<String>().trim_start_matches(['-', '.']).to_owned()
}

/// The file's name for it in the store.
pub(super) fn file(full: &str) -> String {
    format!("{}.json", full.replace('/', "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_closed() {
        for (name, whole) in [
            ("debian", "debian:latest"),
            ("debian:13", "debian:13"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("localhost:5000/a/b:1.2", "localhost:5000/a/b:1.2"),
        ] {
            assert_eq!(full(name).unwrap(), whole);
        }
        for wrong in [
            "",
            ":",
            "a:",
            ":a",
            ".",
            "..",
            "a/../b",
            "/a",
            "a//b",
            "a b",
            "-a",
            "a:b:c",
            "a%b",
            "ä",
            "a/b:c/d",
            &"x".repeat(200),
        ] {
            assert_eq!(full(wrong), Err(ImageError::Name(wrong.to_owned())), "{wrong}");
        }
    }
}
