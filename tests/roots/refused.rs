//! What can't be a root or a layer: one cause, one remedy, and nothing runs.

use crate::common::{Case, User, Verdict, case, output};
use crate::stage::{kept, on, root};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(somebody_elses).only_as_user(),
        case!(paths),
        case!(combinations),
        case!(too_many),
        case!(names_of_layers),
    ]
}

fn refused(user: &User, arguments: &[&str], why: &str) -> Verdict {
    let out = output(user.sbx().args(arguments).args(["sh", "-c", "echo ran"]))?;
    out.exits(125)?.stdout_is("")?.stderr_has(why)?;
    let lines = out.errors().lines().filter(|line| line.starts_with("sbx: ")).count();
    out.check(lines == 1, || format!("one cause, not {lines}"))?;
    Ok(())
}

/// No mount point can be made there without its owner's id in the map.
fn somebody_elses(user: &User) -> Verdict {
    refused(user, &["--root", "/usr", "--tmpfs", "/lib/mine"], "somebody else's in the root filesystem")
}

fn paths(user: &User) -> Verdict {
    let file = user.put("file", "")?;
    let file = file.to_str().ok_or("a path that is no text")?;
    refused(user, &["--root", "/nonexistent"], "/nonexistent")?;
    refused(user, &["--root", ""], "it is empty")?;
    refused(user, &["--root", file], "not a directory")?;
    refused(user, &["--root", "image:debian"], "cannot find the image `debian`")?;
    let root = root(user, "root")?;
    let root = root.to_str().ok_or("a path that is no text")?;
    refused(user, &["--root", root, "--layer", "/nonexistent"], "/nonexistent")?;
    refused(user, &["--root", root, "--layer", file], "not a directory")?;
    refused(user, &["--root", root, "--set", "filesystem.writable=/dev/null"], "/dev/null")?;
    Ok(())
}

fn combinations(user: &User) -> Verdict {
    refused(user, &["--layer", "/usr"], "cannot put layers over the host's system")?;
    refused(user, &["--set", "filesystem.writable=layer:mine"], "cannot keep a writable layer")?;
    if kept(user, "mine").exists() {
        return Err("no layer should be made".into());
    }
    Ok(())
}

fn too_many(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let layer = user.mkdir("layer")?;
    let mut sbx = on(user, &root);
    for _ in 0..180 {
        sbx.arg("--layer").arg(&layer);
    }
    let out = output(sbx.arg("true"))?;
    out.exits(125)?.stderr_has("cannot stack 181 layers: the kernel takes at most 180")?;
    Ok(())
}

fn names_of_layers(user: &User) -> Verdict {
    for name in ["", ".", "..", "a/b", "../up", "-x", ".x"] {
        refused(
            user,
            &["--root", "/usr", "--set", &format!("filesystem.writable=layer:{name}")],
            "layer's name",
        )?;
    }
    Ok(())
}
