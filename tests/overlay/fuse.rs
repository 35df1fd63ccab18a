//! The same by `fuse-overlayfs`: nothing reaches the directory, what is kept is what the kernel's overlay keeps, and the process
//! that serves it is walled in, goes with the sandbox, and takes it along when it goes first.

use crate::apart::stays_apart;
use crate::common::process::{Status, descendants, namespaces};
use crate::common::{Case, Need, Output, Running, Snapshot, User, Verdict, case, output, wait_for};
use crate::stage::{again, given, kept, names, over, same, tree};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(served_every_way_to_write).needs(Need::Program("python3")),
        case!(served_like_the_kernels),
        case!(served_names_of_every_kind),
        case!(served_mounts_below),
        case!(served_nothing_is_left_of_nothing),
        case!(served_layers_are_not_the_kernels),
        case!(served_by_a_walled_process),
        case!(served_no_longer),
        case!(served_up_to_a_kill),
        case!(served_two_at_a_time),
        case!(not_installed).only_as_root().needs(Need::Program("unshare")),
        case!(served_is_explained),
    ];
    let served = |case: Case| case.needs(Need::Program("fuse-overlayfs")).needs(Need::Device("/dev/fuse"));
    cases.into_iter().map(served).collect()
}

const FUSE: [&str; 3] = ["-q", "--set", "filesystem.overlay-driver=fuse-overlayfs"];

fn served_every_way_to_write(user: &User) -> Verdict {
    stays_apart(user, &FUSE)
}

/// Something of everything, in several directories.
const MUCH: &str = "
echo x >>sub/kept; rm other; mv directory/inner inner; rmdir directory; mkdir directory; echo y >directory/new
mkdir -p a/b/c; echo z >a/b/c/d; chmod 750 a; ln a/b/c/d second-name; ln -s /etc/passwd out; ln -sf other link
truncate -s 5 large; chmod 700 sub; rm -r sub/gone; mv sub/old sub/moved; rm sub/file; mkdir sub/file; echo v >sub/file/in
echo t >passing; rm passing; mkfifo -m 640 pipe; cp /bin/true program; rm -r whole";

/// A directory for that.
fn large_tree(user: &User, name: &str) -> Result<std::path::PathBuf, Failed> {
    let tree = tree(user, name)?;
    for file in ["sub/kept", "sub/gone/a", "sub/gone/b/c", "sub/old", "sub/file", "whole/a", "whole/b/c"] {
        user.put(tree.join(file), file)?;
    }
    Ok(tree)
}

fn served_like_the_kernels(user: &User) -> Verdict {
    let trees = [large_tree(user, "one/tree")?, large_tree(user, "two/tree")?];
    let before = [Snapshot::with_times(&trees[0])?, Snapshot::with_times(&trees[1])?];
    over(user, &trees[0], &["-q"], MUCH)?.exits(0)?.stderr_is("")?;
    over(user, &trees[1], &FUSE, MUCH)?.exits(0)?.stderr_is("")?;
    for (tree, before) in trees.iter().zip(&before) {
        before.same_as(&Snapshot::with_times(tree)?)?;
    }
    let layers = ["tree-1", "tree-2"];
    let shown = layers.map(|layer| output(user.sbx().args(["diff", layer])));
    let [by_kernel, by_fuse] = shown;
    let by_kernel = by_kernel?.text();
    by_fuse?.exits(0)?.stdout_is(&by_kernel)?;
    same(by_kernel.lines().count() > 15, true, "there is much to be shown")?;
    for layer in layers {
        output(user.sbx().args(["apply", layer]))?;
    }
    Snapshot::of(&trees[0])?.same_as(&Snapshot::of(&trees[1])?)?;
    same(fs::read_to_string(trees[1].join("sub/file/in"))?, "v\n".to_owned(), "it was applied")?;
    same(trees[1].join("whole").exists(), false, "what is gone")
}

