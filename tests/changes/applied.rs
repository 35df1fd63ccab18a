//! What `sbx apply` makes of a directory.

use crate::common::{Case, User, Verdict, case};
use crate::stage::{Ground, NAME, OVERLAY, equal, same, set_attribute, tree};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(everything).needs(OVERLAY),
        case!(some_of_it).needs(OVERLAY),
        case!(a_dry_run).needs(OVERLAY),
        case!(attributes_and_access).needs(OVERLAY),
        case!(holes),
        case!(set_id_only_by_name),
        case!(what_stays),
        case!(a_closed_directory).needs(OVERLAY),
    ]
}

const FILL: &str = "mkdir -p d/sub old keep swap; echo a >a; echo b >b; echo x >d/sub/x; echo y >d/y; echo o >old/o; ln -s a link; echo k >keep/k; echo t >t; echo s >swap/s; ln b hard";
const SCRIPT: &str = "rm a; echo c >>b; rm -r d; mkdir d; echo n >d/n; mv old new; chmod 700 keep; ln -sfn b link; rm t; mkdir t; echo in >t/in; rm -r swap; echo file >swap
    mkdir -p deep/er/still; echo 1 >deep/er/still/f; ln deep/er/still/f deep/g; mkfifo -m 640 pipe; touch -d 2001-02-03 past; chmod 604 past; echo odd >\"$(printf 'n\\377\\n')\"; ln -s nowhere dangling; chmod 755 .";

fn everything(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    let merged = ground.change(SCRIPT)?;
    let shown = ground.diff()?;
    ground.sbx(&["apply"])?.exits(0)?.stderr_is("")?.stdout_is(&shown)?;
    same(&ground.dir, &merged)?;
    // The name that was not changed has the old file still.
    if fs::read(ground.dir.join("hard"))? != b"b\n" {
        return Err("the other name of what was changed was changed, too".into());
    }
    if ground.layer.exists() || !ground.left_over().is_empty() {
        return Err(format!("left over: {:?}", ground.left_over()).into());
    }
    ground.sbx(&["apply", NAME])?.exits(1)?;
    Ok(())
}

/// The rest stays a difference, and comes by the next.
fn some_of_it(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    let merged = ground.change(SCRIPT)?;
    let before = tree(&ground.dir)?;
    let after = tree(&merged)?;
    let all = ground.diff()?;
    // A new directory comes with what is named in it, and what a directory hides stays hidden.
    let parts = ["d/n", "deep/er/still", "b", "t/in", "link", "old", "swap"];
    let mut arguments = vec!["apply", NAME];
    arguments.extend(parts);
    let output = ground.sbx(&arguments)?;
    output.exits(0)?.stderr_is("")?;
    let (chosen, rest): (Vec<&str>, Vec<&str>) =
        all.lines().partition(|line| output.text().lines().any(|printed| printed == *line));
    output.check(chosen.len() == 11, || "11 lines".to_owned())?;
    ground.differs(&rest)?;
    let now = tree(&ground.dir)?;
    let wanted = |path: &std::path::Path| parts.iter().any(|part| path.starts_with(part));
    for (path, text) in &now {
        let expected = if wanted(path) { after.get(path) } else { before.get(path).or(after.get(path)) };
        // The first name of a file may be one that has not come yet.
        let is_linked = text.contains("\"deep/");
        let is_above = parts.iter().any(|part| std::path::Path::new(part).starts_with(path));
        if expected != Some(text) && !is_above && !is_linked && !path.starts_with("hard") {
            return Err(format!("{path:?} is {text}, not {expected:?}").into());
        }
    }
    ground.sbx(&["apply"])?.exits(0)?.stderr_is("")?;
    let unlinked = |tree: std::collections::BTreeMap<std::path::PathBuf, String>| {
        tree.into_iter()
            .map(|(path, text)| (path, text.replace("\"deep/er/still/f\"", "\"deep/g\"")))
            .collect()
    };
    equal(&unlinked(tree(&ground.dir)?), &unlinked(after))?;
    if ground.left_over().is_empty() {
        Ok(())
    } else {
        Err(format!("{:?} is left", ground.left_over()).into())
    }
}

fn a_dry_run(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    ground.change(SCRIPT)?;
    let before = (tree(&ground.dir)?, tree(&ground.layer.join("upper"))?);
    let shown = ground.diff()?;
    ground.sbx(&["apply", "--dry-run"])?.exits(0)?.stderr_is("")?.stdout_is(&shown)?;
    equal(&tree(&ground.dir)?, &before.0)?;
    equal(&tree(&ground.layer.join("upper"))?, &before.1)
}

