//! Links that a program or somebody else has put in the way, also while changes are carried over: nothing outside is reached.

use crate::common::{Case, User, Verdict, case, output};
use crate::stage::{Ground, OVERLAY, equal, tree};
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(links_in_the_layer).needs(OVERLAY),
        case!(links_in_the_directory),
        case!(links_that_come_and_go),
        case!(a_name_that_is_taken_meanwhile),
        case!(a_layer_that_is_a_link),
    ]
}

/// A program replaces directories and files by links, and what it then writes goes to the layer.
fn links_in_the_layer(user: &User) -> Verdict {
    let outside = user.mkdir("outside")?;
    user.put("outside/f", "mine\n")?;
    let before = tree(&outside)?;
    let ground = Ground::new(user, "mkdir d; echo x >d/f; echo y >f")?;
    ground.change(&format!("rm -r d; ln -s {0} d; ln -sf {0}/f f; ln -s {0} new", outside.display()))?;
    ground.sbx(&["apply"])?.exits(0)?.stdout_has("! leads outside")?;
    equal(&tree(&outside)?, &before)?;
    if fs::read_link(ground.dir.join("d"))? != outside {
        Err("the link itself is what was made".into())
    } else {
        Ok(())
    }
}

/// The directory has a link now where the layer has a directory.
fn links_in_the_directory(user: &User) -> Verdict {
    let outside = user.mkdir("outside")?;
    user.put("outside/f", "mine\n")?;
    let before = tree(&outside)?;
    let ground = Ground::new(user, "mkdir d; echo x >d/f")?;
    user.put(ground.layer.join("upper/d/f"), "changed\n")?;
    user.put(ground.layer.join("upper/d/new"), "new\n")?;
    fs::rename(ground.dir.join("d"), ground.dir.join("old"))?;
    symlink(&outside, ground.dir.join("d"))?;
    ground.sbx(&["diff"])?.exits(0)?.stdout_is("T  d/  (link -> directory)\nA  d/f\nA  d/new\n")?;
    ground.sbx(&["apply"])?.exits(1)?.stderr_has("    d: changed since the layer was made\n")?;
    equal(&tree(&outside)?, &before)?;
    // The control: who copies without a look writes there.
    output(user.command("cp").arg(ground.layer.join("upper/d/f")).arg("d/f"))?.exits(0)?;
    if tree(&outside)? == before { Err("no way leads outside at all".into()) } else { Ok(()) }
}

/// A directory is one moment itself and the next a link to another place, while changes below it are carried over.
fn links_that_come_and_go(user: &User) -> Verdict {
    let outside = user.mkdir("outside")?;
    user.put("outside/f", "mine\n")?;
    user.put("outside/gone/g", "mine\n")?;
    let before = tree(&outside)?;
    let ground = Ground::new(user, "mkdir -p d/gone; echo x >d/f; echo g >d/gone/g")?;
    let directory = ground.dir.join("d");
    let aside = ground.dir.join("aside");
    let stop = AtomicBool::new(false);
    let (mut done, mut kept_out) = (0, 0);
    std::thread::scope(|scope| -> Verdict {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&directory, &aside);
                let _ = symlink(&outside, &directory);
                std::thread::yield_now();
                let _ = fs::remove_file(&directory);
                let _ = fs::rename(&aside, &directory);
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let result = (0..1500).try_for_each(|round| {
            // On a machine that does one thing at a time it takes longer until the two meet.
            if round >= 100 && done > 0 && kept_out > 0 {
                return Ok(());
            }
            let name = format!("project-{}", round + 1);
            let layer = ground.layer.with_file_name(&name);
            user.put(layer.join("upper/d/f"), format!("{round}\n"))?;
            user.put(layer.join("upper/d/new"), "new\n")?;
            user.put(layer.join("upper/d/.wh.gone"), "")?;
            if !layer.join("layer.json").exists() {
                // Made over a moment in which it may look like anything.
                let _ = ground.record(&layer);
            }
            match ground.sbx(&["apply", "-q", &name])?.status.code() {
                Some(0) => done += 1,
                _ => kept_out += 1,
            }
            equal(&tree(&outside)?, &before)
        });
        stop.store(true, Ordering::Relaxed);
        result
    })?;
    if done > 0 && kept_out > 0 {
        Ok(())
    } else {
        Err(format!("{done} applied, {kept_out} kept out: no race").into())
    }
}

/// What appears in the last moment is not overwritten: here after the check, which a stopped `sbx` has behind it.
fn a_name_that_is_taken_meanwhile(user: &User) -> Verdict {
    let ground = Ground::new(user, "echo a >a; echo gone >gone")?;
    for (name, text) in [("new", "new\n"), ("a", "changed\n"), ("fine", "fine\n"), (".wh.gone", "")] {
        user.put(ground.layer.join("upper").join(name), text)?;
    }
    let mut command = user.command("strace");
    // The journal is written, and nothing renamed: the third rename is the first that changes the directory.
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=renameat2:signal=SIGKILL:when=1"]);
    output(command.arg(user.sbx_path()).arg("apply"))?;
    user.put(ground.dir.join("new"), "somebody's\n")?;
    user.put(ground.dir.join("gone"), "somebody's\n")?;
    let output = ground.sbx(&["apply"])?;
    output.exits(1)?.stderr_has("    new: ")?.stderr_has("    gone: it was changed just now\n")?;
    let text = |name: &str| fs::read_to_string(ground.dir.join(name));
    if [text("new")?, text("gone")?, text("a")?, text("fine")?]
        != ["somebody's\n", "somebody's\n", "changed\n", "fine\n"]
    {
        return Err("not the two alone stayed".into());
    }
    ground.differs(&["D  gone", "M  new"])
}

fn a_layer_that_is_a_link(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    let elsewhere = user.mkdir("elsewhere")?;
    user.put("elsewhere/f", "")?;
    fs::remove_dir_all(ground.layer.join("upper"))?;
    symlink(&elsewhere, ground.layer.join("upper"))?;
    for verb in ["diff", "apply"] {
        ground.sbx(&[verb])?.exits(125)?.stdout_is("")?.stderr_has("cannot open the layer `")?;
    }
    Ok(())
}
