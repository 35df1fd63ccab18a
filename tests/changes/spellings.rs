//! Whiteouts and opaque directories in every way that overlays write them.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Ground, set_attribute};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(devices),
        case!(files_with_an_attribute),
        case!(opaque_directories),
        case!(trusted_attributes).only_as_root(),
        case!(files_by_name),
        case!(fuse_overlayfs)
            .only_as_root()
            .needs(Need::Program("fuse-overlayfs"))
            .needs(Need::Other(|_| (!Path::new("/dev/fuse").exists()).then(|| "no /dev/fuse".to_owned()))),
        case!(elsewhere),
    ]
}

const FILL: &str = "mkdir -p d/sub; echo a >a; echo x >d/x; echo y >d/sub/y";

fn ground(user: &User) -> Result<Ground<'_>, libtest_mimic::Failed> {
    let ground = Ground::new(user, FILL)?;
    user.mkdir(ground.layer.join("upper/d"))?;
    Ok(ground)
}

fn upper(ground: &Ground<'_>, path: &str) -> PathBuf {
    ground.layer.join("upper").join(path)
}

fn devices(user: &User) -> Verdict {
    let ground = ground(user)?;
    let names = ["a", "d/sub", "d/never"].map(|name| upper(&ground, name));
    for name in &names {
        output(user.command("mknod").arg(name).args(["c", "0", "0"]))?.exits(0)?;
    }
    ground.differs(&["D  a", "D  d/sub/  (with 1 entry)"])?;
    ground.sbx(&["apply"])?.exits(0)?;
    let gone = !ground.dir.join("a").exists() && !ground.dir.join("d/sub").exists();
    if gone && ground.dir.join("d/x").exists() { Ok(()) } else { Err("not the two are gone".into()) }
}

/// Only empty files, in a directory that says so.
fn files_with_an_attribute(user: &User) -> Verdict {
    let ground = ground(user)?;
    for (name, text) in [("d/x", ""), ("d/sub", "full")] {
        set_attribute(&user.put(upper(&ground, name), text)?, "user.overlay.whiteout", b"y")?;
    }
    ground.differs(&["T  d/sub  (directory -> file, with 1 entry)", "M  d/x"])?;
    set_attribute(&upper(&ground, "d"), "user.overlay.opaque", b"x")?;
    ground.differs(&["T  d/sub  (directory -> file, with 1 entry)", "D  d/x"])
}

fn opaque_directories(user: &User) -> Verdict {
    let ground = ground(user)?;
    user.put(upper(&ground, "d/sub/new"), "")?;
    for (value, lines) in [
        (&b"n"[..], &["A  d/sub/new"][..]),
        (b"x", &["A  d/sub/new"]),
        // What is below is hidden as well.
        (b"y", &["A  d/sub/new", "D  d/sub/y", "D  d/x"]),
    ] {
        set_attribute(&upper(&ground, "d"), "user.overlay.opaque", value)?;
        ground.differs(lines)?;
    }
    Ok(())
}

/// As overlays write them that root has mounted.
fn trusted_attributes(user: &User) -> Verdict {
    let ground = ground(user)?;
    set_attribute(&upper(&ground, "d"), "trusted.overlay.opaque", b"y")?;
    ground.differs(&["D  d/sub/  (with 1 entry)", "D  d/x"])?;
    set_attribute(&user.put(upper(&ground, "d/x"), "")?, "trusted.overlay.whiteout", b"")?;
    set_attribute(&upper(&ground, "d"), "trusted.overlay.opaque", b"x")?;
    ground.differs(&["D  d/x"])
}

/// Where the kernel has made the layer these are files like any other.
fn files_by_name(user: &User) -> Verdict {
    let ground = ground(user)?;
    user.put(upper(&ground, ".wh.a"), "")?;
    user.put(upper(&ground, "d/.wh..wh..opq"), "")?;
    user.put(upper(&ground, "d/sub"), "now a file")?;
    ground.differs(&["D  a", "T  d/sub  (directory -> file, with 1 entry)", "D  d/x"])?;
    let work = user.mkdir(ground.layer.join("work/work"))?;
    fs::set_permissions(work, fs::Permissions::from_mode(0o000))?;
    ground.differs(&["A  .wh.a", "A  d/.wh..wh..opq", "T  d/sub  (directory -> file, with 1 entry)"])?;
    fs::set_permissions(ground.layer.join("work/work"), fs::Permissions::from_mode(0o700))?;
    ground.sbx(&["apply"])?.exits(0)?;
    let left: Vec<_> = fs::read_dir(&ground.dir)?.flatten().map(|entry| entry.file_name()).collect();
    if left == ["d"] && ground.dir.join("d/sub").is_file() {
        Ok(())
    } else {
        Err(format!("{left:?} is left").into())
    }
}

/// What the program itself makes.
fn fuse_overlayfs(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    let place = user.mkdir("overlay")?;
    let script = "fuse-overlayfs -o \"lowerdir=$1,upperdir=$2/upper,workdir=$2/work\" \"$3\" && cd \"$3\" &&
        rm a && rm -r d && mkdir d && echo n >d/n && mkdir new && cd / && umount \"$3\"";
    let mut command = user.command("unshare");
    command.args(["-Urm", "sh", "-c", script, "sh"]).arg(&ground.dir).arg(&ground.layer).arg(place);
    output(&mut command)?.exits(0)?;
    ground.differs(&["D  a", "A  d/n", "D  d/sub/  (with 1 entry)", "D  d/x", "A  new/"])
}

/// Its overlay was allowed to keep a part of it under another name.
fn elsewhere(user: &User) -> Verdict {
    let ground = ground(user)?;
    set_attribute(&upper(&ground, "d"), "user.overlay.redirect", b"/elsewhere")?;
    for verb in ["diff", "apply"] {
        ground.sbx(&[verb])?.exits(125)?.stdout_is("")?.stderr_has("cannot compare `d`: ")?;
    }
    Ok(())
}
