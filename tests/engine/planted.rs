//! Destinations in a directory that the sandbox can write: behind links that it may have planted (CVE-2026-87766), changing
//! while they are used, or missing. Nothing outside ever changes.

use crate::common::edited::Edit;
use crate::common::{Case, Output, Snapshot, User, Verdict, case, output};
use crate::probe::{add, asked, bind, pair, user_dir};
use libtest_mimic::Failed;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sbx::plan::{Access, BindSource, Content, MountOp, OverlayUpper, Plan};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub(crate) const EDITS: &[Edit] = &[("one-op", one_op)];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(no_operation_follows_a_planted_link),
        case!(a_link_that_nobody_can_plant_is_followed),
        case!(a_swapped_directory_gets_no_wrong_mount),
        case!(a_swapped_source_is_never_the_other),
        case!(nothing_is_made_on_the_host),
        case!(mount_points_are_made_when_asked),
        case!(the_base_makes_nothing_on_the_host),
    ]
}

/// Every operation, by the word that the case asks for it with.
const OPS: [&str; 17] = [
    "bind-dir",
    "bind-file",
    "device",
    "tmpfs",
    "proc",
    "devpts",
    "mqueue",
    "overlay",
    "dir",
    "private",
    "copy",
    "file",
    "data",
    "symlink",
    "chmod",
    "mask",
    "read-only",
];

/// `w` and `v` of the user's directory, then the operation `OP` at `DEST`.
fn one_op(plan: &mut Plan) {
    let dir = user_dir();
    let access = if asked("ACCESS") == "ro" { Access::ReadOnly } else { Access::Writable };
    add(plan, "/w", bind(dir.join("w"), access));
    add(plan, "/v", bind(dir.join("v"), Access::Writable));
    plan.mount_points_on_host = asked("MAKE") == "yes";
    let content = || Content::Bytes(b"made\n".to_vec());
    let source = dir.join("source");
    let layer = |name: &str| BindSource::Path(source.join(name));
    let op = match asked("OP").to_str().unwrap_or_default() {
        "bind-dir" => bind(source, Access::ReadOnly),
        "bind-file" => bind(source.join("marker"), Access::ReadOnly),
        "device" => MountOp::Device { source: "/dev/null".into(), major: 1, minor: 3 },
        "tmpfs" => MountOp::Tmpfs { size: 1 << 20, inodes: 20, mode: 0o755, access: Access::Writable },
        "proc" => MountOp::Proc,
        "devpts" => MountOp::Devpts,
        "mqueue" => MountOp::Mqueue,
        "overlay" => MountOp::Overlay { lower: vec![layer("one"), layer("two")], upper: OverlayUpper::None },
        "dir" => MountOp::Dir { mode: 0o777 },
        "private" => MountOp::Private { mode: 0o777 },
        "copy" => MountOp::Copy { source: source.join("marker"), mode: 0o777 },
        "file" => MountOp::File { content: content(), mode: 0o777 },
        "data" => MountOp::Data { content: content(), mode: 0o777, access: Access::Writable },
        "symlink" => MountOp::Symlink { target: "/elsewhere".into() },
        "chmod" => MountOp::Chmod { mode: 0o777 },
        "read-only" => MountOp::ReadOnly,
        _ => MountOp::Mask,
    };
    add(plan, PathBuf::from(asked("DEST")), op);
}

/// A writable directory full of links, and one that they lead to.
fn plant(user: &User) -> Verdict {
    for file in ["source/marker", "source/one/1", "source/two/2", "v/file", "v/dir/file", "w/sub/file"] {
        user.put(file, "kept\n")?;
    }
    user.mkdir("w/sub/deep")?;
    let w = user.dir().join("w");
    let host = user.dir().join("v");
    let links: [(&str, PathBuf); 8] = [
        ("absolute", "/v".into()),
        ("relative", "../v".into()),
        ("chained", "sub/second".into()),
        ("sub/second", "/w/absolute".into()),
        ("magic", "/proc/self/root/v".into()),
        ("upward", "../../../../../../v".into()),
        ("dangling", "/nowhere/deep".into()),
        ("host", host),
    ];
    links.iter().try_for_each(|(name, target)| Ok(symlink(target, w.join(name))?))
}

