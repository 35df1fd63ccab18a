//! The layers: made for each run, told of, found again, taken by one sandbox at a time.

use crate::common::{Case, Output, Running, Snapshot, User, Verdict, case, output, wait_for};
use crate::stage::{again, given, kept, names, over, same, tree};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use sbx::layers::{Kind, Record};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(what_is_written_down),
        case!(what_is_told),
        case!(a_program_is_told),
        case!(nothing_is_left_of_nothing),
        case!(many_at_once),
        case!(it_goes_on),
        case!(links_of_the_last_run),
        case!(one_at_a_time),
        case!(it_stays_after_a_kill),
        case!(they_are_listed),
        case!(they_are_discarded),
        case!(what_a_program_left_goes),
        case!(half_applied),
        case!(not_for_a_root),
    ]
}

fn what_is_written_down(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = fs::metadata(&tree)?;
    let mut sbx = user.sbx();
    output(given(sbx.args(["-q", "--profile", "build"]), &tree).args(["sh", "-c", "echo x >file"]))?
        .exits(0)?;
    let layer = kept(user).join("tree-1");
    let record = Record::read(&layer)?;
    same((record.device, record.inode), (before.dev(), before.ino()), "the directory")?;
    same(record.directory.as_path(), tree.as_path(), "its path")?;
    same((record.kind, record.profile.as_str()), (Kind::Overlay, "build"), "kind and profile")?;
    same(record.command, ["sh", "-c", "echo x >file"].map(Into::into).to_vec(), "the command")?;
    let changed = fs::metadata(layer.join("upper/file"))?;
    let changed = i128::from(changed.ctime()) * 1_000_000_000 + i128::from(changed.ctime_nsec());
    same(record.created <= changed, true, "made before anything could be written")?;
    same(fs::metadata(&layer)?.mode() & 0o777, 0o700, "its mode")
}

fn what_is_told(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let script = "echo x >new; echo x >file; rm other; rm -r directory; mkdir -p a/b";
    over(user, &tree, &[], script)?.exits(0)?.stderr_is(&format!(
        "sbx: `{}` stays as it is; 3 new, 1 changed, 2 removed are kept: sbx diff tree-1\n",
        tree.display()
    ))?;
    over(user, &tree, &["--quiet"], script)?.exits(0)?.stderr_is("")?;
    let many =
        "i=0; while [ $i -lt 10100 ]; do : >$i; i=$((i+1)); done; mkdir closed; : >closed/x; chmod 0 closed";
    over(user, &tree, &[], many)?.exits(0)?.stderr_has("at least 10000 new")?;
    Ok(())
}

fn a_program_is_told(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let script = "exec 5>status; exec \"$@\"";
    let mut shell = user.command("sh");
    shell.args(["-c", script, "sh"]).arg(user.sbx_path());
    given(&mut shell, &tree).args(["-q", "--status-fd", "5", "sh", "-c", "rm file"]);
    output(&mut shell)?.exits(0)?;
    let lines = fs::read_to_string(user.project().join("status"))?;
    let ended: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap_or_default())?;
    let wanted = serde_json::json!([{
        "name": "tree-1", "directory": tree.to_string_lossy(), "new": 0, "changed": 0, "removed": 1, "complete": true,
    }]);
    same(&ended["layers"], &wanted, "the status line has")
}

/// A layer with nothing in it goes, also where nothing ran; the next one has its number.
fn nothing_is_left_of_nothing(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &[], "cat file >/dev/null; touch x; rm x")?.exits(0)?.stderr_is("")?;
    same(names(user)?, Vec::new(), "the layers")?;
    over(user, &tree, &["--ro", "/nonexistent"], "true")?.exits(125)?;
    over(user, &tree, &["--chdir", "/nonexistent"], "true")?.exits(125)?;
    same(names(user)?, Vec::new(), "the layers")?;
    over(
        user,
        &tree,
        &["-q"],
        "python3 -c 'import os; os.setxattr(\".\", \"user.x\", b\"y\")' || chmod 711 .",
    )?;
    let mut sbx = user.sbx();
    output(sbx.args(["-q", "--cwd", "none", "--set", &again(&tree, "tree-1"), "true"]))?.exits(0)?;
    over(user, &tree, &["-q"], "rm file")?.exits(0)?;
    same(names(user)?, ["tree-1", "tree-2"].map(str::to_owned).to_vec(), "the layers")
}

