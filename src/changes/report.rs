//! Changes as text and as JSON.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::node::{Kind, Node};
use super::{Change, Layer, Mark, Status};
use crate::bytes::Bytes;
use crate::diag::escape;

/// The version of the JSON form. Additions don't change it.
const VERSION: u32 = 1;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD_RED: &str = "\x1b[1;31m";
const OFF: &str = "\x1b[0m";

/// A line for each: git's letter, the path, what is not plain from them, and marks.
pub fn text(changes: &[Change], color: bool) -> String {
    changes.iter().fold(String::new(), |mut out, change| {
        line(&mut out, change, color);
        out
    })
}

fn line(out: &mut String, change: &Change, color: bool) {
    let paint = match change.status {
        Status::Added => GREEN,
        Status::Deleted => RED,
        Status::Modified | Status::TypeChanged => YELLOW,
    };
    let (on, alarm, off) = if color { (paint, BOLD_RED, OFF) } else { ("", "", "") };
    let _ = write!(out, "{on}{}  {}{off}", change.status.letter(), shown(change));
    let details = details(change);
    if !details.is_empty() {
        let _ = write!(out, "  ({})", details.join(", "));
    }
    if !change.marks.is_empty() {
        let words: Vec<&str> = change.marks.iter().map(|mark| mark.words()).collect();
        let _ = write!(out, "  {alarm}! {}{off}", words.join(", "));
    }
    out.push('\n');
}

/// The path, with a slash after a directory's.
fn shown(change: &Change) -> String {
    if change.path.as_os_str().is_empty() {
        return "./".to_owned();
    }
    let slash = if change.kind() == Some(Kind::Directory) { "/" } else { "" };
    escape(&change.path) + slash
}

fn details(change: &Change) -> Vec<String> {
    let mut details = Vec::new();
    let link = |node: &Node| node.target.as_ref().map(escape);
    match (&change.old, &change.new) {
        (Some(old), Some(new)) if change.status == Status::TypeChanged => {
            details.push(format!("{} -> {}", old.kind.word(), new.kind.word()));
            details.extend(link(new).map(|target| format!("to {target}")));
        }
        (Some(old), Some(new)) => {
            if change.mode {
                details.push(format!("mode {:04o} -> {:04o}", old.mode, new.mode));
            }
            if change.attributes {
                details.push("attributes".to_owned());
            }
            if change.target {
                let target = |node| link(node).unwrap_or_default();
                details.push(format!("link {} -> {}", target(old), target(new)));
            }
        }
        (None, Some(new)) => details.extend(link(new).map(|target| format!("link to {target}"))),
        _ => {}
    }
    if change.below.entries > 0 {
        details.push(match change.below.entries {
            1 => "with 1 entry".to_owned(),
            entries => format!("with {entries} entries"),
        });
    }
    details
}

#[derive(Serialize)]
struct Side<'a> {
    kind: Kind,
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Bytes<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    status: Status,
    path: Bytes<'a>,
    old: Option<Side<'a>>,
    new: Option<Side<'a>>,
    /// What of a modified entry differs.
    differs: Vec<&'static str>,
    #[serde(rename = "entries-below")]
    below: u64,
    marks: &'a [Mark],
}

fn side(node: &Option<Node>) -> Option<Side<'_>> {
    node.as_ref().map(|node| Side {
        kind: node.kind,
        mode: format!("{:04o}", node.mode),
        size: (node.kind == Kind::File).then_some(node.size),
        target: node.target.as_deref().map(Bytes),
    })
}

fn row(change: &Change) -> Row<'_> {
    let differs = [
        ("content", change.content),
        ("mode", change.mode),
        ("attributes", change.attributes),
        ("target", change.target),
    ];
    let path = change.path.as_os_str();
    Row {
        status: change.status,
        path: Bytes(if path.is_empty() { OsStr::new(".") } else { path }),
        old: side(&change.old),
        new: side(&change.new),
        differs: differs.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word).collect(),
        below: change.below.entries,
        marks: &change.marks,
    }
}

/// One JSON object.
pub fn json(layer: &Layer, in_use: bool, changes: &[Change]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Page<'a> {
        version: u32,
        layer: Bytes<'a>,
        directory: Option<Bytes<'a>>,
        in_use: bool,
        changes: Vec<Row<'a>>,
    }
    let directory = layer.record.as_ref().map(|record| record.directory.as_path()).map(Path::as_os_str);
    let page = Page {
        version: VERSION,
        layer: Bytes(&layer.name),
        directory: directory.map(Bytes),
        in_use,
        changes: changes.iter().map(row).collect(),
    };
    serde_json::to_string_pretty(&page).unwrap_or_default() + "\n"
}
