//! A kill at any moment: the next `sbx apply` makes of it what one that was not killed makes.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Ground, NAME, OVERLAY, clear, equal, timeless};
use libtest_mimic::Failed;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    let strace = Need::Program("strace");
    vec![
        case!(at_every_call).needs(OVERLAY).needs(strace),
        case!(and_with_a_part_alone).only_as_user().needs(OVERLAY).needs(strace),
        case!(without_a_journal).needs(OVERLAY).needs(strace),
        case!(a_journal_that_is_none),
    ]
}

const FILL: &str =
    "mkdir -p d/sub swap; echo a >a; echo b >b; echo x >d/sub/x; echo t >t; echo s >swap/s; echo m >m";
const SCRIPT: &str = "rm a; echo c >>b; rm -r d; rm t; mkdir t; echo in >t/in; ln t/in t/hard; rm -r swap; ln -s b swap; mkdir -m 700 new; echo n >new/n; mv m moved";

/// Calls that change something, or wait for the disk.
const CALLS: [&str; 11] = [
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "linkat",
    "symlinkat",
    "fchmod",
    "utimensat",
    "fsync",
    "syncfs",
    "write",
];

/// A moment: as this call is made for the so-manieth time.
type Moment = (&'static str, usize);

/// `sbx apply` that is killed at a moment; whether it came so far.
fn killed(ground: &Ground<'_>, (call, number): Moment, paths: &[&str]) -> Result<bool, Failed> {
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    let mut command = ground.user.command("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &inject]).arg(ground.user.sbx_path());
    let output = output(command.args(["apply", NAME]).args(paths))?;
    Ok(output.status.code() != Some(0))
}

/// Goes through all moments at which `judge` says that it came so far.
fn at_each_moment(mut judge: impl FnMut(Moment) -> Result<bool, Failed>) -> Result<usize, Failed> {
    let mut moments = 0;
    for call in CALLS {
        for number in 1.. {
            let tell = |failed: Failed| format!("{call} {number}: {}", failed.message().unwrap_or_default());
            if !judge((call, number)).map_err(tell)? {
                break;
            }
            moments += 1;
        }
    }
    Ok(moments)
}

fn fresh(user: &User) -> Result<Ground<'_>, Failed> {
    let layers = user.home().join(".local");
    for directory in [user.project(), layers] {
        if directory.exists() {
            clear(user, &directory)?;
        }
    }
    user.mkdir(user.project())?;
    Ground::new(user, FILL)
}

fn at_every_call(user: &User) -> Verdict {
    let mut between = 0;
    let moments = at_each_moment(|moment| {
        let ground = fresh(user)?;
        let before = timeless(&ground.dir)?;
        let after = timeless(&ground.change(SCRIPT)?)?;
        if !killed(&ground, moment, &[])? {
            return Ok(false);
        }
        let now = timeless(&ground.dir)?;
        between += usize::from(now != before && now != after);
        // It may have been the very last.
        if ground.layer.exists() {
            ground.sbx(&["apply", NAME])?.exits(0)?;
        }
        equal(&timeless(&ground.dir)?, &after)?;
        // What is out of sight goes when the next layer is made.
        let left: Vec<_> = ground.left_over();
        let left: Vec<_> =
            left.iter().filter(|name| !name.to_string_lossy().starts_with(".passing-")).collect();
        if left.is_empty() && !ground.layer.exists() {
            Ok(true)
        } else {
            Err(format!("{left:?} is left").into())
        }
    })?;
    // The control: there were moments at which it was neither as before nor as after.
    if moments > 40 && between > 20 {
        Ok(())
    } else {
        Err(format!("{moments} moments, {between} in between").into())
    }
}

/// The same when something stays in the layer, which is another end.
fn and_with_a_part_alone(user: &User) -> Verdict {
    let mut finished = 0;
    let paths = ["b", "d", "swap", "t"];
    let moments = at_each_moment(|moment| {
        let ground = fresh(user)?;
        let merged = ground.change(SCRIPT)?;
        let was_killed = killed(&ground, moment, &paths)?;
        if was_killed {
            let mut arguments = vec!["apply", NAME];
            arguments.extend(paths);
            let again = ground.sbx(&arguments)?;
            // What was done to the end is no change any more.
            let fine = again.status.code() == Some(0) || again.errors().contains("cannot find a change");
            again.check(fine, || "a clean end".to_owned())?;
            finished += usize::from(again.errors().contains("is finished"));
        }
        ground.differs(&["D  a", "D  m", "A  moved", "A  new/", "A  new/n"])?;
        ground.sbx(&["apply"])?.exits(0)?;
        equal(&timeless(&ground.dir)?, &timeless(&merged)?)?;
        if ground.left_over().is_empty() {
            Ok(was_killed)
        } else {
            Err(format!("{:?} is left", ground.left_over()).into())
        }
    })?;
    if moments > 40 && finished > 20 {
        Ok(())
    } else {
        Err(format!("{moments} moments, {finished} finished later").into())
    }
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
        r#"{"version":1,"stage":"/etc","names":0,"foreign":[],"steps":[],"done":false,"leaving":[],"whole":true}"#,
    ] {
        user.put(ground.layer.join("journal"), bad)?;
        ground.sbx(&["apply"])?.exits(125)?.stdout_is("")?.stderr_has("journal`: ")?;
    }
    fs::remove_file(ground.layer.join("journal"))?;
    ground.sbx(&["apply"])?.exits(0)?;
    Ok(())
}