/// Starts that race have a layer each.
fn many_at_once(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let start = |number: usize| {
        let script = format!("echo {number} >file; cat file");
        Running::start(given(&mut user.sbx(), &tree).args(["-q", "sh", "-c", &script]))
    };
    let running = (1..=8).map(start).collect::<Result<Vec<_>, _>>()?;
    for (number, one) in (1..).zip(running) {
        one.finish()?.exits(0)?.stdout_is(&format!("{number}\n"))?;
    }
    let mut found = Vec::new();
    for name in names(user)? {
        found.push(fs::read_to_string(kept(user).join(name).join("upper/file"))?);
    }
    found.sort();
    same(found, (1..=8).map(|number| format!("{number}\n")).collect(), "the layers have")
}

fn it_goes_on(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    over(user, &tree, &["-q"], "echo one >file; rm -r directory")?.exits(0)?;
    let goes_on = again(&tree, "tree-1");
    let run = |script: &str| {
        let mut sbx = user.sbx();
        sbx.args(["--cwd", "none", "--set", &goes_on, "--chdir"]).arg(&tree);
        output(sbx.args(["sh", "-c", script]))
    };
    run("cat file; ls -d directory; echo two >>file")?.stdout_is("one\n")?.stderr_has("sbx diff tree-1")?;
    run("cat file")?.stdout_is("one\ntwo\n")?;
    same(names(user)?, vec!["tree-1".to_owned()], "the layers")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    // A layer is of one directory.
    let other = user.mkdir("other/tree")?;
    for (path, layer, why) in
        [(&other, "tree-1", "is not one of its"), (&tree, "tree-9", "there is no layer")]
    {
        let mut sbx = user.sbx();
        sbx.args(["--cwd", "none", "--set", &again(path, layer)]);
        output(sbx.args(["echo", "ran"]))?.exits(125)?.stdout_is("")?.stderr_has(why)?;
    }
    Ok(())
}

/// What the last run has put into its layer leads the set-up of the next nowhere.
fn links_of_the_last_run(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let outside = user.mkdir("outside")?;
    user.put(outside.join("inner"), "outside\n")?;
    let before = (Snapshot::with_times(&tree)?, Snapshot::with_times(&outside)?);
    let plant = format!("rm -r directory; ln -s {} directory; ln -s {0}/new made", outside.display());
    over(user, &tree, &["-q"], &plant)?.exits(0)?;
    let goes_on = again(&tree, "tree-1");
    for below in ["directory/inner", "directory/more", "made", "directory"] {
        let mut sbx = user.sbx();
        sbx.args(["--cwd", "none", "--set", &goes_on, "--rw"])
            .arg(&outside)
            .arg("--tmpfs")
            .arg(tree.join(below));
        let script = format!("echo x >{}/x; echo ran", tree.join(below).display());
        let out = output(sbx.args(["sh", "-c", &script]))?;
        out.exits(125)?.stdout_is("")?.stderr_has("planted")?;
        before.1.same_as(&Snapshot::with_times(&outside)?)?;
        before.0.same_as(&Snapshot::with_times(&tree)?)?;
    }
    Ok(())
}

/// A run that writes until it is told to end.
fn writer(user: &User, tree: &Path) -> Result<Running, Failed> {
    let mut sbx = user.sbx();
    let running = Running::start(given(&mut sbx, tree).args(["sh", "-c", "echo >there; exec sleep 100"]))?;
    wait_for("the run", || {
        let there = |number| kept(user).join(format!("tree-{number}/upper/there")).exists();
        (there(1) || there(2)).then_some(())
    })?;
    Ok(running)
}

