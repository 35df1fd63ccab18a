//! Imports that are killed: the store is as it was, and the next one cleans up.

use crate::common::{Case, Running, User, Verdict, case, output};
use crate::stage::{Layer, import, layout, stored};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(at_any_moment), case!(while_another_sweeps)]
}

const FILES: usize = 400;

fn large(user: &User, name: &str) -> Result<std::path::PathBuf, libtest_mimic::Failed> {
    let layers = (0..4).map(|layer| {
        let mut packed = Layer::default();
        for number in 0..FILES {
            packed = packed.file(&format!("{layer}-{number}"), &"text ".repeat(100));
        }
        packed.into()
    });
    layout(user, name, layers.collect(), "")
}

/// Layers under their own names are whole.
fn whole(user: &User) -> Result<usize, libtest_mimic::Failed> {
    let mut left = 0;
    for layer in stored(user) {
        if layer.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            left += 1;
            continue;
        }
        let files = fs::read_dir(layer.join("tree"))?.count();
        if files != FILES && files != 1 {
            return Err(format!("{} holds {files} files", layer.display()).into());
        }
    }
    Ok(left)
}

fn at_any_moment(user: &User) -> Verdict {
    let small = layout(user, "small", vec![Layer::default().file("a", "x").into()], "")?;
    let image = large(user, "large")?;
    import(user, &small, &[])?.exits(0)?;
    let (mut killed, mut left) = (0, 0);
    for step in 0..25 {
        let mut running = user.sbx();
        running.args(["image", "import"]).arg(&image);
        let running = Running::start(&mut running)?;
        std::thread::sleep(Duration::from_millis(4 * step));
        // It may have ended.
        let _ = running.signal(Signal::SIGKILL);
        let ended = running.finish()?;
        killed += usize::from(ended.exits(0).is_err());
        left += usize::from(whole(user)? > 0);
        output(user.sbx().args(["image", "show", "small"]))?.exits(0)?;
        let list = output(user.sbx().args(["image", "list"]))?;
        list.exits(0)?.stdout_has("small:latest")?;
    }
    // Some were killed in the middle, or nothing was seen here.
    if killed == 0 || left == 0 {
        return Err(format!("{killed} killed, {left} of them in the middle").into());
    }
    import(user, &image, &[])?.exits(0)?;
    if whole(user)? > 0 || stored(user).len() != 5 {
        return Err(format!("left: {:?}", stored(user)).into());
    }
    Ok(())
}

/// What is being made is not taken for what was left.
fn while_another_sweeps(user: &User) -> Verdict {
    let small = layout(user, "small", vec![Layer::default().file("a", "x").into()], "")?;
    let image = large(user, "large")?;
    let mut command = user.sbx();
    command.args(["image", "import"]).arg(&image);
    let running = Running::start(&mut command)?;
    for _ in 0..5 {
        import(user, &small, &[])?.exits(0)?;
        output(user.sbx().args(["image", "gc"]))?.exits(0)?;
    }
    running.finish()?.exits(0)?;
    if whole(user)? > 0 || stored(user).len() != 5 {
        Err(format!("{:?}", stored(user)).into())
    } else {
        Ok(())
    }
}
