//! A kill at any moment: the next `sbx apply` makes of it what one that was not killed makes.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Ground, NAME, OVERLAY, equal, tree};
use libtest_mimic::Failed;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    let strace = Need::Program("strace");
    vec![
        case!(at_every_call).needs(OVERLAY).needs(strace),
        case!(and_with_a_part_alone).needs(OVERLAY).needs(strace),
        case!(without_a_journal).needs(OVERLAY).needs(strace),
        case!(a_journal_that_is_none),
    ]
}

const FILL: &str = "mkdir -p d/sub swap; echo a >a; echo b >b; echo x >d/sub/x; echo t >t; echo s >swap/s";
const SCRIPT: &str = "rm a; echo c >>b; rm -r d; rm t; mkdir t; echo in >t/in; ln t/in t/hard; rm -r swap; ln -s b swap; mkdir -m 700 new; echo n >new/n";

/// Calls that change something, or wait for the disk.
const CALLS: &str =
    "renameat,renameat2,unlinkat,mkdirat,linkat,symlinkat,fchmod,utimensat,fsync,syncfs,write,ftruncate";

/// `sbx apply` that is killed as it makes this one of the calls; whether it came so far.
fn killed(ground: &Ground<'_>, number: usize, paths: &[&str]) -> Result<bool, Failed> {
    let inject = format!("inject={CALLS}:signal=SIGKILL:when={number}");
    let mut command = ground.user.command("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &inject]).arg(ground.user.sbx_path());
    let output = output(command.args(["apply", NAME]).args(paths))?;
    Ok(output.status.code() != Some(0))
}

/// A fresh ground each time; what is expected of it is told by the first.
fn at_each(user: &User, paths: &[&str]) -> Result<(usize, usize), Failed> {
    let (mut number, mut between) = (0, 0);
    loop {
        number += 1;
        let ground = fresh(user)?;
        let before = tree(&ground.dir)?;
        let merged = ground.change(SCRIPT)?;
        if !killed(&ground, number, paths)? {
            return Ok((number, between));
        }
        let after = untimed(&tree(&merged)?);
        let now = untimed(&tree(&ground.dir)?);
        between += usize::from(now != untimed(&before) && now != after);
        // It may have been the very last.
        if ground.layer.exists() {
            let again = ground.sbx(&["apply", NAME])?;
            again
                .exits(0)
                .map_err(|failed| format!("call {number}: {}", failed.message().unwrap_or_default()))?;
        }
        let at =
            |failed: Failed| format!("killed at call {number}: {}", failed.message().unwrap_or_default());
        equal(&untimed(&tree(&ground.dir)?), &after).map_err(at)?;
        let left: Vec<_> = ground
            .left_over()
            .into_iter()
            .filter(|name| !name.to_string_lossy().starts_with(".passing"))
            .collect();
        if !left.is_empty() || ground.layer.exists() {
            return Err(format!("killed at call {number}: {left:?} is left").into());
        }
    }
}

fn fresh(user: &User) -> Result<Ground<'_>, Failed> {
    let layers = user.home().join(".local");
    for directory in [user.project(), layers] {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
    }
    user.mkdir(user.project())?;
    Ground::new(user, FILL)
}

/// Nothing of the times: this is made anew each time.
fn untimed(
    tree: &std::collections::BTreeMap<std::path::PathBuf, String>,
) -> std::collections::BTreeMap<std::path::PathBuf, String> {
    let time = |text: &str| match (text.find(" ("), text.find(") ")) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &text[..start], &text[end + 1..]),
        _ => text.to_owned(),
    };
    tree.iter().map(|(path, text)| (path.clone(), time(text))).collect()
}

fn at_every_call(user: &User) -> Verdict {
    let (calls, between) = at_each(user, &[])?;
    // The control: there were moments at which it was neither as before nor as after.
    if calls > 40 && between > 10 {
        Ok(())
    } else {
        Err(format!("{calls} calls, {between} in between").into())
    }
}

/// The same when something stays in the layer, which is another end.
fn and_with_a_part_alone(user: &User) -> Verdict {
    let (mut number, mut finished) = (0, 0);
    let paths = ["b", "d", "swap", "t"];
    loop {
        number += 1;
        let ground = fresh(user)?;
        let merged = ground.change(SCRIPT)?;
        let was_killed = killed(&ground, number, &paths)?;
        if was_killed {
            let mut arguments = vec!["apply", NAME];
            arguments.extend(paths);
            let again = ground.sbx(&arguments)?;
            // What was done to the end is no change any more.
            let fine = again.status.code() == Some(0) || again.errors().contains("cannot find a change");
            again.check(fine, || format!("call {number}: a clean end"))?;
            finished += usize::from(again.errors().contains("is finished"));
        }
        ground
            .differs(&["D  a", "A  new/", "A  new/n"])
            .map_err(|failed| format!("killed at call {number}: {}", failed.message().unwrap_or_default()))?;
        ground.sbx(&["apply"])?.exits(0)?;
        equal(&untimed(&tree(&ground.dir)?), &untimed(&tree(&merged)?))?;
        if !ground.left_over().is_empty() {
            return Err(format!("killed at call {number}: {:?} is left", ground.left_over()).into());
        }
        if !was_killed {
            break;
        }
    }
    if finished > 10 { Ok(()) } else { Err(format!("{finished} were finished later").into()) }
}

/// The control: without its journal a half-applied layer is not put right.
fn without_a_journal(user: &User) -> Verdict {
    let ground = fresh(user)?;
    ground.change(SCRIPT)?;
    let mut command = user.command("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=renameat2:signal=SIGKILL:when=4"]);
    output(command.arg(user.sbx_path()).args(["apply", NAME]))?;
    ground.sbx(&["diff"])?.stderr_has("is half applied: ")?;
    ground.sbx(&["apply", "--dry-run"])?.exits(125)?.stderr_has("it is half applied\n  hint: ")?;
    fs::remove_file(ground.layer.join("journal"))?;
    ground.sbx(&["apply", NAME])?;
    if ground.left_over().is_empty() { Err("nothing is left over".into()) } else { Ok(()) }
}

fn a_journal_that_is_none(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    user.put(ground.layer.join("upper/new"), "")?;
    for bad in [
        "",
        "{}",
        "{\"version\":2}",
        r#"{"version":1,"stage":"/etc","steps":[],"done":false,"leaving":[],"whole":true}"#,
    ] {
        user.put(ground.layer.join("journal"), bad)?;
        ground.sbx(&["apply"])?.exits(125)?.stdout_is("")?.stderr_has("journal`: ")?;
    }
    fs::remove_file(ground.layer.join("journal"))?;
    ground.sbx(&["apply"])?.exits(0)?;
    Ok(())
}