fn run_op(user: &User, op: &str, dest: &str, more: &[(&str, &str)]) -> Result<Output, Failed> {
    let mut command = user.edited("one-op");
    command.env("OP", op).env("DEST", dest).envs(more.iter().copied());
    output(command.args(["sh", "-c", "ls -d /v/new /v/dir/marker /v/marker 2>/dev/null; echo ran"]))
}

fn no_operation_follows_a_planted_link(user: &User) -> Verdict {
    plant(user)?;
    let before = Snapshot::of(user.dir())?;
    let dests = [
        "absolute/new",
        "absolute/dir",
        "relative/new",
        "chained/new",
        "magic/new",
        "upward/new",
        "host/new",
    ];
    let more = ["dangling/new", "sub/../absolute/new", "sub/second/file", "absolute", "chained", "dangling"];
    for op in OPS {
        for dest in dests.iter().chain(&more) {
            let out = run_op(user, op, &format!("/w/{dest}"), &[])?;
            out.check(out.status.code() == Some(125) && out.stdout.is_empty(), || {
                format!("{op} is refused")
            })?;
        }
        before.same_as(&Snapshot::of(user.dir())?)?;
    }
    let out = run_op(user, "bind-dir", "/w/absolute/dir", &[])?;
    out.stderr_has("`/w/absolute/dir`: a symlink on the way lies in a directory that the sandbox can write")?;
    Ok(())
}

fn a_link_that_nobody_can_plant_is_followed(user: &User) -> Verdict {
    plant(user)?;
    for (op, dest) in [("bind-dir", "absolute/dir"), ("bind-dir", "chained/dir"), ("bind-dir", "upward/dir")]
    {
        let out = run_op(user, op, &format!("/w/{dest}"), &[("ACCESS", "ro")])?;
        out.exits(0)?.stdout_is("/v/dir/marker\nran\n")?;
    }
    Ok(())
}