/// Nothing in the server's arguments is of the caller's. (fuse-overlayfs 1.10 ends where a name of 252 bytes or more is removed.)
fn served_names_of_every_kind(user: &User) -> Verdict {
    let directories: [&[u8]; 7] = [b"a,b", b"a:b", b"a\\b", b"a b", b"a\nb", b"a\xff\xfeb", b".-a"];
    for name in directories {
        let tree = tree(user, OsStr::from_bytes(name))?;
        let long = "l".repeat(240);
        let longest = user.put(tree.join(&long), "long\n")?;
        let before = Snapshot::with_times(&tree)?;
        let script = format!("echo x >large; rm other {long}; ls {long} 2>/dev/null; cat large");
        let out = over(user, &tree, &FUSE[1..], &script)?;
        out.exits(0)?.stdout_is("x\n")?.stderr_has("0 new, 1 changed, 2 removed")?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
        same(longest.exists(), true, "the longest name")?;
    }
    same(names(user)?.len(), directories.len(), "layers")
}

/// Where mount points are missing they are made, and neither in the directory nor in the layer.
fn served_mounts_below(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    let path = |name: &str| tree.join(name).display().to_string();
    let file = user.put("a-file", "bound\n")?;
    let bind = format!("{}:{}", file.display(), path("directory/bound"));
    let mut options = FUSE.map(str::to_owned).to_vec();
    options.extend(["--tmpfs".to_owned(), path("deep/er/place"), "--ro".to_owned(), bind]);
    options.extend(["--hide".to_owned(), path("other"), "--ro".to_owned(), path("file")]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let script = "cat directory/bound directory/inner; echo x >deep/er/place/x && cat deep/er/place/x";
    over(user, &tree, &options, script)?.exits(0)?.stdout_is("bound\ninner\nx\n")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    same(names(user)?, Vec::new(), "nothing was changed, the layers")?;
    let script = "echo x >directory/new; echo y >directory/inner; echo z >file; cat other";
    let out = over(user, &tree, &options, script)?;
    out.stderr_has("Read-only file system")?.stderr_has("Permission denied")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    let held = Snapshot::of(kept(user).join("tree-1/fuse-overlayfs/upper"))?;
    let wanted = ["directory", "directory/inner", "directory/new"].map(Path::new).to_vec();
    same(held.paths(), wanted, "the layer holds")
}

fn served_nothing_is_left_of_nothing(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &FUSE[1..], "cat file >/dev/null; touch x; rm x; mkdir y; rmdir y")?
        .exits(0)?
        .stderr_is("")?;
    over(user, &tree, &[&FUSE[..], &["--ro", "/nonexistent"]].concat(), "true")?.exits(125)?;
    over(user, &tree, &[&FUSE[..], &["--chdir", "/nonexistent"]].concat(), "true")?.exits(125)?;
    same(names(user)?, Vec::new(), "the layers")?;
    over(user, &tree, &FUSE[1..], "rm other")?.exits(0)?.stderr_has("0 new, 0 changed, 1 removed")?;
    over(user, &tree, &FUSE, "chmod 711 .")?.exits(0)?;
    same(names(user)?, ["tree-1", "tree-2"].map(str::to_owned).to_vec(), "the layers")
}

