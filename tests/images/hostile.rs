//! Members that try to get out of their layer, or to leave something dangerous in it. GNU tar, told to trust the archive, is the
//! control: what it does to the victim is what the store would have done.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Layer, below, import, layout, stored, tree};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::EntryType;

pub(crate) fn cases() -> Vec<Case> {
    let tar = || Need::Program("tar");
    vec![
        case!(climbs).needs(tar()),
        case!(absolute).needs(tar()),
        case!(through_a_link).needs(tar()),
        case!(through_a_link_of_a_lower_layer).needs(tar()),
        case!(hard_link_outside).needs(tar()),
        case!(devices_and_set_id),
        case!(markers_of_overlays),
        case!(duplicates),
        case!(names_of_any_bytes),
        case!(whiteouts_of_no_name),
        case!(large_extension),
        case!(closed_directories),
    ]
}

/// A directory outside with a file that must stay as it is.
fn victim(user: &User) -> Result<PathBuf, Failed> {
    let victim = user.mkdir("victim")?;
    user.put(victim.join("file"), "untouched\n")?;
    Ok(victim)
}

/// What was done to it.
fn done(victim: &Path) -> Result<String, Failed> {
    let mut done = String::new();
    for entry in fs::read_dir(victim)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let text = fs::read_to_string(entry.path())?;
        if entry.file_name() != "file" || metadata.nlink() != 1 || text != "untouched\n" {
            done += &format!("{:?} links {} {text:?}\n", entry.file_name(), metadata.nlink());
        }
    }
    Ok(done)
}

/// GNU tar does it to the victim, so that the look at it can fail.
fn control(user: &User, victim: &Path, layers: &[Vec<u8>]) -> Verdict {
    let place = user.mkdir("control/a/b")?;
    for (index, layer) in layers.iter().enumerate() {
        let archive = user.put(format!("layer{index}.tar"), layer)?;
        output(
            user.command("tar")
                .arg("-C")
                .arg(&place)
                .args(["-P", "--keep-directory-symlink", "-xf"])
                .arg(archive),
        )?;
    }
    if done(victim)?.is_empty() { Err("the control did nothing to the victim".into()) } else { Ok(()) }
}

/// The import is refused, and nothing is left of it.
fn refused(user: &User, layers: Vec<Layer>, why: &str) -> Verdict {
    let victim = user.dir().join("victim");
    let image = layout(user, "image", layers.into_iter().map(Into::into).collect(), "")?;
    let out = import(user, &image, &["x"])?;
    out.exits(125)?.stdout_is("")?.stderr_has("cannot unpack the layer sha256:")?.stderr_has(why)?;
    out.check(stored(user).is_empty(), || format!("nothing left but {:?}", stored(user)))?;
    if victim.exists() {
        let done = done(&victim)?;
        out.check(done.is_empty(), || format!("nothing done to the victim but {done}"))?;
    }
    fs::remove_dir_all(image)?;
    Ok(())
}

fn imported(user: &User, layers: Vec<Layer>) -> Verdict {
    let image = layout(user, "image", layers.into_iter().map(Into::into).collect(), "")?;
    import(user, &image, &["x"])?.exits(0)?.stdout_is("x:latest\n")?.stderr_is("")?;
    Ok(())
}

fn climbs(user: &User) -> Verdict {
    let victim = victim(user)?;
    let layer = |name: &str| Layer::default().file("fine", "").file(name, "written\n");
    for name in ["../../../victim/file", "a/../../../../victim/file", "a/..", ".."] {
        refused(user, vec![layer(name)], "its path has a `..`")?;
    }
    control(user, &victim, &[layer("../../../victim/file").end()])
}

/// An absolute member lies in the layer.
fn absolute(user: &User) -> Verdict {
    let victim = victim(user)?;
    let name = victim.join("new");
    let layer = || Layer::default().file(&name.to_string_lossy(), "written\n");
    imported(user, vec![layer()])?;
    let inside = tree(user)?.join(name.strip_prefix("/")?);
    if fs::read_to_string(inside)? != "written\n" || !done(&victim)?.is_empty() {
        return Err(format!("the victim: {}", done(&victim)?).into());
    }
    control(user, &victim, &[layer().end()])
}

