//! The sources as text: what is code in them, and which paths it names.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// A file that a test makes up.
    pub(crate) fn planted(path: &str, text: &str) -> Vec<Self> {
        vec![Self { path: path.to_owned(), text: text.to_owned() }]
    }

    /// The module that it is: `["plan", "base"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "mod").collect()
    }

    /// Its part of the crate: `plan`.
    pub(crate) fn part(&self) -> &str {
        self.module().first().copied().unwrap_or_default()
    }

    /// Its code: no comments, no contents of strings, no unit tests. Lines stay lines.
    pub(crate) fn code(&self) -> String {
        without_tests(&without_text(&self.text))
    }
}

/// The directory with `Cargo.toml`; the variable wins for a test program that runs where it was not built.
pub(crate) fn top() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// Every Rust file below a directory of the repository, unit tests' own files left out.
pub(crate) fn all(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&top(), Path::new(below), &mut found);
    assert!(found.len() > 3, "no sources in {below}");
    found
}

fn collect(top: &Path, below: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(top.join(below)).expect("a directory of sources");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    for name in names {
        let path = below.join(&name);
        if top.join(&path).is_dir() {
            if path != Path::new("src/profile/tests") {
                collect(top, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(top.join(&path)).expect("a source file");
            found.push(Source { path: path.to_string_lossy().into_owned(), text });
        }
    }
}

/// The text without comments and without what is in strings and characters.
fn without_text(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if letter == '"' || letter == '\'' || letter == 'r' {
            literal(rest, out.chars().last())
        } else {
            0
        };
        if skipped > 0 {
            out.extend(rest[..skipped].chars().filter(|letter| *letter == '\n'));
            rest = &rest[skipped..];
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    out
}

/// How long the literal is that starts here; 0 for a lifetime or a name.
fn literal(rest: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_name || matches!(before, Some('b' | 'c'))) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let Some(body) = raw[hashes..].strip_prefix('"') else { return 0 };
        return body.find(&end).map_or(rest.len(), |at| 1 + hashes + 1 + at + end.len());
    }
    let quote = rest.as_bytes()[0];
    if quote == b'\'' {
        // 'x' and '\n' are characters, 'a without a second quote is a lifetime.
        let inside = rest[1..].chars().next().unwrap_or(' ');
        if inside != '\\' && !rest[1 + inside.len_utf8()..].starts_with('\'') {
            return 0;
        }
    } else if quote != b'"' {
        return 0;
    }
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The code up to its unit tests, which stand at the end of a file.
fn without_tests(code: &str) -> String {
    let marker = "#[cfg(test)]\nmod tests {";
    code.find(marker).map_or(code, |at| &code[..at]).to_owned()
}

fn in_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Every path that the code names, `use` groups taken apart: `std::path::Path`, `crate::diag::escape`.
pub(crate) fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(in_name) {
        rest = &rest[start..];
        rest = &rest[path(rest, "", &mut found)..];
    }
    found
}

/// Reads one path, or a path with a group at its end; how much of the text it is.
fn path(text: &str, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut end = text.find(|letter| !in_name(letter)).unwrap_or(text.len());
    loop {
        let tail = &text[end..];
        if let Some(group) = tail.strip_prefix("::{") {
            let prefix = format!("{prefix}{}::", &text[..end]);
            return end + 3 + members(group, &prefix, found);
        }
        let next =
            tail.strip_prefix("::").map(|next| next.find(|letter| !in_name(letter)).unwrap_or(next.len()));
        match next {
            Some(length @ 1..) => end += 2 + length,
            _ => break,
        }
    }
    found.push(format!("{prefix}{}", &text[..end]));
    end
}

/// Reads the members of a group up to its closing brace; how much of the text they are.
fn members(text: &str, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        if in_name(letter) {
            at += path(&text[at..], prefix, found);
        } else {
            at += letter.len_utf8();
            if letter == '}' {
                break;
            }
        }
    }
    at
}

#[test]
fn code_is_told_from_text() {
    let text = "// a\nlet b = \"c // d\\\"\"; /* e\n */ let f = '\"'; let g: &'h str = r#\"i\"#;\n#[cfg(test)]\nmod tests {\n";
    let code = without_tests(&without_text(text));
    let words: Vec<_> = code.split_whitespace().collect();
    assert_eq!(words.join(" "), "let b = ; let f = ; let g: &'h str = ;");
    assert_eq!(code.lines().count(), 3);
}

#[test]
fn paths_are_taken_apart() {
    let code = "use std::{fs, path::{self, Path}};\nuse super::x;\nlet a = crate::diag::escape(b.c::<D>());";
    let found = paths(code);
    for path in ["std::fs", "std::path::self", "std::path::Path", "super::x", "crate::diag::escape"] {
        assert!(found.iter().any(|known| known == path), "{path} is not in {found:?}");
    }
    assert!(!found.iter().any(|known| known == "fs"));
}
