//! What a person reads: one-line messages with a cause and a hint, and profile mistakes with
//! their line and a caret.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// One text that spans point into: a profile file, or the text of a `--set`.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What to call it: a path, `built-in profile build`, `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a [`Source`].
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    /// The text.
    pub source: Arc<Source>,
    /// Bytes within it.
    pub range: Range<usize>,
}

impl Location {
    /// Line and column, both counted from 1; the column counts characters.
    pub fn line_column(&self) -> (usize, usize) {
        let start = floor_char_boundary(&self.source.text, self.range.start);
        let before = &self.source.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `name:line:column`.
    pub fn short(&self) -> String {
        let (line, column) = self.line_column();
        format!("{}:{line}:{column}", self.source.name)
    }

    /// The line with a caret under the range.
    fn excerpt(&self) -> String {
        let text = &self.source.text;
        let start = floor_char_boundary(text, self.range.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let end = floor_char_boundary(text, self.range.end).clamp(start, line_end);
        let line = escape(&text[line_start..line_end]).replace("\\t", " ");
        let indent = escape(&text[line_start..start]).replace("\\t", " ").chars().count();
        let carets = escape(&text[start..end]).chars().count().max(1);
        if line.chars().count() > 400 {
            return String::new();
        }
        format!("  | {line}\n  | {}{}\n", " ".repeat(indent), "^".repeat(carets))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Anything that has a message for a person, and perhaps advice and a place.
pub trait Diagnose: fmt::Display {
    /// What to do about it, as an imperative.
    fn hint(&self) -> Option<String> {
        None
    }
    /// Where in a profile it stands.
    fn location(&self) -> Option<&Location> {
        None
    }
}

/// How loud a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing ran.
    Error,
    /// It runs, but not as asked.
    Warning,
}

/// Renders a message: `sbx: error: …`, the place, the line with a caret, the hint.
pub fn render(severity: Severity, what: &dyn Diagnose, color: bool) -> String {
    let (word, paint) = match severity {
        Severity::Error => ("error", "\x1b[1;31m"),
        Severity::Warning => ("warning", "\x1b[1;33m"),
    };
    let (on, off) = if color { (paint, "\x1b[0m") } else { ("", "") };
    let mut out = format!("sbx: {on}{word}{off}: ");
    if let Some(location) = what.location() {
        let _ = write!(out, "{}: ", escape(location.short()));
    }
    let _ = writeln!(out, "{what}");
    if let Some(location) = what.location() {
        out.push_str(&location.excerpt());
    }
    if let Some(hint) = what.hint() {
        let _ = writeln!(out, "  hint: {hint}");
    }
    out
}

/// Makes any bytes safe to print on a terminal: control characters, bidirectional overrides and bytes
/// that are not UTF-8 appear as `\n`, `\x1b`, `\u{202e}`, `\xff` (CVE-2023-28101 is what happens
/// otherwise). A backslash stays as it is, so that ordinary paths read as typed.
pub fn escape(text: impl AsRef<OsStr>) -> String {
    let mut out = String::new();
    for chunk in text.as_ref().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if (c as u32) < 0x80 && c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", c as u32);
                }
                c if c.is_control() || is_invisible(c) => {
                    let _ = write!(out, "\\u{{{:x}}}", c as u32);
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Characters that reorder or hide the text around them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{e0000}'..='\u{e007f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// An escaped path or word in backticks.
pub fn quote(text: impl AsRef<OsStr>) -> String {
    format!("`{}`", escape(text))
}

/// The kernel's words for an errno, as they stand in the middle of a sentence.
pub fn errno_words(errno: nix::errno::Errno) -> String {
    let mut characters = errno.desc().chars();
    let first = characters.next().into_iter().flat_map(char::to_lowercase);
    first.chain(characters).collect()
}

/// The candidate nearest to `word` by edit distance, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Rows under each other, each column as wide as its widest cell.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = if column + 1 < row.len() { width(column) + 2 } else { 0 };
            let _ = write!(line, "{cell:<pad$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_fool_a_terminal() {
        assert_eq!(escape("plain path"), "plain path");
        assert_eq!(escape("a\x1b[2Jb\n"), "a\\x1b[2Jb\\n");
        assert_eq!(escape("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(escape(OsStr::from_bytes(b"\xff\xfe")), "\\xff\\xfe");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn points_at_the_column() {
        let source = Arc::new(Source { name: "x.toml".into(), text: "schema = 1\nhöme = 2\n".into() });
        let location = Location { source, range: 11..16 };
        assert_eq!(location.short(), "x.toml:2:1");
        assert_eq!(location.excerpt(), "  | höme = 2\n  | ^^^^\n");
    }

    #[test]
    fn finds_the_nearest_name() {
        assert_eq!(nearest("biuld", ["build", "shell"]), Some("build"));
        assert_eq!(nearest("browser", ["build", "shell"]), None);
    }
}