fn through_a_link(user: &User) -> Verdict {
    let victim = victim(user)?;
    let target = victim.as_os_str().as_encoded_bytes();
    let layer = |name: &str| Layer::default().link("link", target).file(name, "written\n");
    refused(user, vec![layer("link/new")], "below something that is no directory")?;
    refused(user, vec![layer("link/new/deep")], "below something that is no directory")?;
    // The link itself is replaced, not what it leads to, and nothing is hidden there.
    let marks = Layer::default().link("link", target).file("link/.wh.file", "").file("link/.wh..wh..opq", "");
    imported(user, vec![marks.file("link", "written\n")])?;
    if !done(&victim)?.is_empty() || fs::read_to_string(tree(user)?.join("link"))? != "written\n" {
        return Err("a link was written through".into());
    }
    control(user, &victim, &[layer("link/new").end()])
}

fn through_a_link_of_a_lower_layer(user: &User) -> Verdict {
    let victim = victim(user)?;
    let target = victim.as_os_str().as_encoded_bytes();
    let lower = || Layer::default().link("link", target).dir("etc", 0o750);
    let upper = || Layer::default().file("link/new", "written\n").file("etc/new", "");
    imported(user, vec![lower(), upper()])?;
    if !done(&victim)?.is_empty() || stored(user).len() != 2 {
        return Err("a link of a lower layer was followed".into());
    }
    control(user, &victim, &[lower().end(), upper().end()])
}

fn hard_link_outside(user: &User) -> Verdict {
    let victim = victim(user)?;
    let file = victim.join("file");
    let target = file.as_os_str().as_encoded_bytes();
    let why = "a hard link to what is not in this layer";
    refused(user, vec![Layer::default().hard("mine", target)], why)?;
    refused(user, vec![Layer::default().hard("mine", b"../../../victim/file")], "`..`")?;
    let through =
        Layer::default().link("link", victim.as_os_str().as_encoded_bytes()).hard("mine", b"link/file");
    refused(user, vec![through], why)?;
    refused(user, vec![Layer::default().file(".wh.gone", "").hard("mine", b"gone")], why)?;
    refused(user, vec![Layer::default().dir("d", 0o755).hard("mine", b"d")], "a hard link to a directory")?;
    // Its target would go with what it replaces.
    refused(user, vec![Layer::default().file("d/f", "").hard("d", b"d/f")], why)?;
    control(user, &victim, &[Layer::default().hard("mine", target).end()])
}

/// Everything in a tree that more than its owner's own rights would come of.
fn dangerous(tree: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(tree)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        let kind = metadata.file_type();
        let is_device = kind.is_block_device() || (kind.is_char_device() && metadata.rdev() != 0);
        if is_device || metadata.mode() & 0o6000 != 0 {
            found.push(path.clone());
        }
        if kind.is_dir() {
            found.extend(dangerous(&path)?);
        }
    }
    Ok(found)
}

fn devices_and_set_id(user: &User) -> Verdict {
    let device = |name: &[u8], kind| Layer::default().member(kind, name, b"", 0o666, b"");
    let mut layer = device(b"dev/sda", EntryType::Block).member(EntryType::Char, b"dev/mem", b"", 0o640, b"");
    layer = layer.member(EntryType::Regular, b"bin/su", b"", 0o4755, b"su");
    layer = layer.hard("bin/su2", b"bin/su").hard("dev/mem2", b"dev/mem");
    layer = layer.member(EntryType::Directory, b"var/mail", b"", 0o2775, b"");
    imported(user, vec![layer])?;
    let tree = tree(user)?;
    let found = dangerous(&tree)?;
    if !found.is_empty() {
        return Err(format!("dangerous: {found:?}").into());
    }
    // What could not be made is written down.
    let layer = tree.parent().ok_or("a parent")?;
    let owners: Vec<_> = sbx::image::owners(layer)?.collect::<Result<_, _>>()?;
    let noted =
        |path: &str| owners.iter().find(|owner| owner.path == path.as_bytes()).cloned().unwrap_or_default();
    let modes = ["bin/su", "bin/su2", "var/mail"].map(|path| noted(path).mode);
    if modes != [0o4755, 0o4755, 0o2775]
        || ["dev/sda", "dev/mem", "dev/mem2"].iter().any(|path| noted(path).device.is_none())
    {
        return Err(format!("noted: {owners:?}").into());
    }
    // The look can fail.
    fs::set_permissions(tree.join("bin/su"), fs::Permissions::from_mode(0o4755))?;
    if dangerous(&tree)?.len() == 2 { Ok(()) } else { Err("a set-id file was not seen".into()) }
}

