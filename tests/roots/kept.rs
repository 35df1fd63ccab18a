//! Writable layers that are kept: found again, taken by one sandbox at a time, and free of what the set-up needs.

use crate::common::{Case, Running, Snapshot, User, Verdict, case, output, wait_for};
use crate::stage::{given, kept, on, root, script, text};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(it_is_found_again),
        case!(it_holds_what_was_changed_and_nothing_else),
        case!(in_a_directory),
        case!(one_at_a_time),
        case!(free_after_a_kill),
        case!(links_in_its_place),
        case!(sbxs_own_stays_out_of_reach),
    ]
}

const MINE: [&str; 2] = ["--set", "filesystem.writable=layer:mine"];

fn it_is_found_again(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let writes = "echo new >/etc/new; echo changed >/etc/whose; rm -r /var/lib/directory";
    script(user, &root, &MINE, writes)?.exits(0)?.stderr_is("")?;
    let look = "cat /etc/new /etc/whose; ls /var/lib";
    script(user, &root, &MINE, look)?.stdout_is("new\nchanged\n")?;
    script(user, &root, &["--set", "filesystem.writable=layer:other"], look)?
        .stdout_is("the root's\ndirectory\n")?;
    before.same_as(&Snapshot::with_times(&root)?)
}

/// No mount point of the set-up's is in it, though this root has hardly any; a directory that was removed and made again hides
/// what the root has there.
fn it_holds_what_was_changed_and_nothing_else(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let writes = "echo new >/etc/new; rm /etc/whose; rm -r /var/lib/directory; mkdir /var/lib/directory; >/tmp/x; >~/x";
    script(user, &root, &MINE, writes)?.exits(0)?.stderr_is("")?;
    let upper = kept(user, "mine").join("upper");
    let held = Snapshot::of(&upper)?;
    let expected = ["etc", "etc/new", "etc/whose", "var", "var/lib", "var/lib/directory"].map(Path::new);
    if held.paths() != expected {
        return Err(format!("the layer holds {:?}", held.paths()).into());
    }
    let whiteout = fs::symlink_metadata(upper.join("etc/whose"))?;
    if !whiteout.file_type().is_char_device() || whiteout.rdev() != 0 {
        return Err("what was removed should be a whiteout".into());
    }
    script(user, &root, &MINE, "ls /etc /var/lib/directory; cat /etc/hosts")?
        .stdout_is("/etc:\nhostname\nhosts\nnew\nresolv.conf\n\n/var/lib/directory:\n127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback sandbox\n")?;
    Ok(())
}

fn in_a_directory(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let layer = user.dir().join("a layer, of:mine");
    let set = kept_in(&layer);
    script(user, &root, &["--set", &set], "echo new >/etc/new")?.exits(0)?;
    if text(layer.join("upper/etc/new"))? != "new\n" {
        return Err("it should be in the layer".into());
    }
    script(user, &root, &["--set", &set], "cat /etc/new")?.stdout_is("new\n")?;
    Ok(())
}

/// A sandbox that writes this layer until it is told to end.
fn writer(user: &User, root: &Path, layer: &Path) -> Result<Running, Failed> {
    let stay = ["sh", "-c", "echo >/etc/there; exec sleep 100"];
    let running = Running::start(on(user, root).args(["--set", &kept_in(layer)]).args(stay))?;
    wait_for("the first", || layer.join("upper/etc/there").exists().then_some(()))?;
    Ok(running)
}

/// What keeps writes in a directory.
fn kept_in(layer: &Path) -> String {
    format!("filesystem.writable={}", layer.display())
}

/// The kernel mounts a layer twice with no more than a word in its log: without the lock the second runs.
fn one_at_a_time(user: &User) -> Verdict {
    let (root, layer) = (root(user, "root")?, user.dir().join("layer"));
    let first = writer(user, &root, &layer)?;
    let options = ["--set", &kept_in(&layer)];
    let second = script(user, &root, &options, "echo ran")?;
    second
        .exits(125)?
        .stdout_is("")?
        .stderr_has("cannot write the layer")?
        .stderr_has("another sandbox does")?;
    let mut bare = user.edited("bare layer");
    output(given(&mut bare, &root).args(options).args(["echo", "ran"]))?.stdout_is("ran\n")?;
    script(user, &root, &MINE, "echo ran")?.stdout_is("ran\n")?;
    first.signal(Signal::SIGTERM)?;
    first.finish()?;
    script(user, &root, &options, "ls /etc/there")?.exits(0)?;
    Ok(())
}

/// The lock is PID 1's too: it lasts as long as anything writes, and no longer.
fn free_after_a_kill(user: &User) -> Verdict {
    let (root, layer) = (root(user, "root")?, user.dir().join("layer"));
    let first = writer(user, &root, &layer)?;
    first.signal(Signal::SIGKILL)?;
    drop(first);
    let options = ["--set", &kept_in(&layer)];
    wait_for("the layer", || script(user, &root, &options, "true").ok()?.exits(0).ok().map(drop))
}

/// Where a layer lies in a directory that an earlier sandbox could write, that one may have made its parts lead elsewhere. Taken
/// as it is, the layer lets the next sandbox write there.
fn links_in_its_place(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let outside = user.mkdir("outside")?;
    let before = Snapshot::with_times(&outside)?;
    let write = ["sh", "-c", "echo x >/etc/x; echo ran"];
    for part in ["work", "upper"] {
        let layer = user.mkdir(format!("layer-{part}"))?;
        std::os::unix::fs::symlink(&outside, layer.join(part))?;
        let options = ["--set", &kept_in(&layer), "--cwd", "none"];
        let refused = output(on(user, &root).args(options).args(write))?;
        refused.exits(125)?.stdout_is("")?.stderr_has("cannot write the layer")?;
    }
    before.same_as(&Snapshot::with_times(&outside)?)?;
    let layer = user.dir().join("layer-upper");
    user.mkdir(layer.join("work"))?;
    let mut bare = user.edited("bare layer");
    let options = ["--set", &kept_in(&layer), "--cwd", "none"];
    output(given(&mut bare, &root).args(options).args(write))?.stdout_is("ran\n")?;
    if text(outside.join("etc/x"))? == "x\n" { Ok(()) } else { Err("it should have got through".into()) }
}

/// A layer can't be a place that sbx reads to decide what the next sandbox may do, nor be written past its own overlay.
fn sbxs_own_stays_out_of_reach(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let set = format!("filesystem.writable={}", user.home().join(".config/sbx/profiles").display());
    let refused = script(user, &root, &["--set", &set], "echo ran")?;
    refused.exits(125)?.stdout_is("")?.stderr_has("sbx reads")?;
    let mut unguarded = user.edited("unguarded");
    output(given(&mut unguarded, &root).args(["--set", &set, "echo", "ran"]))?.stdout_is("ran\n")?;
    script(user, &root, &MINE, "true")?.exits(0)?;
    let mut sbx = user.sbx();
    let refused = output(sbx.arg("--rw").arg(kept(user, "mine")).args(["sh", "-c", "echo ran"]))?;
    refused.exits(125)?.stdout_is("")?.stderr_has("sbx reads")?;
    Ok(())
}
