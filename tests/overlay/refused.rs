//! What can't be kept apart: one cause, one remedy, and nothing runs.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{given, kept, names, over, same, tree};
use std::path::Path;
use std::process::Command;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(paths),
        case!(written_by_another_name),
        case!(the_same_twice),
        case!(where_layers_are),
        case!(other_filesystems_in_it).needs(Need::Program("unshare")),
        case!(somewhere_to_keep_it),
        case!(layers_themselves),
        case!(a_filesystem_that_no_layer_can_be_on).needs(Need::Program("unshare")),
    ]
}

fn refused(user: &User, command: &mut Command, why: &str) -> Verdict {
    let out = output(command.args(["sh", "-c", "echo ran"]))?;
    out.exits(125)?.stdout_is("")?.stderr_has(why)?.stderr_has("hint: ")?;
    same(names(user)?, Vec::new(), "the layers")
}

fn paths(user: &User) -> Verdict {
    let file = user.put("file", "")?;
    refused(user, user.sbx().args(["--overlay", "/nonexistent"]), "no such file or directory")?;
    for (path, why) in [
        (file.as_path(), "not a directory"),
        (Path::new("/"), "the root itself"),
        (Path::new("/proc/sys"), "the kernel's"),
        (Path::new("/dev"), "the kernel's"),
    ] {
        let mut sbx = user.sbx();
        let out = output(sbx.arg("--overlay").arg(path).args(["echo", "ran"]))?;
        out.exits(125)?.stdout_is("")?.stderr_has(why)?;
    }
    Ok(())
}

/// The directory itself can be written where it was asked for by another path.
fn written_by_another_name(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let link = user.dir().join("to-tree");
    output(user.command("ln").arg("-s").arg(&tree).arg(&link))?.exits(0)?;
    let alias = format!("{}:/srv/alias", tree.display());
    refused(user, user.sbx().arg("--overlay").arg(&tree).args(["--rw", &alias]), "to be written itself")?;
    refused(user, user.sbx().arg("--overlay").arg(&tree).arg("--rw").arg(&link), "to be written itself")?;
    let mut sbx = user.sbx();
    refused(
        user,
        sbx.current_dir(&tree).args(["--cwd", "rw", "--overlay"]).arg(&link),
        "to be written itself",
    )?;
    // Where nobody looks, what is written there reaches it.
    for directory in ["home/up", "home/work"] {
        user.mkdir(directory)?;
    }
    let mut unmarked = user.edited("unmarked");
    given(&mut unmarked, &tree).args(["--rw", &alias, "sh", "-c", "echo x >file; echo y >/srv/alias/other"]);
    output(&mut unmarked)?.exits(0)?;
    let texts = ["file", "other"].map(|name| std::fs::read_to_string(tree.join(name)).unwrap_or_default());
    same(texts, ["the first\n", "y\n"].map(str::to_owned), "without the look it has")
}

fn the_same_twice(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let link = user.dir().join("to-tree");
    output(user.command("ln").arg("-s").arg(&tree).arg(&link))?.exits(0)?;
    refused(user, user.sbx().arg("--overlay").arg(&tree).arg("--overlay").arg(&link), "the same directory")?;
    // By the same path it is one wish.
    let mut sbx = user.sbx();
    output(sbx.arg("--overlay").arg(&tree).arg("--overlay").arg(&tree).arg("true"))?.exits(0)?;
    Ok(())
}

/// The kernel takes no upper dir that lies in a lower dir.
fn where_layers_are(user: &User) -> Verdict {
    let mut sbx = user.sbx();
    refused(user, sbx.args(["--cwd", "none", "--overlay"]).arg(user.home()), "layers are kept in it")?;
    // Elsewhere they may be.
    let state = user.mkdir("state")?;
    let mut sbx = user.sbx();
    sbx.env("XDG_STATE_HOME", &state).args(["-q", "--cwd", "none", "--overlay"]).arg(user.home());
    let script = format!("echo x >{0}/new; ls {0}", user.home().display());
    output(sbx.args(["sh", "-c", &script]))?.exits(0)?.stdout_has("new\n")?;
    same(user.home().join("new").exists(), false, "it was written")?;
    same(state.join("sbx/layers/home-1/upper/new").exists(), true, "it was kept")
}

/// An overlay would show what lies below them.
fn other_filesystems_in_it(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let script = "mount -t tmpfs none \"$1/directory\" && shift && exec \"$@\"";
    let mut unshare = user.command("unshare");
    unshare.args(["-rm", "sh", "-c", script, "sh"]).arg(&tree).arg(user.sbx_path());
    unshare.args(["--cwd", "none", "--overlay"]).arg(&tree);
    refused(user, &mut unshare, "is another filesystem in it")
}

/// Where a layer can't be made nothing runs.
fn somewhere_to_keep_it(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let state = user.put("state", "a file")?;
    let mut sbx = user.sbx();
    sbx.env("XDG_STATE_HOME", &state).arg("--overlay").arg(&tree);
    refused(user, &mut sbx, "cannot write the layer")?;
    same(kept(user).exists(), false, "it was made elsewhere")
}

/// What is in a layer is another sandbox's.
fn layers_themselves(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q"], "echo x >directory/x")?.exits(0)?;
    let mut sbx = user.sbx();
    sbx.args(["--cwd", "none", "--overlay"]).arg(kept(user).join("tree-1/upper/directory"));
    let out = output(sbx.args(["sh", "-c", "echo ran"]))?;
    out.exits(125)?.stdout_is("")?.stderr_has("where layers are kept")?;
    // A home that is kept is written by its own name.
    let private = user.mkdir("home/.local/share/sbx/home/shell/sub")?;
    let mut sbx = user.sbx();
    sbx.args(["--profile", "shell", "--set", "home.mode=private", "--overlay"]).arg(private);
    output(sbx.args(["sh", "-c", "echo ran"]))?.exits(125)?.stderr_has("to be written itself")?;
    same(names(user)?, vec!["tree-1".to_owned()], "the layers")
}

/// Such as another overlay.
fn a_filesystem_that_no_layer_can_be_on(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let script = "cd \"$1\" && mkdir low up work state && \
                  mount -t overlay -o userxattr,lowerdir=low,upperdir=up,workdir=work none state && \
                  export XDG_STATE_HOME=\"$1/state\" && shift && exec \"$@\"";
    let mut unshare = user.command("unshare");
    unshare.args(["-rm", "sh", "-c", script, "sh"]).arg(user.mkdir("place")?).arg(user.sbx_path());
    unshare.args(["--cwd", "none", "--overlay"]).arg(&tree);
    refused(user, &mut unshare, "can't be part of an overlay")
}