/// Runs a hundred times while `d` and `l` in a directory change places, ten thousand times and more.
fn while_swapping(w: &Path, swaps: &AtomicU32, run: impl Fn() -> Verdict) -> Verdict {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) || swaps.load(Ordering::Relaxed) < 10_000 {
                let (d, l) = (w.join("d"), w.join("l"));
                let _ = renameat2(AT_FDCWD, &d, AT_FDCWD, &l, RenameFlags::RENAME_EXCHANGE);
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let result = (0..100).try_for_each(|_| run());
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// `w/d`, which the sandbox can write, is a directory and a link to a secret in turn.
fn a_swapped_source_is_never_the_other(user: &User) -> Verdict {
    user.put("w/d/in/file", "harmless\n")?;
    user.put("home/.ssh/in/file", "secret\n")?;
    let w = user.dir().join("w");
    symlink("../home/.ssh", w.join("l"))?;
    let (writable, source) = (pair(&w, "/w"), pair(w.join("d/in"), "/d"));
    let (swaps, shown) = (AtomicU32::new(0), AtomicU32::new(0));
    while_swapping(&w, &swaps, || {
        let out = output(user.sbx().args(["--rw", &writable, "--ro", &source, "cat", "/d/file"]))?;
        shown.fetch_add(u32::from(out.status.success()), Ordering::Relaxed);
        let refused = out.status.code() == Some(125) && out.stdout.is_empty();
        out.check(refused || out.stdout == b"harmless\n", || "the directory or a refusal".to_owned())
            .map(drop)
    })?;
    let shown = shown.into_inner();
    if shown < 100 { Ok(()) } else { Err("no race: it was shown each time".into()) }
}

/// `w/d` is a directory and a link to `/v` in turn, ten thousand times and more, while binds go to `/w/d/m`.
fn a_swapped_directory_gets_no_wrong_mount(user: &User) -> Verdict {
    user.put("source/marker", "")?;
    for dir in ["w/d/m", "v/m", "empty"] {
        user.mkdir(dir)?;
    }
    let (w, dir) = (user.dir().join("w"), user.dir());
    symlink("/v", w.join("l"))?;
    let (writable, victim) = (pair(&w, "/w"), pair(dir.join("v"), "/v"));
    let source = pair(dir.join("source"), "/w/d/m");
    let (swaps, mounted) = (AtomicU32::new(0), AtomicU32::new(0));
    while_swapping(&w, &swaps, || {
        let options = ["--rw", &writable, "--rw", &victim, "--ro", &source];
        let out = output(user.sbx().args(options).args(["sh", "-c", "ls -A /v/m; echo ran"]))?;
        let code = out.status.code();
        mounted.fetch_add(u32::from(code == Some(0)), Ordering::Relaxed);
        let fine =
            (code == Some(0) && out.stdout == b"ran\n") || (code == Some(125) && out.stdout.is_empty());
        out.check(fine, || "the right mount or a refusal".to_owned()).map(drop)
    })?;
    let left: Vec<_> = std::fs::read_dir(dir.join("v/m"))?.flatten().collect();
    let (swaps, mounted) = (swaps.into_inner(), mounted.into_inner());
    match () {
        () if !left.is_empty() => Err(format!("made on the host: {left:?}").into()),
        () if swaps < 10_000 || mounted == 100 => {
            Err(format!("no race: {swaps} swaps, {mounted} mounts").into())
        }
        () => Ok(()),
    }
}

fn nothing_is_made_on_the_host(user: &User) -> Verdict {
    plant(user)?;
    let before = Snapshot::of(user.dir())?;
    for op in OPS {
        for dest in ["/w/new", "/w/sub/a/b/c", "/w/sub/file/new"] {
            let out = run_op(user, op, dest, &[])?;
            if matches!(op, "mask" | "read-only") {
                out.exits(0)?.stdout_is("ran\n")?;
            } else if matches!(op, "devpts" | "mqueue" | "private") {
                // Of the base, left out where a bind of the user's has no place for it.
                out.check(matches!(out.status.code(), Some(0 | 125)), || "left out or refused".to_owned())?;
            } else {
                out.check(out.status.code() == Some(125) && out.stdout.is_empty(), || {
                    format!("{op} is refused")
                })?;
            }
            before.same_as(&Snapshot::of(user.dir())?)?;
        }
    }
    let out = run_op(user, "bind-dir", "/w/new", &[])?;
    out.stderr_has("`/w/new`: ")?.stderr_has("where sbx makes nothing\n  hint: ")?;
    Ok(())
}

fn mount_points_are_made_when_asked(user: &User) -> Verdict {
    plant(user)?;
    for (op, dest) in
        [("bind-dir", "new"), ("bind-file", "file"), ("bind-dir", "sub/a/b/c"), ("tmpfs", "tmp")]
    {
        run_op(user, op, &format!("/w/{dest}"), &[("MAKE", "yes")])?.exits(0)?.stdout_is("ran\n")?;
        let made = user.dir().join("w").join(dest);
        if made.is_dir() != (op != "bind-file") || !made.exists() {
            return Err(format!("{dest} was not made").into());
        }
    }
    // Still not behind a planted link.
    run_op(user, "bind-dir", "/w/absolute/new", &[("MAKE", "yes")])?.exits(125)?;
    if user.dir().join("v/new").exists() { Err("made behind the link".into()) } else { Ok(()) }
}

/// A writable bind over a directory in which sbx's own plan has links, files and mounts.
fn the_base_makes_nothing_on_the_host(user: &User) -> Verdict {
    let d = user.mkdir("d")?;
    let home = user.dir().join("home");
    let above = user.dir().parent().unwrap_or(user.dir()).to_owned();
    for dest in ["/var", "/etc", "/dev", "/run", "/tmp", "/var/tmp", "/dev/pts", "/proc/sys", "/e"]
        .map(PathBuf::from)
        .iter()
        .chain([&home, &above])
    {
        let out = output(user.sbx().args(["--rw", &pair(&d, &dest.to_string_lossy()), "true"]))?;
        let left: Vec<_> = std::fs::read_dir(&d)?.flatten().map(|entry| entry.file_name()).collect();
        out.check(left.is_empty(), || format!("nothing made for {}: {left:?}", dest.display()))?;
        let known = matches!(out.status.code(), Some(0 | 125));
        out.check(known, || "runs or is refused".to_owned())?;
    }
    Ok(())
}