fn one_at_a_time(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let first = writer(user, &tree)?;
    let mut sbx = user.sbx();
    sbx.args(["--cwd", "none", "--set", &again(&tree, "tree-1"), "echo", "ran"]);
    output(&mut sbx)?.exits(125)?.stdout_is("")?.stderr_has("another sandbox does")?;
    // Another run has another layer.
    over(user, &tree, &["-q"], "ls there 2>/dev/null; rm file")?.stdout_is("")?;
    same(names(user)?, ["tree-1", "tree-2"].map(str::to_owned).to_vec(), "the layers")?;
    first.signal(Signal::SIGTERM)?;
    first.finish()?;
    Ok(())
}

fn it_stays_after_a_kill(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    let first = writer(user, &tree)?;
    first.signal(Signal::SIGKILL)?;
    drop(first);
    wait_for("the layer", || {
        let mut sbx = user.sbx();
        sbx.args(["--cwd", "none", "--set", &again(&tree, "tree-1"), "--chdir"]).arg(&tree);
        output(sbx.args(["ls", "there"])).ok()?.exits(0).ok().map(drop)
    })?;
    before.same_as(&Snapshot::with_times(&tree)?)
}

/// Runs a verb about layers.
fn verb(user: &User, words: &[&str]) -> Result<Output, Failed> {
    output(user.sbx().args(words))
}

fn they_are_listed(user: &User) -> Verdict {
    verb(user, &["layers"])?.exits(0)?.stdout_is("NAME  KIND  SIZE  AGE  STATE  DIRECTORY\n")?;
    same(kept(user).exists(), false, "it was made by a look")?;
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q"], "head -c 1000000 large >new; ln new link-to-it")?.exits(0)?;
    // Neither of these is a layer.
    user.mkdir(kept(user).join(".passing-1-1/upper"))?;
    user.mkdir(kept(user).join("empty"))?;
    user.mkdir(kept(user).join("mine/upper"))?;
    let running = writer(user, &user.mkdir("tree-of/tree")?)?;
    let text = verb(user, &["layers"])?;
    let rows: Vec<Vec<String>> =
        text.text().lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    let columns = |row: &Vec<String>| [0, 1].map(|column| row.get(column).cloned().unwrap_or_default());
    let wanted = [["mine", "named"], ["tree-1", "overlay"], ["tree-2", "overlay"]];
    same(
        rows.iter().skip(1).map(columns).collect(),
        wanted.map(|row| row.map(str::to_owned)).to_vec(),
        "rows",
    )?;
    text.stdout_has("in use")?.stdout_has(&format!("kept    {}\n", tree.display()))?;
    let json: serde_json::Value = serde_json::from_str(&verb(user, &["layers", "--format", "json"])?.text())?;
    same(&json["version"], &1.into(), "version")?;
    let (one, two) = (&json["layers"][1], &json["layers"][2]);
    same((&one["in-use"], &two["in-use"]), (&false.into(), &true.into()), "in use")?;
    let bytes = one["bytes"].as_u64().unwrap_or_default();
    same((1_000_000..1_100_000).contains(&bytes), true, &format!("a file with two names has {bytes} bytes"))?;
    verb(user, &["layers", "--format", "names"])?.stdout_is("mine\ntree-1\ntree-2\n")?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?;
    Ok(())
}

