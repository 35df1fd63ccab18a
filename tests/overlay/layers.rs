//! The layers: made for each run, told of, found again, taken by one sandbox at a time.

use crate::common::{Case, Running, Snapshot, User, Verdict, case, output, wait_for};
use crate::stage::{again, given, kept, names, over, same, tree};
use nix::sys::signal::Signal;
use sbx::layers::{Kind, Record};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(what_is_written_down),
        case!(what_is_told),
        case!(a_program_is_told),
        case!(nothing_is_left_of_nothing),
        case!(it_goes_on),
        case!(one_at_a_time),
        case!(it_stays_after_a_kill),
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
    over(user, &tree, &["-q"], "rm file")?.exits(0)?;
    same(names(user)?, ["tree-1", "tree-2"].map(str::to_owned).to_vec(), "the layers")
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

/// A run that writes until it is told to end.
fn writer(user: &User, tree: &std::path::Path) -> Result<Running, libtest_mimic::Failed> {
    let mut sbx = user.sbx();
    let running = Running::start(given(&mut sbx, tree).args(["sh", "-c", "echo >there; exec sleep 100"]))?;
    wait_for("the run", || kept(user).join("tree-1/upper/there").exists().then_some(()))?;
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