/// What a layer says in overlayfs's own words stays a word.
fn markers_of_overlays(user: &User) -> Verdict {
    let names =
        ["user.overlay.opaque", "user.overlay.redirect", "trusted.overlay.opaque", "security.capability"];
    let mut layer = Layer::default();
    for name in names {
        layer = layer.pax(&format!("SCHILY.xattr.{name}"), b"y").dir("d", 0o755);
    }
    layer = layer.pax("SCHILY.xattr.user.mine", b"a\nb").dir("d2", 0o755);
    imported(user, vec![layer])?;
    let tree = tree(user)?;
    let names = |name| {
        sbx::sys::xattr::names(fs::File::open(tree.join(name))?)
            .map_err(|errno| Failed::from(errno.to_string()))
    };
    if names("d")? != b"" || names("d2")? != b"user.mine\0" {
        return Err(format!("attributes {:?} and {:?}", names("d")?, names("d2")?).into());
    }
    let value = sbx::sys::xattr::get(fs::File::open(tree.join("d2"))?, c"user.mine");
    if value == Ok(b"a\nb".to_vec()) { Ok(()) } else { Err(format!("the value is {value:?}").into()) }
}

fn duplicates(user: &User) -> Verdict {
    let layer = Layer::default()
        .file("a", "first\n")
        .file("a", "second\n")
        .dir("b", 0o755)
        .file("b/below", "")
        .file("b", "a file now\n")
        .file("c", "")
        .dir("c", 0o755)
        .file("c/below", "there\n")
        .member(EntryType::Regular, b"d", b"", 0o4755, b"")
        .file("d", "plain\n");
    imported(user, vec![layer])?;
    let tree = tree(user)?;
    let texts =
        ["a", "b", "c/below", "d"].map(|name| fs::read_to_string(tree.join(name)).unwrap_or_default());
    let owners = sbx::image::owners(tree.parent().ok_or("a parent")?)?.count();
    if texts != ["second\n", "a file now\n", "there\n", "plain\n"] || owners != 0 {
        return Err(format!("{texts:?} and {owners} owners").into());
    }
    Ok(())
}

fn names_of_any_bytes(user: &User) -> Verdict {
    let name = b"n\xff\xfe\n\x1b[2J";
    imported(user, vec![Layer::default().member(EntryType::Regular, name, b"", 0o4644, b"x")])?;
    let tree = tree(user)?;
    if !below(&tree, name).exists() {
        return Err("the name is another one".into());
    }
    let owner = sbx::image::owners(tree.parent().ok_or("a parent")?)?.next().ok_or("no owner")??;
    if owner.path != name {
        return Err(format!("the name in the owners file: {owner:?}").into());
    }
    fs::remove_dir_all(user.dir().join("image"))?;
    fs::remove_dir_all(user.home().join(".local"))?;
    let bad = Layer::default().member(EntryType::Fifo, b"../\x1b[2J", b"", 0o644, b"");
    refused(user, vec![bad], "`../\\x1b[2J`")
}

fn whiteouts_of_no_name(user: &User) -> Verdict {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        refused(user, vec![Layer::default().file(name, "")], "a whiteout of no name")?;
    }
    Ok(())
}

/// A header about the next member is kept in memory, so it has a bound.
fn large_extension(user: &User) -> Verdict {
    let large = vec![b'x'; 2 << 20];
    let long = Layer::default().member(EntryType::GNULongName, b"x", b"", 0, &large).file("a", "");
    refused(user, vec![long], "an extension header of 2097152 bytes")?;
    let broken = Layer::default().member(EntryType::XHeader, b"x", b"", 0, b"99 path=a\n").file("a", "");
    refused(user, vec![broken], "a pax header that is none")?;
    let size = Layer::default().pax("size", b"9999999999").file("a", "");
    refused(user, vec![size], "8 GiB")
}

/// Modes that keep their owner out are set when all is there, and keep nothing from being removed.
fn closed_directories(user: &User) -> Verdict {
    let layer = Layer::default().dir("d", 0o000).dir("d/e", 0o500).file("d/e/f", "x").dir("d/e", 0o100);
    imported(user, vec![layer])?;
    let mode = tree(user)?.join("d").metadata()?.mode() & 0o7777;
    if mode != 0 {
        return Err(format!("mode {mode:o}").into());
    }
    output(user.sbx().args(["image", "rm", "x"]))?.exits(0)?;
    output(user.sbx().args(["image", "gc"]))?.exits(0)?.stdout_is("1 layers removed\n")?;
    if stored(user).is_empty() { Ok(()) } else { Err("it is still there".into()) }
}
