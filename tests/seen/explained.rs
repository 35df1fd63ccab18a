//! The mounts that an explained plan promises, in order, with all that can be seen of each.

use crate::common::process::Mount;
use crate::tree;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The options of a mount that decide what can be done with it.
pub(crate) const FLAGS: [&str; 5] = ["ro", "rw", "nosuid", "nodev", "noexec"];

/// A set of [`FLAGS`].
pub(crate) type Flags = BTreeSet<&'static str>;

/// What a line of mountinfo should say.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) target: PathBuf,
    pub(crate) kind: String,
    /// What of the filesystem; nothing where that has no name any more.
    pub(crate) root: Option<String>,
    pub(crate) flags: Flags,
    /// Options of the filesystem that must be there.
    pub(crate) parameters: Vec<String>,
    /// Came along below a bind: the plan says nothing about its place in the order.
    pub(crate) taken_along: bool,
    /// Where the same is outside.
    pub(crate) source: Option<PathBuf>,
}

/// The bytes of a JSON value that is text or `{"hex": "…"}`.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = value["hex"].as_str().unwrap_or_default();
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).filter_map(pair).collect()
}

/// A path of the JSON.
pub(crate) fn path(value: &Value) -> PathBuf {
    OsString::from_vec(bytes(value)).into()
}

/// The flags of a mount that was seen.
pub(crate) fn flags(mount: &Mount) -> Flags {
    FLAGS.into_iter().filter(|flag| mount.has(flag)).collect()
}