/// Of files and directories; what an overlay has marked for itself is not carried over.
fn attributes_and_access(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir d; echo f >f; echo g >g")?;
    for name in ["d", "f", "g"] {
        set_attribute(&ground.dir.join(name), "user.old", b"1")?;
    }
    ground.record(&ground.layer)?;
    ground.change(": >>f; : >>g; chmod 700 d; chmod 600 f")?;
    let upper = ground.layer.join("upper");
    for name in ["d", "f"] {
        set_attribute(&upper.join(name), "user.new", b"\0\xff")?;
        let path = std::ffi::CString::new(upper.join(name).to_string_lossy().as_bytes())?;
        sbx::sys::xattr::remove_at(&path, c"user.old")?;
    }
    ground.differs(&["M  d/  (mode 0755 -> 0700, attributes)", "M  f  (mode 0644 -> 0600, attributes)"])?;
    let wanted = tree(&upper)?;
    ground.sbx(&["apply"])?.exits(0)?;
    equal(&tree(&ground.dir)?, &wanted)?;
    let list = |name: &str| -> Result<Vec<u8>, libtest_mimic::Failed> {
        Ok(sbx::sys::xattr::names_at(&std::ffi::CString::new(
            ground.dir.join(name).to_string_lossy().as_bytes(),
        )?)?)
    };
    for name in ["d", "f"] {
        if list(name)? != b"user.new\0" {
            return Err(format!("{name} has {:?}", String::from_utf8_lossy(&list(name)?)).into());
        }
    }
    Ok(())
}

fn holes(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    let path = user.put(ground.layer.join("upper/big"), "begin")?;
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    file.set_len(1 << 40)?;
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 1 << 30)?;
    ground.sbx(&["apply"])?.exits(0)?.stderr_is("")?;
    let applied = fs::File::open(ground.dir.join("big"))?;
    let mut part = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&applied, &mut part, 1 << 30)?;
    let meta = applied.metadata()?;
    if &part == b"middle" && meta.len() == 1 << 40 && meta.blocks() < 1 << 12 {
        Ok(())
    } else {
        Err(format!("{part:?} {meta:?}").into())
    }
}

fn set_id_only_by_name(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir d")?;
    for name in ["d/tool", "plain"] {
        user.put_program(ground.layer.join("upper").join(name), "#!/bin/sh\n")?;
    }
    fs::set_permissions(ground.layer.join("upper/d/tool"), fs::Permissions::from_mode(0o4755))?;
    for arguments in [&["apply"][..], &["apply", "--", "d"]] {
        ground.sbx(arguments)?.exits(1)?.stdout_is("")?.stderr_has("    d/tool: set-id: ")?;
    }
    ground.sbx(&["apply", "--", "plain"])?.exits(0)?;
    ground.sbx(&["apply", "--", "d/tool"])?.exits(0)?.stdout_has("! new executable, set-id")?;
    let mode = fs::metadata(ground.dir.join("d/tool"))?.permissions().mode();
    if mode & 0o7777 == 0o4755 { Ok(()) } else { Err(format!("mode {mode:o}").into()) }
}

/// A socket is left in the layer, with a warning; so the layer is, too.
fn what_stays(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    user.put(ground.layer.join("upper/file"), "")?;
    let socket = ground.layer.join("upper/socket");
    drop(std::os::unix::net::UnixListener::bind(&socket)?);
    std::os::unix::fs::chown(&socket, Some(user.uid()), Some(user.gid()))?;
    ground
        .sbx(&["apply"])?
        .exits(0)?
        .stdout_is("A  file\n")?
        .stderr_has("sbx: warning: cannot apply `socket`: ")?;
    if !ground.dir.join("file").exists() || ground.dir.join("socket").exists() {
        return Err("not the file alone".into());
    }
    ground.differs(&["A  socket  ! special file"])
}

/// Its owner can open it, and so can who deletes it.
fn a_closed_directory(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir -p d/e open; echo x >d/e/x; chmod 555 d/e; chmod 555 open")?;
    let merged = ground.change(
        "chmod 755 d/e; rm -r d; chmod 755 open; echo y >open/y; mkdir new; echo z >new/z; chmod 555 new",
    )?;
    ground.sbx(&["apply"])?.exits(0)?.stderr_is("")?;
    same(&ground.dir, &merged)
}
