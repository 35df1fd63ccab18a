//! Images that are exported: other tools open them, and their trees are the same, owners included.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Layer, busybox, import, layout, run};
use std::fs;
use tar::EntryType;

pub(crate) fn cases() -> Vec<Case> {
    let needs = |case: Case| case.needs(Need::Program("busybox")).needs(Need::Program("umoci"));
    vec![
        needs(case!(opened_again)).needs(Need::Program("skopeo")),
        needs(case!(owners_come_back)).needs(Need::Program("python3")),
        needs(case!(with_a_kept_layer)),
        needs(case!(with_owners_of_its_own))
            .only_as_user()
            .needs(Need::SubordinateIds)
            .needs(Need::Program("python3"))
            .needs(Need::Program("strace")),
        case!(refusals),
        needs(case!(pulled)).needs(Need::Program("skopeo")),
        case!(nothing_to_pull).needs(Need::Program("skopeo")),
    ]
}

fn umoci(user: &User, words: &[&str]) -> Verdict {
    output(user.command("umoci").args(words).current_dir(user.dir()))?.exits(0)?;
    Ok(())
}

/// Every entry below a directory, with all that umoci sets.
fn listing(user: &User, place: &str) -> Result<String, libtest_mimic::Failed> {
    let script = "find ./* | sort | while read -r f; do stat -c '%n %a %F %Y %N' \"$f\"; case $f in ./bin*) ;; *) [ -f \"$f\" ] && [ ! -L \"$f\" ] && cat \"$f\";; esac; done; true";
    let out = output(
        user.command("/usr/bin/busybox").args(["sh", "-c", script]).current_dir(user.dir().join(place)),
    )?;
    out.exits(0)?;
    Ok(out.text())
}

fn export(user: &User, words: &[&str]) -> Result<crate::common::Output, libtest_mimic::Failed> {
    output(user.sbx().args(["image", "export"]).args(words).current_dir(user.dir()))
}