fn of(words: &[&'static str]) -> Flags {
    words.iter().copied().collect()
}

/// The flags of a bind: what its source has, and never less than these.
fn restricted(source: &Mount, read_only: bool, always: &[&'static str]) -> Flags {
    let mut flags = flags(source);
    flags.extend(always);
    if read_only {
        flags.remove("rw");
        flags.insert("ro");
    }
    flags
}

/// Every mount that the plan promises, the root first. `own` are the mounts of whoever starts it.
pub(crate) fn mounts(plan: &Value, own: &[Mount]) -> Vec<Wanted> {
    let root = &plan["root"];
    let access = if root["read-only"] == true { "ro" } else { "rw" };
    let mut wanted = vec![Wanted {
        target: "/".into(),
        kind: "tmpfs".to_owned(),
        root: Some("/".to_owned()),
        flags: of(&[access, "nosuid", "nodev"]),
        parameters: sizes(root),
        taken_along: false,
        source: None,
    }];
    for mount in plan["mounts"].as_array().into_iter().flatten() {
        let new = one(mount, &wanted, own);
        wanted.extend(new);
    }
    wanted
}

fn sizes(of: &Value) -> Vec<String> {
    let number = |key: &str| of[key].as_u64().unwrap_or_default();
    // The kernel counts whole pages and prints KiB.
    vec![format!("size={}k", number("size").div_ceil(4096) * 4), format!("nr_inodes={}", number("inodes"))]
}

/// The mounts that one operation makes: none for a file, one mostly, more for a bind of a tree with mounts in it.
fn one(mount: &Value, so_far: &[Wanted], own: &[Mount]) -> Vec<Wanted> {
    let dest = path(&mount["dest"]);
    let access = if mount["access"] == "read-only" { "ro" } else { "rw" };
    let simple = |kind: &str, root: &str, words: &[&'static str], parameters| {
        vec![Wanted {
            target: dest.clone(),
            kind: kind.to_owned(),
            root: Some(root.to_owned()),
            flags: of(words),
            parameters,
            taken_along: false,
            source: (kind == "proc").then(|| "/proc".into()),
        }]
    };
    match mount["op"].as_str().unwrap_or_default() {
        "bind" => bind(mount, &dest, own),
        "device" => device(&path(&mount["source"]), &dest, own),
        "tmpfs" => simple("tmpfs", "/", &[access, "nosuid", "nodev"], sizes(mount)),
        "proc" => simple("proc", "/", &["rw", "nosuid", "nodev", "noexec"], Vec::new()),
        "devpts" => simple("devpts", "/", &["rw", "nosuid", "noexec"], Vec::new()),
        "mqueue" => simple("mqueue", "/", &["rw", "nosuid", "nodev", "noexec"], Vec::new()),
        "private" => {
            // A directory of the root's; a filesystem of its own where the place is the host's.
            let of_host = lies_in(&dest, so_far).is_some_and(|mount| mount.source.is_some());
            let root = if of_host { "/".into() } else { dest.to_string_lossy() };
            simple("tmpfs", &root, &["rw", "nosuid", "nodev"], sizes_of_root(so_far))
        }
        "data" => {
            // A file of the root's that has lost its name.
            let mut data = simple("tmpfs", "", &[access, "nosuid", "nodev"], Vec::new());
            data[0].root = None;
            data
        }
        "mask" if exists(&dest, so_far) => {
            let mut mask = simple("tmpfs", "", &["ro", "nosuid", "nodev", "noexec"], Vec::new());
            mask[0].root = None;
            mask
        }
        "read-only" if exists(&dest, so_far) => {
            lies_in(&dest, so_far).map(|mount| read_only(&dest, mount)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn sizes_of_root(so_far: &[Wanted]) -> Vec<String> {
    so_far.first().map(|root| root.parameters.clone()).unwrap_or_default()
}

fn bind(mount: &Value, dest: &Path, own: &[Mount]) -> Vec<Wanted> {
    let Ok(source) = fs::canonicalize(path(&mount["source"]["path"])) else {
        // An optional one that is missing; of any other, sbx would have said so.
        return Vec::new();
    };
    let read_only = mount["access"] == "read-only";
    let always: &[&str] = if mount["devices"] == true { &["nosuid"] } else { &["nosuid", "nodev"] };
    let Some(top) = tree::leads_to(own, &source) else { return Vec::new() };
    let mut wanted = vec![Wanted {
        target: dest.to_owned(),
        kind: top.kind.clone(),
        root: Some(tree::root_at(top, &source)),
        flags: restricted(top, read_only, always),
        parameters: Vec::new(),
        taken_along: false,
        source: Some(source.clone()),
    }];
    wanted.extend(tree::below(own, &source).into_iter().map(|below| Wanted {
        target: dest.join(below.target.strip_prefix(&source).unwrap_or(Path::new(""))),
        kind: below.kind.clone(),
        root: Some(below.root.clone()),
        flags: restricted(below, read_only, always),
        parameters: Vec::new(),
        taken_along: true,
        source: Some(below.target.clone()),
    }));
    wanted
}

fn device(source: &Path, dest: &Path, own: &[Mount]) -> Vec<Wanted> {
    let Some(mount) = tree::leads_to(own, source) else { return Vec::new() };
    vec![Wanted {
        target: dest.to_owned(),
        kind: mount.kind.clone(),
        root: Some(tree::root_at(mount, source)),
        flags: restricted(mount, false, &["nosuid", "noexec"]),
        parameters: Vec::new(),
        taken_along: false,
        source: None,
    }]
}

/// A place in a mount, mounted over itself.
fn read_only(dest: &Path, lies_in: &Wanted) -> Wanted {
    let below = dest.strip_prefix(&lies_in.target).unwrap_or(Path::new(""));
    let root = lies_in.root.as_ref().map(|root| Path::new(root).join(below).to_string_lossy().into_owned());
    let mut wanted = Wanted { target: dest.to_owned(), root, taken_along: false, ..lies_in.clone() };
    wanted.source = wanted.source.map(|source| source.join(below));
    wanted.flags.remove("rw");
    wanted.flags.insert("ro");
    wanted
}

/// The mount that a destination lies in.
fn lies_in<'a>(dest: &Path, so_far: &'a [Wanted]) -> Option<&'a Wanted> {
    let above = so_far.iter().filter(|mount| dest.starts_with(&mount.target));
    above.max_by_key(|mount| mount.target.components().count())
}

/// Whether a destination lies in something of the host's that has it: then there is something to cover.
fn exists(dest: &Path, so_far: &[Wanted]) -> bool {
    lies_in(dest, so_far).is_some_and(|mount| {
        let below = dest.strip_prefix(&mount.target).unwrap_or(Path::new(""));
        mount.source.as_ref().is_some_and(|source| source.join(below).symlink_metadata().is_ok())
    })
}