fn served_layers_are_not_the_kernels(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q"], "rm -r directory; mkdir directory; echo kernel >other")?.exits(0)?;
    over(user, &tree, &FUSE, "rm -r directory; mkdir directory; echo fuse >other")?.exits(0)?;
    let run = |options: &[&str], layer: &str| -> Result<Output, Failed> {
        let mut sbx = user.sbx();
        sbx.args(options).args(["-q", "--cwd", "none", "--set", &again(&tree, layer), "--chdir"]).arg(&tree);
        output(sbx.args(["sh", "-c", "cat other; ls -A directory"]))
    };
    run(&[], "tree-1")?.exits(0)?.stdout_is("kernel\n")?;
    run(&FUSE[1..], "tree-2")?.exits(0)?.stdout_is("fuse\n")?;
    for (options, layer) in [(&[][..], "tree-2"), (&FUSE[1..], "tree-1")] {
        let refused = run(options, layer)?;
        refused.exits(125)?.stdout_is("")?.stderr_has("it was written by another overlay driver")?;
        refused.stderr_has("filesystem.overlay-driver")?;
    }
    // A file that had two names would be taken for the other one.
    over(user, &tree, &FUSE, "echo fuse >file; cat second")?.exits(0)?.stdout_is("fuse\n")?;
    let refused = run(&FUSE[1..], "tree-3")?;
    refused.exits(125)?.stdout_is("")?.stderr_has("fuse-overlayfs would mix up")?.stderr_has("hint: ")?;
    let shown = output(user.sbx().args(["diff", "tree-3"]))?;
    shown.check(["M  file\n", "M  second\n"].contains(&shown.text().as_str()), || "one name".to_owned())?;
    output(user.sbx().args(["discard", "tree-1", "tree-2", "tree-3"]))?.exits(0)?;
    same(names(user)?, Vec::new(), "the layers")
}

/// A run that has written something and stays, and the number of the process that serves it.
fn running(user: &User, tree: &Path) -> Result<(Running, i32), Failed> {
    let mut sbx = user.sbx();
    let script =
        "echo >there; while cat file >/dev/null; do sleep 0.05; done; echo >/dev/null; exec sleep 100";
    let running = Running::start(given(sbx.args(FUSE), tree).args(["sh", "-c", script]))?;
    wait_for("the run", || {
        let there = |number| kept(user).join(format!("tree-{number}/fuse-overlayfs/upper/there")).exists();
        ([1, 2].into_iter().any(there)).then_some(())
    })?;
    let is_server =
        |pid: &i32| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"fuse-overlayfs\n");
    let server = descendants(running.pid()).into_iter().find(is_server);
    Ok((running, server.ok_or("there should be a server")?))
}

/// What the server has, and that nothing of the sandbox leads to it.
fn served_by_a_walled_process(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let (running, server) = running(user, &tree)?;
    let status = Status::of(server)?;
    same(status.capabilities()?, [0; 5], "its capabilities")?;
    same((status.number("NoNewPrivs")?, status.number("Seccomp")?), (1, 2), "its walls")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(format!("/proc/{server}/root"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !["bin", "sbin", "lib", "lib32", "lib64", "libx32"].contains(&name.as_str()));
    names.sort();
    same(names, ["dev", "etc", "layer", "lower", "proc", "usr"].map(str::to_owned).to_vec(), "its root")?;
    let layer = fs::read_dir(format!("/proc/{server}/root/layer"))?.count();
    same(layer, 2, "of the layer's directory it sees the upper and the work dir")?;
    let written = fs::write(format!("/proc/{server}/root/lower/0/new"), "");
    same(written.is_err(), true, "the lower dir is read-only for it")?;
    let payload = descendants(running.pid())
        .into_iter()
        .find(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.starts_with(b"sh\0")));
    let payload = payload.ok_or("there should be a command")?;
    for name in ["user", "mnt", "pid", "net", "ipc"] {
        let (its, other) = (namespaces(server)?, namespaces(payload)?);
        same(its.get(name) == other.get(name), false, name)?;
    }
    same((has_device(server)?, has_device(payload)?), (true, false), "who has the device")?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?;
    is_gone(server)
}

/// Whether one of its descriptors leads to `/dev/fuse` (Linux's devices.txt).
fn has_device(pid: i32) -> Result<bool, Failed> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        if fs::metadata(entry?.path()).is_ok_and(|there| there.rdev() == nix::sys::stat::makedev(10, 229)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_gone(pid: i32) -> Verdict {
    wait_for("the server's end", || {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // One that nobody has waited for yet is gone all the same.
        let is_dead = status.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
        is_dead.then_some(())
    })
}

/// The program's calls fail, and everything ends.
fn served_no_longer(user: &User) -> Verdict {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let tree = tree(user, format!("{signal}/tree"))?;
        let before = Snapshot::with_times(&tree)?;
        let (running, server) = running(user, &tree)?;
        let all = descendants(running.pid());
        kill(Pid::from_raw(server), signal)?;
        let out = running.finish()?;
        out.exits(137)?
            .stderr_has("sbx: error: cannot go on: fuse-overlayfs, which served the overlay on ")?;
        all.into_iter().try_for_each(is_gone)?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
        output(user.sbx().args(["discard", "tree-1"]))?.exits(0)?;
    }
    Ok(())
}

