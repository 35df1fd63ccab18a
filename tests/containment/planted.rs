//! B: links where the sandbox can write, planted for the next run or while it starts; and what else a source brings along.

use crate::common::{Output, output, process};
use crate::row::{Attempt, Reach, Row, canary};
use crate::walls::Wall;
use libtest_mimic::Failed;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sbx::plan::{Access, BindSource, Mount, MountOp, Plan};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("B1 a source that the last run made a link", [LINKED_SOURCES], source_behind_link),
        Row::new("B2 a mount point behind a link", [LINKED_PLACES, NO_PLACES_MADE], place_behind_link),
        Row::new("B3 a source that is a link by turns", [LINKED_SOURCES], source_in_a_race),
        Row::new("B7 a mount below a read-only source", [ALL_READ_ONLY], mount_below_source),
        Row::new("B8 flags of the host's mounts", [KEPT_FLAGS], flags_of_source),
    ]
}

/// A link on the way to a source, where the sandbox can have planted it, is refused. A careless program follows links
/// itself before it looks at anything else.
const LINKED_SOURCES: Wall = Wall {
    name: "planted links",
    down: |plan| {
        for (source, _, _) in bind_sources(plan) {
            *source = fs::canonicalize(&source).unwrap_or_else(|_| source.clone());
        }
    },
};

/// The same on the way to a mount point: `/w/link` says `/v`.
const LINKED_PLACES: Wall = Wall {
    name: "planted links",
    down: |plan| {
        for mount in &mut plan.mounts {
            if let Ok(rest) = mount.dest.strip_prefix("/w/link") {
                mount.dest = Path::new("/v").join(rest);
            }
        }
    },
};

/// No mount point is made in what the host shares.
const NO_PLACES_MADE: Wall =
    Wall { name: "no mount points on the host", down: |plan| plan.mount_points_on_host = true };

/// Read-only means every mount below as well. A careless program sets the flag of the topmost one.
const ALL_READ_ONLY: Wall = Wall {
    name: "read-only all the way down",
    down: |plan| {
        let outside = process::Mount::all_of(process::own_pid()).unwrap_or_default();
        let mut below = Vec::new();
        for (source, dest, access) in bind_sources(plan) {
            let mounts = outside.iter().filter(|mount| {
                *access == Access::ReadOnly && mount.target != *source && mount.target.starts_with(&*source)
            });
            below.extend(mounts.filter_map(|mount| {
                let dest = dest.join(mount.target.strip_prefix(&*source).ok()?);
                Some(given(mount.target.clone(), dest, Access::Writable))
            }));
        }
        plan.mounts.extend(below);
    },
};

/// A bind keeps the flags of the mount that it was made from. A careless program mounts the same files anew: here `any-x`
/// are the files of `host-x` without the host's flags.
const KEPT_FLAGS: Wall = Wall {
    name: "the host's flags",
    down: |plan| {
        for (source, _, _) in bind_sources(plan) {
            let name = source.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("host-"));
            if let Some(name) = name {
                *source = source.with_file_name(format!("any-{name}"));
            }
        }
    },
};

/// The binds of a plan by path: source, destination, access.
fn bind_sources(plan: &mut Plan) -> impl Iterator<Item = (&mut PathBuf, &mut PathBuf, &mut Access)> {
    plan.mounts.iter_mut().filter_map(|Mount { dest, op, .. }| match op {
        MountOp::Bind { source: BindSource::Path(source), access, .. } => Some((source, dest, access)),
        _ => None,
    })
}

fn given(source: PathBuf, dest: PathBuf, access: Access) -> Mount {
    let source = BindSource::Path(source);
    let op = MountOp::Bind { source, access, devices: false, optional: false, create: None };
    Mount { dest, op, origin: sbx::profile::Origin::Default }
}

/// CVE-2024-42472: the first run replaces a directory that the second one is given.
fn source_behind_link(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let key = attempt.user.put("home/.ssh/authorized_keys", "the user's\n")?;
    attempt.user.mkdir("home/project/data")?;
    attempt.sh(&[], "rmdir data && ln -s ../.ssh data")?.exits(0)?;
    let out = attempt.sh(&["--rw", "data:/d"], "echo attacker >>/d/authorized_keys")?;
    refused_or(&out, fs::read_to_string(key)? != "the user's\n")
}

/// CVE-2026-87766: something is made in `/v`, where nobody asked for anything, because the run before made `/w/link`.
fn place_behind_link(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let [w, v] = [attempt.user.mkdir("w")?, attempt.user.mkdir("v")?];
    let (writable, victim) = (format!("{}:/w", w.display()), format!("{}:/v", v.display()));
    attempt.sh(&["--rw", &writable], "ln -s /v /w/link")?.exits(0)?;
    let out = attempt.sh(&["--rw", &writable, "--rw", &victim, "--tmpfs", "/w/link/new"], "true")?;
    refused_or(&out, v.join("new").exists())
}

