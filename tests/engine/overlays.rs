//! Overlays: layers with odd names, read-only, with writes in memory, with writes in a directory.

use crate::common::edited::Edit;
use crate::common::{Case, Need, Snapshot, User, Verdict, case};
use crate::probe::{add, edited_sh, user_dir};
use sbx::plan::{BindSource, MountOp, OverlayUpper, Plan};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

pub(crate) const EDITS: &[Edit] = &[
    ("overlay-ro", |plan| overlay(plan, layers(&user_dir()), OverlayUpper::None)),
    ("overlay-tmpfs", |plan| {
        overlay(
            plan,
            layers(&user_dir()),
            OverlayUpper::Tmpfs { size: 256 << 10, inodes: 50, otherwise: None },
        )
    }),
    ("overlay-dir", |plan| {
        let dir = user_dir().join(odd(b"up,per:=\\"));
        let upper = OverlayUpper::Directory { upper: dir.join("upper"), work: dir.join("work") };
        overlay(plan, layers(&user_dir()), upper);
    }),
    ("overlay-one", |plan| {
        let lower = layers(&user_dir()).into_iter().take(1).collect();
        overlay(plan, lower, OverlayUpper::Tmpfs { size: 1 << 20, inodes: 50, otherwise: None });
    }),
    ("overlay-many", |plan| {
        let lower = (0..60).map(|n| BindSource::Path(user_dir().join(format!("many/{n}")))).collect();
        overlay(plan, lower, OverlayUpper::None);
    }),
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(the_topmost_layer_wins),
        case!(writes_stay_in_memory),
        case!(directories_go_in_memory).needs(Need::Kernel(6, 6)),
        case!(writes_land_in_the_upper_directory),
        case!(one_layer_and_sixty),
        case!(a_missing_layer_is_refused),
    ]
}

fn odd(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Three layers, topmost first.
fn layer_paths(dir: &Path) -> [PathBuf; 3] {
    let name: [&[u8]; 3] = [b"top,comma=x", b"mid:colon\\back slash", b"low \n\xff\xfe\tnot UTF-8"];
    name.map(|name| dir.join(odd(name)))
}

fn layers(dir: &Path) -> Vec<BindSource> {
    layer_paths(dir).into_iter().map(BindSource::Path).collect()
}

fn overlay(plan: &mut Plan, lower: Vec<BindSource>, upper: OverlayUpper) {
    add(plan, "/e/o", MountOp::Overlay { lower, upper });
}

/// Layers in which `all` is in each, `two` in the lower two, `one` in the lowest.
fn make_layers(user: &User) -> Verdict {
    let paths = layer_paths(user.dir());
    for (number, path) in paths.iter().enumerate() {
        for file in ["all", "two", "one"].iter().take(number + 1) {
            user.put(path.join(file), format!("{number}\n"))?;
        }
        user.put(path.join(format!("dir/{number}")), "")?;
    }
    Ok(())
}

fn snapshots(user: &User) -> Result<Vec<Snapshot>, libtest_mimic::Failed> {
    layer_paths(user.dir()).iter().map(Snapshot::of).collect()
}

fn unchanged(user: &User, before: &[Snapshot]) -> Verdict {
    before.iter().zip(snapshots(user)?).try_for_each(|(before, after)| before.same_as(&after))
}

fn the_topmost_layer_wins(user: &User) -> Verdict {
    make_layers(user)?;
    let before = snapshots(user)?;
    let script = "cd /e/o; cat all two one; ls dir; for f in all new dir/new; do (echo x >$f) 2>&1; done";
    let out = edited_sh(user, "overlay-ro", script)?;
    out.stdout_has("0\n1\n2\n0\n1\n2\n")?;
    out.check(out.text().matches("Read-only file system").count() == 3, || "three refusals".to_owned())?;
    unchanged(user, &before)
}

const CHANGE: &str = "cd /e/o && echo changed >all && rm two && mkdir new && echo x >new/x";

/// A tmpfs has no `user.` attributes before Linux 6.6, without which no directory of a layer can be removed.
const REMOVE: &str = " && rm -r dir && mkdir dir";

const LOOK: &str = "; cd /e/o; cat all; ls . dir";

fn writes_stay_in_memory(user: &User) -> Verdict {
    make_layers(user)?;
    let before = snapshots(user)?;
    edited_sh(user, "overlay-tmpfs", &format!("{CHANGE}{LOOK}"))?
        .exits(0)?
        .stdout_is("changed\n.:\nall\ndir\nnew\none\n\ndir:\n0\n1\n2\n")?;
    unchanged(user, &before)?;
    edited_sh(user, "overlay-tmpfs", "cd /e/o; cat all two; head -c 1000000 /dev/zero >big; echo $?")?
        .stdout_is("0\n1\n1\n")?
        .stderr_has("No space left")?;
    edited_sh(
        user,
        "overlay-tmpfs",
        "cd /e/o; i=0; while [ $i -lt 60 ]; do : >n$i || exit 5; i=$((i+1)); done",
    )?
    .stderr_has("No space left")?;
    unchanged(user, &before)
}

fn directories_go_in_memory(user: &User) -> Verdict {
    make_layers(user)?;
    let before = snapshots(user)?;
    edited_sh(user, "overlay-tmpfs", &format!("{CHANGE}{REMOVE}{LOOK}"))?
        .exits(0)?
        .stdout_is("changed\n.:\nall\ndir\nnew\none\n\ndir:\n")?;
    unchanged(user, &before)
}

fn writes_land_in_the_upper_directory(user: &User) -> Verdict {
    make_layers(user)?;
    let dir = user.dir().join(odd(b"up,per:=\\"));
    user.mkdir(dir.join("upper"))?;
    user.mkdir(dir.join("work"))?;
    let before = snapshots(user)?;
    edited_sh(user, "overlay-dir", &format!("{CHANGE}{REMOVE}"))?.exits(0)?;
    unchanged(user, &before)?;
    let upper = dir.join("upper");
    let whiteout = fs::symlink_metadata(upper.join("two"))?.file_type().is_char_device();
    if !whiteout || fs::read(upper.join("all"))? != b"changed\n" || fs::read(upper.join("new/x"))? != b"x\n" {
        return Err("the upper directory does not hold the changes".into());
    }
    // A second run continues where the first ended.
    edited_sh(user, "overlay-dir", "cd /e/o; cat all; ls . dir")?
        .exits(0)?
        .stdout_is("changed\n.:\nall\ndir\nnew\none\n\ndir:\n")?;
    Ok(())
}

fn one_layer_and_sixty(user: &User) -> Verdict {
    make_layers(user)?;
    edited_sh(user, "overlay-one", "cat /e/o/all; echo y >/e/o/y && cat /e/o/y")?
        .exits(0)?
        .stdout_is("0\ny\n")?;
    for number in 0..60 {
        user.put(format!("many/{number}/file"), format!("{number}\n"))?;
        user.put(format!("many/{number}/n{number}"), "")?;
    }
    edited_sh(user, "overlay-many", "cat /e/o/file; ls /e/o | wc -l")?.exits(0)?.stdout_is("0\n61\n")?;
    Ok(())
}

fn a_missing_layer_is_refused(user: &User) -> Verdict {
    let out = edited_sh(user, "overlay-ro", "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("top,comma=x`: no such file or directory")?;
    Ok(())
}
