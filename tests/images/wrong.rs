//! Images that are damaged, too large, for another machine, or none at all.

use crate::common::{Case, User, Verdict, case, output};
use crate::stage::{Layer, Packed, gzip, import, layout, layout_for, stored};
use sbx::image::Digest;
use std::fs;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(digests),
        case!(truncated),
        case!(bombs),
        case!(many_entries),
        case!(other_machines),
        case!(no_images),
        case!(names),
        case!(words),
    ]
}

fn packed(bytes: Vec<u8>) -> Packed {
    Packed { diff_id: Digest::of(&bytes), blob: bytes }
}

/// Refused with one cause, and nothing of it is left.
fn refused(user: &User, path: &Path, more: &[&str], why: &str) -> Verdict {
    let out = import(user, path, more)?;
    out.exits(125)?.stdout_is("")?.stderr_has(why)?;
    let lines = out.errors().lines().filter(|line| line.starts_with("sbx: ")).count();
    out.check(lines == 1, || format!("one cause, not {lines}"))?;
    out.check(stored(user).is_empty(), || format!("nothing left but {:?}", stored(user)))?;
    output(user.sbx().args(["image", "list", "--format", "json"]))?.exits(0)?.stdout_has("\"images\": []")?;
    Ok(())
}

/// Each file of a layout that another byte is in.
fn digests(user: &User) -> Verdict {
    let layer = || -> Packed { Layer::default().file("a", "content\n").into() };
    let image = layout(user, "image", vec![layer()], "")?;
    for entry in fs::read_dir(image.join("blobs/sha256"))? {
        let path = entry?.path();
        let whole = fs::read(&path)?;
        let mut other = whole.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        fs::write(&path, other)?;
        refused(user, &image, &["x"], "digest")?;
        fs::write(&path, whole)?;
    }
    let false_diff_id = Packed { diff_id: Digest::of(b"another"), ..layer() };
    let other = layout(user, "other", vec![false_diff_id], "")?;
    refused(user, &other, &["x"], "unpacked, its digest is")?;
    // The same image, whole.
    import(user, &image, &["x"])?.exits(0)?;
    Ok(())
}

fn truncated(user: &User) -> Verdict {
    let whole = Layer::default().file("a", &"content\n".repeat(1000)).end();
    let zipped = gzip(&whole);
    for (index, blob) in [whole[..3000].to_vec(), zipped[..zipped.len() - 9].to_vec()].into_iter().enumerate()
    {
        // What is there has the right digest.
        let mut cut = packed(blob);
        cut.diff_id = Digest::of(&whole);
        let image = layout(user, &format!("cut{index}"), vec![cut], "")?;
        refused(user, &image, &["x"], "cannot unpack the layer")?;
    }
    let image = layout(user, "short", vec![packed(whole)], "")?;
    let largest = fs::read_dir(image.join("blobs/sha256"))?
        .flatten()
        .max_by_key(|entry| entry.metadata().map_or(0, |data| data.len()));
    let largest = largest.ok_or("no blobs")?.path();
    fs::OpenOptions::new().write(true).open(&largest)?.set_len(2000)?;
    refused(user, &image, &["x"], "has 2000 bytes, not")?;
    fs::remove_file(largest)?;
    refused(user, &image, &["x"], "is missing")
}

/// A frame of zstd that says how long a run of zeros is, after a tar header.
fn zeros(blocks: usize) -> Vec<u8> {
    let size = blocks * (128 << 10);
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.as_old_mut().name[0] = b'z';
    header.set_cksum();
    let mut out = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    out.extend_from_slice(&((512_u32) << 3).to_le_bytes()[..3]);
    out.extend_from_slice(header.as_bytes());
    for _ in 0..blocks {
        // A block of one byte, 128 KiB times.
        out.extend_from_slice(&((128_u32 << 10) << 3 | 1 << 1).to_le_bytes()[..3]);
        out.push(0);
    }
    out.extend_from_slice(&(1_u32).to_le_bytes()[..3]);
    out
}

fn bombs(user: &User) -> Verdict {
    let image = layout(user, "ratio", vec![packed(zeros(1000))], "")?;
    refused(user, &image, &["x"], "a decompression bomb")?;
    let image =
        layout(user, "size", vec![packed(Layer::default().file("a", &"x".repeat(3 << 20)).end())], "")?;
    refused(user, &image, &["x", "--max-size", "2M"], "more than 2097152 bytes")?;
    // The bound is that of all layers together.
    let layer = |name: &str| packed(Layer::default().file(name, &"x".repeat(1 << 20)).end());
    let image = layout(user, "sum", vec![layer("a"), layer("b"), layer("c")], "")?;
    refused(user, &image, &["x", "--max-size", "2M"], "more than 2097152 bytes")?;
    import(user, &image, &["x", "--max-size", "4M"])?.exits(0)?;
    Ok(())
}