/// Nothing is left running, what was written is there, and the layer is free.
fn served_up_to_a_kill(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    let (running, server) = running(user, &tree)?;
    let all = descendants(running.pid());
    same(all.len() >= 5, true, &format!("processes {all:?}"))?;
    running.signal(Signal::SIGKILL)?;
    drop(running);
    all.into_iter().try_for_each(is_gone)?;
    is_gone(server)?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    let mut sbx = user.sbx();
    sbx.args(FUSE).args(["--cwd", "none", "--set", &again(&tree, "tree-1"), "--chdir"]).arg(&tree);
    output(sbx.args(["ls", "there"]))?.exits(0)?.stdout_is("there\n")?;
    Ok(())
}

/// One sandbox at a time has a layer, and each overlay of a sandbox has a server.
fn served_two_at_a_time(user: &User) -> Verdict {
    let (tree, other) = (tree(user, "tree")?, tree(user, "other")?);
    let before = (Snapshot::with_times(&tree)?, Snapshot::with_times(&other)?);
    let (running, _) = running(user, &tree)?;
    let mut sbx = user.sbx();
    sbx.args(FUSE).args(["--cwd", "none", "--set", &again(&tree, "tree-1"), "echo", "ran"]);
    output(&mut sbx)?.exits(125)?.stdout_is("")?.stderr_has("another sandbox does")?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?;
    let mut sbx = user.sbx();
    given(sbx.args(FUSE).arg("--overlay").arg(&other), &tree);
    let script = format!("echo x >file; echo y >{0}/file; cat file {0}/file", other.display());
    output(sbx.args(["sh", "-c", &script]))?.exits(0)?.stdout_is("x\ny\n")?.stderr_is("")?;
    before.0.same_as(&Snapshot::with_times(&tree)?)?;
    before.1.same_as(&Snapshot::with_times(&other)?)
}

/// Nothing takes its place.
fn not_installed(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let start = |with: &str, hidden: &str| {
        let script = format!("mount --bind {with} {hidden} && exec \"$@\"");
        let mut unshare = user.command("unshare");
        unshare.args(["-m", "sh", "-c", &script, "sh"]).arg(user.sbx_path()).args(FUSE);
        output(given(&mut unshare, &tree).args(["echo", "ran"]))
    };
    let refused = start("/dev/null", "/usr/bin/fuse-overlayfs")?;
    refused.exits(125)?.stdout_is("")?.stderr_has("it is not installed")?;
    refused.stderr_has("hint: install the package fuse-overlayfs")?;
    let refused = start("/dev/null", "/dev/fuse")?;
    refused.exits(125)?.stdout_is("")?.stderr_has("`/dev/fuse` can't be opened, or mounted")?;
    same(names(user)?, Vec::new(), "the layers")?;
    start("/dev/fuse", "/dev/fuse")?.exits(0)?.stdout_is("ran\n")?;
    Ok(())
}

fn served_is_explained(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let explain = |options: &[&str]| {
        let mut sbx = user.sbx();
        output(given(sbx.arg("explain").args(options), &tree).arg("true"))
    };
    explain(&FUSE[1..])?.exits(0)?.stdout_has("served by fuse-overlayfs")?;
    explain(&[])?.exits(0)?.stdout_lacks("fuse-overlayfs")?;
    let json = explain(&[&FUSE[1..], &["--format", "json"]].concat())?;
    let plan: serde_json::Value = serde_json::from_str(&json.text())?;
    same(&plan["overlay-server"]["sandbox"]["profile"], &"fuse-overlayfs".into(), "the server's profile")?;
    same(names(user)?, Vec::new(), "the layers")
}
