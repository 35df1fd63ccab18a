//! What an import stores survives a loss of power: the order of what is written to the disk, by strace.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Layer, import, layout, stored};
use libtest_mimic::Failed;
use std::fs;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    let traced = |case: Case| case.needs(Need::Program("strace"));
    vec![traced(case!(before_it_has_its_name)), traced(case!(a_disk_that_fails))]
}

/// The calls of an import that give names, and that wait for the disk.
fn traced(user: &User, image: &Path, name: &str) -> Result<Vec<String>, Failed> {
    let log = user.dir().join("trace");
    let mut command = user.command("strace");
    command.args(["-qq", "-y", "-s", "4096", "-e", "trace=syncfs,fsync,rename,renameat,renameat2", "-o"]);
    command.arg(&log).arg(user.sbx_path()).args(["image", "import"]).arg(image).arg(name);
    output(&mut command)?.exits(0)?;
    Ok(fs::read_to_string(log)?.lines().map(str::to_owned).collect())
}

/// Where the first line is that begins so and has this part, behind a place.
fn next(lines: &[String], from: usize, call: &str, part: &str) -> Result<usize, Failed> {
    let found = lines.iter().skip(from).position(|line| line.starts_with(call) && line.contains(part));
    found
        .map(|found| from + found)
        .ok_or_else(|| format!("no {call} of {part} from {from} on in {lines:#?}").into())
}

fn before_it_has_its_name(user: &User) -> Verdict {
    let layers = || vec![Layer::default().file("a", "x").into(), Layer::default().file("b", "x").into()];
    let image = layout(user, "image", layers(), "")?;
    let lines = traced(user, &image, "x")?;
    let places = stored(user);
    let renamed = |lines: &[String]| lines.iter().filter(|line| line.starts_with("rename")).count();
    // All of it is on the disk, and after that a layer gets its name; after all of them have theirs, the image.
    let synced = next(&lines, 0, "syncfs(", "sbx/images>")?;
    let mut last = 0;
    for place in &places {
        let at = next(&lines, 0, "rename", &format!("{}\"", place.display()))?;
        if at < synced {
            return Err(format!("{} had its name first: {lines:#?}", place.display()).into());
        }
        last = last.max(at);
    }
    let names = next(&lines, last, "fsync(", "images/layers>")?;
    let record = next(&lines, names, "fsync(", "images/images/.importing-")?;
    let shown = next(&lines, record, "rename", "x:latest.json\"")
        .or_else(|_| next(&lines, record, "rename", "images/images/"))?;
    next(&lines, shown, "fsync(", "images/images>")?;
    if places.len() != 2 || renamed(&lines) != 3 {
        return Err(format!("not two layers and an image: {lines:#?}").into());
    }
    // The control: with nothing new, the whole filesystem is not waited for.
    let again = traced(user, &image, "y")?;
    if again.iter().any(|line| line.starts_with("syncfs")) || renamed(&again) != 1 {
        return Err(format!("nothing was new: {again:#?}").into());
    }
    // What is forgotten stays so, as its layers may go next.
    let log = user.dir().join("trace");
    let mut command = user.command("strace");
    command.args(["-qq", "-y", "-e", "trace=fsync,unlink", "-o"]).arg(&log).arg(user.sbx_path());
    output(command.args(["image", "rm", "x"]))?.exits(0)?;
    let lines: Vec<String> = fs::read_to_string(&log)?.lines().map(str::to_owned).collect();
    let gone = next(&lines, 0, "unlink(", "images/images/")?;
    next(&lines, gone, "fsync(", "images/images>")?;
    Ok(())
}

/// What the disk did not take has no name.
fn a_disk_that_fails(user: &User) -> Verdict {
    let image = layout(user, "image", vec![Layer::default().file("a", "x").into()], "")?;
    for call in ["syncfs", "fsync"] {
        let mut command = user.command("strace");
        command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={call}:error=EIO:when=1")]);
        let failed = output(command.arg(user.sbx_path()).args(["image", "import"]).arg(&image).arg("x"))?;
        failed.exits(125)?.stdout_is("")?.stderr_has(": i/O error")?;
        output(user.sbx().args(["image", "list"]))?.exits(0)?.stdout_lacks("x:latest")?;
        let whole = stored(user).into_iter().all(|layer| layer.join("tree/a").exists());
        failed.check(whole, || "no layer in part".to_owned())?;
    }
    import(user, &image, &["x"])?.exits(0)?;
    Ok(())
}