/// Held by a refusal to start, not by a run that does something else.
fn refused_or(out: &Output, effect: bool) -> Result<Reach, Failed> {
    if !effect {
        let why = ["a symlink", "where sbx makes nothing"];
        out.exits(125)?
            .check(why.iter().any(|why| out.errors().contains(why)), || "should name the link".to_owned())?;
    }
    Ok(Reach::through_if(effect))
}

/// CVE-2025-52881's kind: `w/d` is a directory and a link to what is private in turn, while sandboxes start.
fn source_in_a_race(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    attempt.user.put("w/d/in/file", "harmless")?;
    attempt.user.put("home/.ssh/in/file", &canary)?;
    let w = attempt.user.dir().join("w");
    std::os::unix::fs::symlink("../home/.ssh", w.join("l"))?;
    let (writable, source) = (format!("{}:/w", w.display()), format!("{}:/d", w.join("d/in").display()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (d, l) = (w.join("d"), w.join("l"));
                let _ = renameat2(AT_FDCWD, &d, AT_FDCWD, &l, RenameFlags::RENAME_EXCHANGE);
            }
        });
        let result = race(attempt, &["--rw", &writable, "--ro", &source], &canary);
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn race(attempt: &Attempt<'_>, options: &[&str], canary: &str) -> Result<Reach, Failed> {
    const RUNS: usize = 60;
    let mut harmless = 0;
    for _ in 0..RUNS {
        let text = attempt.sh(options, "cat /d/file")?.text();
        if text.contains(canary) {
            return Ok(Reach::Through);
        }
        harmless += usize::from(text == "harmless");
    }
    match harmless {
        1..RUNS => Ok(Reach::Held),
        _ => Err(format!("no race: {harmless} of {RUNS} runs saw the directory").into()),
    }
}

/// A run in a mount namespace of the test's own, between two parts of a script. `$DIR` is the user's directory.
fn among_mounts(attempt: &Attempt<'_>, before: &str, sbx: &Command, after: &str) -> Result<Output, Failed> {
    let mut outer = attempt.user.command("unshare");
    outer.arg(if attempt.user.is_root() { "-m" } else { "-Urm" }).env("DIR", attempt.user.dir());
    outer.args(["sh", "-euc", &format!("{before}\n\"$@\" || true\n{after}"), "sh"]);
    output(outer.arg(sbx.get_program()).args(sbx.get_args()))
}

fn mount_below_source(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    attempt.user.mkdir("src/sub")?;
    let before = "mount -t tmpfs below $DIR/src/sub; echo kept >$DIR/src/sub/file";
    let source = format!("{}:/d", attempt.user.dir().join("src").display());
    let mut sbx = attempt.sbx(&["--ro", &source]);
    sbx.args(["sh", "-c", "echo changed >/d/sub/file; echo ran"]);
    let out = among_mounts(attempt, before, &sbx, "cat $DIR/src/sub/file")?;
    Ok(Reach::through_if(out.exits(0)?.stdout_has("ran\n")?.text() != "ran\nkept\n"))
}

/// Each with what it should stop, which leaves a file in the working directory or is one itself.
fn flags_of_source(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let user = attempt.user;
    user.put("any-ro/file", "kept\n")?;
    user.put_program("any-noexec/program", "#!/bin/sh\necho ran >executed\n")?;
    user.put("any-nosymfollow/file", "")?;
    std::os::unix::fs::symlink("file", user.dir().join("any-nosymfollow/link"))?;
    let mut before = String::new();
    let mut options = Vec::new();
    for (flag, attribute) in [("ro", 0x1), ("noexec", 0x8), ("nosymfollow", 0x20_0000)] {
        user.mkdir(format!("host-{flag}"))?;
        // mount_setattr(2): not every mount(8) knows all of the flags.
        before += &format!(
            "mount --bind $DIR/any-{flag} $DIR/host-{flag}
             perl -e '$p = \"'$DIR'/host-{flag}\"; $a = pack(\"Q4\", {attribute}, 0, 0, 0);
                 exit(syscall(442, -100, $p, 0, $a, 32) ? 1 : 0)'\n"
        );
        options.push("--rw".to_owned());
        options.push(format!("{}:/{flag}", user.dir().join(format!("host-{flag}")).display()));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut sbx = attempt.sbx(&options);
    let script = "echo changed >/ro/file; /noexec/program; cat /nosymfollow/link && : >followed; echo ran";
    sbx.args(["sh", "-c", script]);
    among_mounts(attempt, &before, &sbx, "")?.exits(0)?.stdout_is("ran\n")?;
    Reach::of_all([
        ("ro", fs::read_to_string(user.dir().join("any-ro/file"))? != "kept\n"),
        ("noexec", user.project().join("executed").exists()),
        ("nosymfollow", user.project().join("followed").exists()),
    ])
}