/// A million files in a directory are refused when the bound is reached, not when all are there.
fn many_entries(user: &User) -> Verdict {
    let mut layer = Layer::default();
    for number in 0..1000 {
        layer = layer.file(&format!("d/{number}"), "");
    }
    let mut thousand = layer.end();
    thousand.truncate(thousand.len() - 1024);
    let once = gzip(&thousand);
    let image = layout(user, "image", vec![packed(once.repeat(1000))], "")?;
    refused(user, &image, &["x", "--max-entries", "2500"], "the image has more than 2500 members")?;
    let few = layout(user, "few", vec![packed(Layer::default().file("a", "").file("b", "").end())], "")?;
    refused(user, &few, &["x", "--max-entries", "1"], "more than 1 members")?;
    import(user, &few, &["x", "--max-entries", "2"])?.exits(0)?;
    Ok(())
}

fn other_machines(user: &User) -> Verdict {
    let layers = || vec![packed(Layer::default().file("a", "").end())];
    let image = layout_for(user, "image", layers(), "", "s390x")?;
    refused(user, &image, &["x"], "in it, but linux/s390x")
}

fn no_images(user: &User) -> Verdict {
    let empty = user.mkdir("empty")?;
    let file = user.put("file", "no archive at all")?;
    let zipped = user.put("image.tar.gz", gzip(b"x"))?;
    refused(user, &empty, &["x"], "neither an `oci-layout` nor a `manifest.json`")?;
    refused(user, &file, &["x"], "cannot import")?;
    refused(user, &zipped, &["x"], "compressed with gzip: decompress it first")?;
    refused(user, Path::new("/nonexistent"), &["x"], "no such file")?;
    refused(user, Path::new("/dev/null"), &["x"], "neither a directory nor a file")?;
    // Nobody waits for the writer of a FIFO.
    let fifo = user.dir().join("fifo");
    output(user.command("mkfifo").arg(&fifo))?.exits(0)?;
    refused(user, &fifo, &["x"], "neither a directory nor a file")?;
    let image = layout(user, "image", vec![packed(Layer::default().file("a", "").end())], "")?;
    for (text, why) in [("", "index.json"), ("{", "index.json"), ("{\"manifests\":[]}", "none at all")] {
        user.put(image.join("index.json"), text)?;
        refused(user, &image, &["x"], why)?;
    }
    // A link in a layout could lead anywhere.
    fs::remove_file(image.join("index.json"))?;
    std::os::unix::fs::symlink("/etc/passwd", image.join("index.json"))?;
    refused(user, &image, &["x"], "a symbolic link is not followed")
}

fn names(user: &User) -> Verdict {
    let image = layout(user, "image", vec![packed(Layer::default().file("a", "").end())], "")?;
    for name in ["../x", "/x", "x:", ":x", ".x", "a b", "a:b:c", "x\n"] {
        refused(user, &image, &[name], "it is not NAME[:TAG]")?;
    }
    import(user, &image, &[])?.exits(0)?.stdout_is("image:latest\n")?;
    import(user, &image, &["example.org:5000/a/b:1"])?.exits(0)?;
    let list = output(user.sbx().args(["image", "list"]))?;
    list.exits(0)?.stdout_has("example.org:5000/a/b:1  1 ")?.stdout_has("image:latest ")?;
    let out = output(user.sbx().args(["image", "show", "imgae"]))?;
    out.exits(1)?.stderr_has("cannot find the image `imgae`")?.stderr_has("did you mean `image:latest`?")?;
    output(user.sbx().args(["image", "rm", "image", "nothing"]))?.exits(1)?;
    // One wrong name keeps all.
    output(user.sbx().args(["image", "show", "image"]))?.exits(0)?;
    output(user.sbx().args(["image", "rm", "image"]))?.exits(0)?;
    output(user.sbx().args(["image", "gc"]))?.exits(0)?.stdout_is("0 layers removed\n")?;
    output(user.sbx().args(["image", "rm", "example.org:5000/a/b:1"]))?.exits(0)?;
    output(user.sbx().args(["image", "gc"]))?.exits(0)?.stdout_is("1 layers removed\n")?;
    Ok(())
}

/// Words and options that a part of the verb has no use for.
fn words(user: &User) -> Verdict {
    for (words, why) in [
        (&["image"][..], "`sbx image` is followed by import, pull, list"),
        (&["image", "nothing"], "nothing"),
        (&["image", "import", "/etc/passwd"], "`/etc/passwd`: it is not a tar archive, or not all of one\n"),
        (&["image", "import"], "more is needed after `sbx image import`"),
        (&["image", "list", "x"], "too much stands after `sbx image list`"),
        (&["image", "gc", "--format", "json"], "`sbx image gc` has no option `--format`"),
        (&["image", "import", "x", "--max-size", "much"], "--max-size"),
    ] {
        output(user.sbx().args(words))?.exits(125)?.stdout_is("")?.stderr_has(why)?;
    }
    Ok(())
}
