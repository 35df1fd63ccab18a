//! System calls that fail, and kills: nothing runs, nothing reaches the directory, and no layer is left in part.

use crate::common::{Case, Need, Output, Snapshot, User, Verdict, case, output};
use crate::stage::{given, names, over, same, tree};
use libtest_mimic::Failed;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    [case!(calls_that_fail), case!(killed_on_the_way), case!(removal_that_is_killed)]
        .into_iter()
        .map(|case| case.needs(Need::Program("strace")))
        .collect()
}

/// What the kernel may say no to on the way to an overlay. All of them are made by each start.
const CALLS: [&str; 9] = [
    "fsetxattr:error=EOPNOTSUPP",
    "fsetxattr:error=ENOSPC",
    "renameat2:error=EIO",
    "fchmod:error=EPERM",
    "utimensat:error=EPERM",
    "flock:error=ENOLCK",
    "flock:error=EINTR:when=2",
    "mount:error=EINVAL",
    "mount:error=EPERM",
];

/// A start under faults.
fn traced(user: &User, tree: &Path, fault: &str, script: &str) -> Result<Output, Failed> {
    let call = fault.split(':').next().unwrap_or_default();
    let mut strace = user.command("strace");
    strace.args(["-f", "-qq", "-b", "execve", "-o"]).arg(user.dir().join("trace"));
    strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={fault}")]).arg(user.sbx_path());
    output(given(&mut strace, tree).args(["-q", "sh", "-c", script]))
}

fn calls_that_fail(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    for fault in CALLS {
        let out = traced(user, &tree, fault, "echo ran; echo x >file")?;
        out.exits(125)?.stdout_is("")?.stderr_has("sbx: error: cannot ")?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
        same(names(user)?, Vec::new(), &format!("{fault}: the layers"))?;
    }
    // The same start without a fault runs.
    let out = traced(user, &tree, "renameat2:error=EIO:when=999", "echo ran; echo x >file")?;
    out.exits(0)?.stdout_is("ran\n")?;
    same(names(user)?, vec!["tree-1".to_owned()], "the layers")
}

/// What is left then is gone with the next start, or whole.
fn killed_on_the_way(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    for call in ["fsetxattr", "fchmod", "renameat2", "mount"] {
        traced(user, &tree, &format!("{call}:signal=KILL"), "echo ran")?.stdout_is("")?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
        over(user, &tree, &["-q"], "echo x >file")?.exits(0)?;
        for name in names(user)? {
            same(name.starts_with("tree-"), true, &format!("{call}: {name} is a whole layer"))?;
            output(user.sbx().args(["discard", &name]))?.exits(0)?;
        }
    }
    Ok(())
}

/// The layer is no layer any more, and what is left of it goes with the next start.
fn removal_that_is_killed(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q"], "for i in 1 2 3 4 5 6 7 8 9; do echo x >$i; done")?.exits(0)?;
    let mut strace = user.command("strace");
    strace.args(["-f", "-qq", "-o"]).arg(user.dir().join("trace"));
    strace.args(["-e", "trace=unlinkat", "-e", "inject=unlinkat:signal=KILL:when=4"]);
    output(strace.arg(user.sbx_path()).args(["discard", "tree-1"]))?;
    let left = names(user)?;
    same(left.len() == 1 && left[0].starts_with(".passing-"), true, &format!("left is {left:?}"))?;
    output(user.sbx().arg("layers"))?.stdout_is("NAME  KIND  SIZE  AGE  STATE  DIRECTORY\n")?;
    over(user, &tree, &["-q"], "true")?.exits(0)?;
    same(names(user)?, Vec::new(), "the layers")
}