fn they_are_discarded(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    for _ in 0..3 {
        over(user, &tree, &["-q"], "echo x >file")?.exits(0)?;
    }
    for wrong in ["tree-9", "..", ".", "", "../layers/tree-1", "tree-1/upper", ".passing-1"] {
        let out = verb(user, &["discard", "tree-1", wrong])?;
        out.exits(1)?.stdout_is("")?.stderr_has("cannot find a layer")?;
    }
    same(names(user)?.len(), 3, "layers after mistakes")?;
    verb(user, &["discard", "tree-1", "tree-3", "tree-1"])?.exits(0)?.stdout_is("")?.stderr_is("")?;
    same(names(user)?, vec!["tree-2".to_owned()], "the layers")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    // The next has a number that none has.
    let running =
        Running::start(given(&mut user.sbx(), &tree).args(["sh", "-c", "echo >there; exec sleep 100"]))?;
    wait_for("the run", || kept(user).join("tree-3/upper/there").exists().then_some(()))?;
    let out = verb(user, &["discard", "tree-3"])?;
    out.exits(125)?.stderr_has("a sandbox writes it")?;
    same(kept(user).join("tree-3/upper/there").exists(), true, "it is there")?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?;
    verb(user, &["discard", "tree-3"])?.exits(0)?;
    // A link of that name is no layer, and nothing behind it goes.
    let outside = user.mkdir("outside/upper")?;
    std::os::unix::fs::symlink(outside.parent().unwrap_or(&outside), kept(user).join("link"))?;
    verb(user, &["discard", "link"])?.exits(1)?;
    same(outside.exists(), true, "what a link leads to is there")
}

/// Modes, depths and names that a program may leave; and what a killed `discard` has left goes with the next layer.
fn what_a_program_left_goes(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let outside = user.mkdir("outside")?;
    user.put(outside.join("file"), "")?;
    let deep = format!(
        "ln -s {} out; mkdir -m 0 closed; i=0; while [ $i -lt 400 ]; do mkdir d; cd d; i=$((i+1)); done; >x; chmod 0 .",
        outside.display()
    );
    over(user, &tree, &["-q"], &deep)?.exits(0)?;
    // Root can look everywhere.
    let more = if user.is_root() { "MiB  " } else { "+  " };
    verb(user, &["layers"])?.exits(0)?.stdout_has(more)?;
    verb(user, &["discard", "tree-1"])?.exits(0)?.stderr_is("")?;
    same(names(user)?, Vec::new(), "the layers")?;
    same(outside.join("file").exists(), true, "what a link leads to is there")?;
    user.put(kept(user).join(".passing-1-1/upper/left"), "")?;
    over(user, &tree, &["-q"], "true")?.exits(0)?;
    same(names(user)?, Vec::new(), "what was left")
}

/// Where applying it was killed, only the layer says how that ends: neither is it removed, nor is more put into it.
fn half_applied(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q"], "echo x >file")?.exits(0)?;
    let journal = user.put(kept(user).join("tree-1/journal"), "")?;
    verb(user, &["layers"])?.stdout_has("half applied")?;
    verb(user, &["discard", "tree-1"])?
        .exits(125)?
        .stderr_has("applied in part")?
        .stderr_has("sbx apply tree-1")?;
    let goes_on = || {
        let mut sbx = user.sbx();
        sbx.args(["-q", "--cwd", "none", "--set", &again(&tree, "tree-1"), "echo", "ran"]);
        output(&mut sbx)
    };
    goes_on()?.exits(125)?.stdout_is("")?.stderr_has("applied in part")?;
    fs::remove_file(journal)?;
    goes_on()?.exits(0)?.stdout_is("ran\n")?;
    verb(user, &["discard", "tree-1"])?.exits(0)?;
    Ok(())
}

/// What is written to a root filesystem is not put among the changes to a directory.
fn not_for_a_root(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q"], "echo x >file")?.exits(0)?;
    let mut sbx = user.sbx();
    sbx.args(["--root", "/usr", "--set", "filesystem.writable=layer:tree-1", "echo", "ran"]);
    output(&mut sbx)?.exits(125)?.stdout_is("")?.stderr_has("it has the changes to a directory")?;
    same(Snapshot::of(kept(user).join("tree-1/upper"))?.paths(), vec![Path::new("file")], "the layer")
}