/// The trees that umoci unpacks of the image and of its export are the same, with deletions and long names in them.
fn opened_again(user: &User) -> Verdict {
    let long = "l".repeat(150);
    let first =
        busybox()?.dir("d", 0o711).file("d/gone", "x").dir("o", 0o755).file("o/old", "x").dir("p", 0o755);
    let first = first.file("p/one", "both\n").hard("p/two", b"p/one").link("p/link", b"../d//odd/./target");
    let second =
        Layer::default().dir("d", 0o700).file("d/.wh.gone", "").dir("o", 0o750).file("o/.wh..wh..opq", "");
    let second = second.file("o/new", "new\n").pax("path", long.as_bytes()).file("x", "long\n");
    let second = second.pax("linkpath", long.as_bytes()).link("to-long", b"x");
    let image =
        layout(user, "image", vec![first.into(), second.into()], r#""Cmd":["/bin/sh"],"Env":["A=1"]"#)?;
    import(user, &image, &["x:1"])?.exits(0)?;
    export(user, &["x:1", "out"])?.exits(0)?.stdout_is("")?;
    let inspected = output(user.command("skopeo").args(["inspect", "oci:out:1"]).current_dir(user.dir()))?;
    inspected.exits(0)?.stdout_has("\"A=1\"")?;
    let copied = output(
        user.command("skopeo").args(["copy", "--quiet", "oci:out:1", "oci:copy:1"]).current_dir(user.dir()),
    )?;
    copied.exits(0)?;
    umoci(user, &["unpack", "--rootless", "--image", "copy:1", "theirs"])?;
    // The layout made here has no tag: skopeo gives it one.
    output(
        user.command("skopeo").args(["copy", "--quiet", "oci:image", "oci:tagged:1"]).current_dir(user.dir()),
    )?
    .exits(0)?;
    umoci(user, &["unpack", "--rootless", "--image", "tagged:1", "wanted"])?;
    let (theirs, wanted) = (listing(user, "theirs/rootfs")?, listing(user, "wanted/rootfs")?);
    if theirs != wanted || !wanted.contains("o/new") || wanted.contains("o/old") || wanted.contains("d/gone")
    {
        return Err(format!("exported:\n{theirs}\nwanted:\n{wanted}").into());
    }
    // The same bytes each time.
    export(user, &["x:1", "again"])?.exits(0)?;
    let same = output(user.command("diff").args(["-r", "out", "again"]).current_dir(user.dir()))?;
    same.exits(0)?;
    Ok(())
}

/// What is in the archives, by Python's reader.
const READ: &str = "
import sys, tarfile, json, os
top = sys.argv[1]
blob = lambda digest: os.path.join(top, 'blobs', *digest.split(':'))
manifest = json.load(open(blob(json.load(open(top + '/index.json'))['manifests'][0]['digest'])))
for layer in manifest['layers']:
    for member in tarfile.open(blob(layer['digest'])):
        device = (member.devmajor, member.devminor) if member.isdev() and not member.isfifo() else ''
        xattrs = {k: v for k, v in member.pax_headers.items() if 'xattr' in k}
        print(member.name, oct(member.mode), member.uid, member.gid, member.type.decode(), device, xattrs or '')
";

fn owners_come_back(user: &User) -> Verdict {
    let capability = "SCHILY.xattr.security.capability";
    let layer = Layer::default()
        .pax("uid", b"33")
        .pax("gid", b"3000000000")
        .dir("var", 0o2775)
        .member(EntryType::Regular, b"su", b"", 0o4755, b"su")
        .member(EntryType::Char, b"null", b"", 0o666, b"")
        .pax(capability, b"abc")
        .file("ping", "x")
        .pax("SCHILY.xattr.user.overlay.opaque", b"y")
        .pax("SCHILY.xattr.user.mine", b"z")
        .dir("odd", 0o755);
    let image = layout(user, "image", vec![layer.into()], "")?;
    import(user, &image, &["x"])?.exits(0)?;
    export(user, &["x", "out"])?.exits(0)?;
    let read = output(user.command("python3").args(["-c", READ, "out"]).current_dir(user.dir()))?;
    for line in [
        "var 0o2775 33 3000000000 5",
        "su 0o4755 0 0 0",
        "null 0o666 0 0 3 (0, 0)",
        "ping 0o644 0 0 0  {'SCHILY.xattr.security.capability': 'abc'}",
        "odd 0o755 0 0 5  {'SCHILY.xattr.user.mine': 'z', 'SCHILY.xattr.user.overlay.opaque': 'y'}",
    ] {
        read.exits(0)?.stdout_has(line)?;
    }
    // What comes back is imported again.
    fs::rename(user.dir().join("out"), user.dir().join("again"))?;
    import(user, &user.dir().join("again"), &["y"])?.exits(0)?;
    export(user, &["y", "out"])?.exits(0)?;
    let again = output(user.command("python3").args(["-c", READ, "out"]).current_dir(user.dir()))?;
    again.exits(0)?.stdout_is(&read.text())?;
    Ok(())
}

/// What sandboxes wrote is the topmost layer: deletions, directories made anew, changed files with the owners that they had.
fn with_a_kept_layer(user: &User) -> Verdict {
    let first = busybox()?
        .dir("d", 0o755)
        .file("d/gone", "x")
        .file("d/stays", "x")
        .dir("o", 0o755)
        .file("o/old", "x");
    let image = layout(user, "image", vec![first.pax("uid", b"33").file("owned", "x").into()], "")?;
    import(user, &image, &["x"])?.exits(0)?;
    let script = "rm /d/gone; rm -r /o; mkdir /o; echo new >/o/new; echo more >>/owned; ln -s here /link; rm /bin/sort";
    run(user, "x", &["--set", "filesystem.writable=layer:mine", "/bin/sh", "-c", script])?.exits(0)?;
    // What was changed is told of the image's own layers as well.
    let shown = output(user.sbx().args(["diff", "mine"]))?;
    shown.exits(0)?.stderr_is("")?.stdout_has("D  bin/sort\nD  d/gone\n")?.stdout_has("M  owned\n")?;
    export(user, &["x", "out", "--layer", "mine"])?.exits(0)?;
    umoci(user, &["unpack", "--rootless", "--image", "out:latest", "bundle"])?;
    let tree = listing(user, "bundle/rootfs")?;
    for (part, there) in [
        ("./o/new", true),
        ("new\n", true),
        ("./d/stays", true),
        ("xmore", true),
        ("'./link' -> 'here'", true),
        ("./d/gone", false),
        ("./o/old", false),
        ("./bin/sort", false),
    ] {
        if tree.contains(part) != there {
            return Err(format!("{part} in\n{tree}").into());
        }
    }
    // Run again, it is what the sandbox saw.
    import(user, &user.dir().join("out"), &["y"])?.exits(0)?;
    run(user, "y", &["/bin/cat", "/o/new", "/owned"])?.exits(0)?.stdout_is("new\nxmore\n")?;
    let layers = sbx::image::Store::of(Some(&user.home().join(".local/share")));
    let store = layers.map_err(|error| error.to_string())?;
    let record = store.find("y").map_err(|error| error.to_string())?;
    let top = store.layer(record.layers.last().ok_or("no layer")?).map_err(|error| error.to_string())?;
    let owners: Vec<_> = sbx::image::owners(&top)?.collect::<Result<_, _>>()?;
    if owners.iter().any(|owner| owner.path == b"owned" && owner.uid == 33) {
        Ok(())
    } else {
        Err(format!("{owners:?}").into())
    }
}

/// What sandboxes with subordinate ids wrote has the owners and marks that they gave it; the caller can't even read it.
fn with_owners_of_its_own(user: &User) -> Verdict {
    const DISTRO: [&str; 5] = ["--profile", "distro", "--set", "filesystem.writable=layer:mine", "--"];
    let first = busybox()?.pax("uid", b"33").pax("gid", b"34").file("theirs", "x").file("roots", "x");
    let first = first.pax("uid", b"33").file("given", "x");
    import(user, &layout(user, "image", vec![first.into()], "")?, &["x"])?.exits(0)?;
    let script = "mkdir -m 700 /shut; echo in >/shut/f; busybox chmod 600 /shut/f; busybox chown -R 33:34 /shut; \
        busybox chown 65536 /shut/f; busybox cp /bin/busybox /su; busybox chown 8:9 /su; busybox chmod 6755 /su; \
        echo more >>/theirs; echo more >>/roots; busybox chown 0:0 /given; busybox chmod 640 /given; rm /bin/sort";
    run(user, "x", &[&DISTRO[..], &["/bin/sh", "-c", script]].concat())?.exits(0)?;
    // The control: where the ids can't be mapped it is refused, and nothing of it stays.
    let mut unmapped = user.command("strace");
    unmapped.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=unshare:error=EPERM"]).arg(user.sbx_path());
    let words = ["image", "export", "x", "out", "--layer", "mine"];
    let refused = output(unmapped.args(words).current_dir(user.dir()))?;
    refused.exits(125)?.stderr_has("cannot map subordinate ids: ")?.stderr_has("permission denied")?;
    refused.check(!user.dir().join("out").exists(), || "nothing there".to_owned())?;
    export(user, &["x", "out", "--layer", "mine"])?.exits(0)?.stderr_is("")?;
    let read = output(user.command("python3").args(["-c", READ, "out"]).current_dir(user.dir()))?;
    for line in [
        "shut 0o700 33 34 5",
        "shut/f 0o600 65536 34 0",
        "su 0o6755 8 9 0",
        "theirs 0o644 33 34 0",
        "roots 0o644 0 0 0",
        "given 0o640 0 0 0",
        "bin/.wh.sort 0o600 0 0 0",
    ] {
        read.exits(0)?.stdout_has(&format!("{line} "))?;
    }
    // Run again, it is what the sandbox left.
    import(user, &user.dir().join("out"), &["y"])?.exits(0)?;
    let look = "cd /; stat -c '%n %u:%g %a' shut shut/f su theirs given; cat shut/f theirs";
    let again = run(user, "y", &["--profile", "distro", "--", "/bin/sh", "-c", look])?;
    again.exits(0)?.stdout_is(
        "shut 33:34 700\nshut/f 65536:34 600\nsu 8:9 6755\ntheirs 33:34 644\ngiven 0:0 640\nin\nxmore\n",
    )?;
    let mut rm = user.command("unshare");
    rm.args(["--map-root-user", "--map-auto", "rm", "-rf"]).arg(user.home().join(".local"));
    output(&mut rm)?.exits(0)?;
    Ok(())
}

fn refusals(user: &User) -> Verdict {
    let image = layout(user, "image", vec![Layer::default().file("a", "").into()], "")?;
    import(user, &image, &["x"])?.exits(0)?;
    let there = user.put("there/file", "mine")?;
    export(user, &["nothing", "out"])?.exits(1)?.stderr_has("cannot find the image `nothing`")?;
    export(user, &["x", "there"])?.exits(125)?.stderr_has("cannot export to `there`: file exists")?;
    for layer in ["none", "..", "../../x", ".hidden", "a/b", ""] {
        export(user, &["x", "out", "--layer", layer])?.exits(125)?.stderr_has("no kept writable layer")?;
    }
    if fs::read(there)? != b"mine" || user.dir().join("out").exists() {
        return Err("something was written".into());
    }
    // A sandbox that writes there has the lock.
    let layer = user.mkdir("home/.local/state/sbx/layers/busy/upper")?;
    let lock = fs::File::open(layer.parent().ok_or("a parent")?)?;
    let lock =
        nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    export(user, &["x", "out", "--layer", "busy"])?
        .exits(125)?
        .stderr_has("a sandbox is writing in this layer")?;
    drop(lock);
    export(user, &["x", "out", "--layer", "busy"])?.exits(0)?;
    Ok(())
}

fn pulled(user: &User) -> Verdict {
    let image = layout(user, "image", vec![busybox()?.into()], "")?;
    let reference = format!("oci:{}", image.display());
    // What says where programs are has no say in which skopeo runs.
    let planted = user.put_program("bin/skopeo", "#!/bin/sh\necho planted >&2; exit 1\n")?;
    let mut command = user.sbx();
    command.args(["image", "pull", &reference, "mine:1"]).env("PATH", planted.parent().ok_or("a parent")?);
    output(&mut command)?.exits(0)?.stdout_is("mine:1\n")?;
    run(user, "mine:1", &["/bin/echo", "ran"])?.exits(0)?.stdout_is("ran\n")?;
    output(user.sbx().args(["image", "pull", &reference]))?.exits(0)?.stdout_is("image:latest\n")?;
    let bounds = ["image", "pull", &reference, "small", "--max-entries", "1"];
    output(user.sbx().args(bounds))?.exits(125)?.stderr_has("more than 1 members")?;
    Ok(())
}

fn nothing_to_pull(user: &User) -> Verdict {
    let missing = output(user.sbx().args(["image", "pull", "oci:/nonexistent/\u{1b}[2J", "x"]))?;
    missing
        .exits(125)?
        .stdout_is("")?
        .stderr_has("cannot pull")?
        .stderr_has("skopeo says:")?
        .stderr_lacks("\u{1b}")?;
    output(user.sbx().args(["image", "pull", "--", "--help"]))?
        .exits(125)?
        .stderr_has("no name comes of it")?;
    if crate::stage::stored(user).is_empty() { Ok(()) } else { Err("something is left".into()) }
}
