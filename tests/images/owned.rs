//! With subordinate ids the files of an image have their owners, modes and attributes.

use crate::common::{Case, Need, User, Verdict, case, first_id};
use crate::stage::{Layer, busybox, image, import, layout, run, stored};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use tar::EntryType;

pub(crate) fn cases() -> Vec<Case> {
    let mapped = |case: Case| case.only_as_user().needs(Need::SubordinateIds).needs(Need::Program("busybox"));
    vec![mapped(case!(as_the_image_has_them)), mapped(case!(too_high))]
}

pub(crate) const DISTRO: [&str; 3] = ["--profile", "distro", "--"];

/// A layer whose members have an owner.
pub(crate) fn owned(layer: Layer, uid: &str, gid: &str) -> Layer {
    layer.pax("uid", uid.as_bytes()).pax("gid", gid.as_bytes())
}

fn as_the_image_has_them(user: &User) -> Verdict {
    let first = owned(busybox()?, "0", "42").member(EntryType::Regular, b"shadow", b"", 0o640, b"secret");
    let first = owned(first, "8", "8").dir("mail", 0o2775);
    let first = owned(first, "8", "0").file("mail/box", "x");
    let first = owned(first, "8", "0").hard("mail/again", b"mail/box");
    let first = owned(first, "33", "33").link("link", b"mail");
    let first = first.member(EntryType::Regular, b"su", b"", 0o4755, b"x").file("plain", "x");
    // A layer that says nothing of a directory, one that hides a file, and one that makes it another's.
    let second = owned(Layer::default(), "9", "9").file("mail/new", "x");
    let second = owned(second, "65536", "1").file("shadow", "y").file(".wh.su", "");
    let path = layout(user, "image", vec![first.into(), second.into()], "")?;
    import(user, &path, &["x"])?.exits(0)?;
    let look = "cd /; id -u; stat -c '%n %u:%g %a %h' shadow mail mail/box mail/again mail/new link plain; cat shadow; ls su 2>/dev/null";
    let out = run(user, "x", &[&DISTRO[..], &["/bin/sh", "-c", look]].concat())?;
    out.stdout_is(
        "0\nshadow 65536:1 644 1\nmail 8:8 2775 1\nmail/box 8:0 644 2\nmail/again 8:0 644 2\nmail/new 9:9 644 1\n\
         link 33:33 777 1\nplain 0:0 644 1\ny",
    )?;
    // The one id of a sandbox without them is every file's; nothing of the others shows.
    let out = run(user, "x", &["--", "/bin/sh", "-c", "stat -c '%u %a' /mail"])?;
    out.exits(0)?.stdout_is(&format!("{} 775\n", user.uid()))?;
    // Outside they are the subordinate ids, where nobody else comes, and they go with the layers.
    let first = first_id("/etc/subuid", user.uid()).unwrap_or(0);
    let is_there = stored(user).iter().any(|layer| {
        fs::symlink_metadata(layer.join("owned/mail")).is_ok_and(|found| found.uid() == first + 7)
    });
    if !is_there {
        return Err("no layer has the directory with its owner".into());
    }
    image(user, &["rm", "x"].map(OsStr::new))?.exits(0)?;
    image(user, &[OsStr::new("gc")])?.exits(0)?.stdout_is("2 layers removed\n")?;
    if stored(user).is_empty() { Ok(()) } else { Err("layers are left".into()) }
}

/// An owner that is none of the caller's ids: the image runs without such ids alone.
fn too_high(user: &User) -> Verdict {
    let layer = owned(busybox()?, "3000000000", "0").file("high", "x");
    import(user, &layout(user, "image", vec![layer.into()], "")?, &["x"])?.exits(0)?;
    run(user, "x", &["--", "/bin/cat", "/high"])?.exits(0)?.stdout_is("x")?;
    let out = run(user, "x", &[&DISTRO[..], &["/bin/cat", "/high"]].concat())?;
    out.exits(125)?.stdout_is("")?.stderr_has("an owner of its files is none of them")?;
    Ok(())
}
