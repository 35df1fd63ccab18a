//! The registry: an entry for each sandbox while it runs, by names that are its own, and nothing for those inside.

use crate::common::{Case, Running, User, Verdict, case, output, wait_for};
use crate::probe;
use crate::stage::{name, with_registry};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use sbx::plan::MountOp;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(an_entry_while_it_runs),
        case!(watched),
        case!(a_name_once),
        case!(a_name_of_one_that_was_killed),
        case!(generated_names_differ),
        case!(a_stopped_one_is_listed),
        case!(planted_registries),
        case!(without_a_place),
        case!(not_for_those_inside),
    ]
}

/// A sandbox that sleeps, with this registry.
fn sleeping(user: &User, name: &str) -> Result<(Running, PathBuf), Failed> {
    let (mut sbx, dir) = with_registry(user)?;
    let running = Running::start(sbx.args(["--name", name, "sleep", "100"]))?;
    let info = dir.join("sbx").join(name).join("info.json");
    wait_for("its entry", || info.exists().then_some(()))?;
    Ok((running, dir))
}

fn verb(user: &User, words: &[&str]) -> Result<crate::common::Output, Failed> {
    output(with_registry(user)?.0.args(words))
}

fn an_entry_while_it_runs(user: &User) -> Verdict {
    let name = name("box");
    let (running, dir) = sleeping(user, &name)?;
    let entry = dir.join("sbx").join(&name);
    let mode = |path: &Path| fs::symlink_metadata(path).map(|found| found.permissions().mode() & 0o777);
    if mode(&dir.join("sbx"))? != 0o700 || mode(&entry)? != 0o700 || mode(&entry.join("info.json"))? != 0o600
    {
        return Err("others can look into it".into());
    }
    verb(user, &["ps", "--format", "names"])?.exits(0)?.stdout_is(&format!("{name}\n"))?;
    let listed = verb(user, &["ps", "--format", "json"])?;
    let page: Value = serde_json::from_str(&listed.text())?;
    let one = &page["sandboxes"][0];
    let right = page["version"] == 1
        && one["name"] == *name
        && one["profile"] == "default"
        && one["pid"] == running.pid()
        && one["state"] == "running"
        && one["command"] == serde_json::json!(["sleep", "100"]);
    listed.check(right, || "the sandbox as it is".to_owned())?;
    let table = verb(user, &["ps"])?;
    table.exits(0)?.stdout_has("NAME")?.stdout_has(&name)?.stdout_has("sleep 100")?;
    verb(user, &["stop", "--grace", "5s", &name])?.exits(0)?;
    running.finish()?.killed_by(Signal::SIGTERM)?;
    if entry.exists() { Err("the entry is left".into()) } else { Ok(()) }
}

/// `sbx stats` once is one table; watching goes on until the sandbox has ended.
fn watched(user: &User) -> Verdict {
    let name = name("box");
    let (running, _) = sleeping(user, &name)?;
    let tables = |text: &str| text.matches("MEMORY").count();
    let once = verb(user, &["stats", &name])?;
    once.exits(0)?.check(tables(&once.text()) == 1, || "one table".to_owned())?;
    let watching = Running::start(with_registry(user)?.0.args(["stats", "--watch", &name]))?;
    std::thread::sleep(std::time::Duration::from_millis(2500));
    running.signal(Signal::SIGTERM)?;
    running.finish()?;
    let out = watching.finish()?;
    out.exits(1)?.stderr_has("none of that name runs")?;
    out.check(tables(&out.text()) > 1, || "a table a second".to_owned())?;
    Ok(())
}

fn a_name_once(user: &User) -> Verdict {
    let name = name("box");
    let (running, dir) = sleeping(user, &name)?;
    let again = output(with_registry(user)?.0.args(["--name", &name, "sh", "-c", "echo ran"]))?;
    again.exits(125)?.stdout_is("")?.stderr_has("one of that name runs")?.stderr_has("hint: ")?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?;
    output(with_registry(user)?.0.args(["--name", &name, "true"]))?.exits(0)?.stderr_is("")?;
    let left: Vec<_> = fs::read_dir(dir.join("sbx"))?.flatten().map(|entry| entry.file_name()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}").into()) }
}

/// What it has left is swept away by whoever looks next, and keeps nobody from its name.
fn a_name_of_one_that_was_killed(user: &User) -> Verdict {
    let name = name("box");
    for sweep in [&["ps"][..], &["--name", &name, "true"], &["true"]] {
        let (running, dir) = sleeping(user, &name)?;
        running.signal(Signal::SIGKILL)?;
        running.finish()?;
        if !dir.join("sbx").join(&name).exists() {
            return Err("nothing was left to sweep".into());
        }
        verb(user, sweep)?.exits(0)?.stdout_lacks(&name)?;
        verb(user, &["ps"])?.exits(0)?.stdout_lacks(&name)?;
        if dir.join("sbx").join(&name).exists() {
            return Err(format!("{sweep:?} leaves the entry").into());
        }
    }
    Ok(())
}

fn generated_names_differ(user: &User) -> Verdict {
    let mut all = Vec::new();
    for _ in 0..3 {
        let (mut sbx, dir) = with_registry(user)?;
        all.push((Running::start(sbx.args(["sleep", "100"]))?, dir));
    }
    let dir = &all[0].1;
    let names = || -> Vec<String> {
        let entries = fs::read_dir(dir.join("sbx")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    wait_for("three entries", || {
        (names().iter().filter(|name| name.starts_with("sleep-")).count() == 3).then_some(())
    })
}

fn a_stopped_one_is_listed(user: &User) -> Verdict {
    let name = name("box");
    let (running, _) = sleeping(user, &name)?;
    running.signal(Signal::SIGSTOP)?;
    wait_for("the state", || {
        let page: Value = serde_json::from_str(&verb(user, &["ps", "--format", "json"]).ok()?.text()).ok()?;
        (page["sandboxes"][0]["state"] == "stopped").then_some(())
    })?;
    verb(user, &["stop", &name])?.exits(0)?;
    running.finish()?.killed_by(Signal::SIGTERM)?;
    Ok(())
}

/// One that somebody else has made, or could have, is not trusted; only a sandbox that is to have a name needs it.
fn planted_registries(user: &User) -> Verdict {
    let (_, dir) = with_registry(user)?;
    let path = dir.join("sbx");
    user.mkdir("elsewhere")?;
    symlink(user.dir().join("elsewhere"), &path)?;
    refused(user, "it is not a directory", "")?;
    fs::remove_file(&path)?;
    fs::write(&path, "")?;
    refused(user, "it is not a directory", "")?;
    fs::remove_file(&path)?;
    user.mkdir("run/sbx")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    refused(user, "others can write there", "cannot trust the registry")?;
    fs::remove_dir(&path)?;
    if nix::unistd::geteuid().is_root() {
        fs::create_dir(&path)?;
        let other = if user.is_root() { 4711 } else { 0 };
        std::os::unix::fs::chown(&path, Some(other), Some(other))?;
        refused(user, &format!("it belongs to uid {other}, not to you"), "cannot trust the registry")?;
    }
    Ok(())
}

fn refused(user: &User, why: &str, warning: &str) -> Verdict {
    let (mut sbx, _) = with_registry(user)?;
    output(sbx.args(["--name", "box", "sh", "-c", "echo ran"]))?
        .exits(125)?
        .stdout_is("")?
        .stderr_has(why)?;
    for words in [&["ps"][..], &["stats"], &["stop", "box"], &["exec", "box", "true"]] {
        verb(user, words)?.exits(125)?.stderr_has(why)?;
    }
    // Without a name it runs, and says so where somebody could have meant harm.
    verb(user, &["sh", "-c", "echo ran"])?.exits(0)?.stdout_is("ran\n")?.stderr_has(warning)?;
    Ok(())
}

fn without_a_place(user: &User) -> Verdict {
    let set = |words: &[&str]| output(user.sbx().env("XDG_RUNTIME_DIR", "/nonexistent/run").args(words));
    set(&["sh", "-c", "echo ran"])?.exits(0)?.stdout_is("ran\n")?.stderr_is("")?;
    set(&["--name", "box", "true"])?.exits(125)?.stderr_has("/nonexistent/run/sbx")?;
    set(&["ps"])?.exits(0)?;
    Ok(())
}

/// What is edited off: the cover over the registry.
pub(crate) fn uncovered(plan: &mut sbx::plan::Plan) {
    let registry = plan.registry.clone();
    plan.mounts.retain(|mount| mount.op != MountOp::Mask || Some(&mount.dest) != registry.as_ref());
}

/// A bind around the registry does not show it; and a process inside that reaches a socket all the same is not heard.
fn not_for_those_inside(user: &User) -> Verdict {
    let name = name("box");
    let (running, dir) = sleeping(user, &name)?;
    let (run, socket) = (dir.to_string_lossy().into_owned(), dir.join("sbx").join(&name).join("control"));
    let socket = socket.to_string_lossy().into_owned();
    let inside = |edit: Option<&str>| -> Result<String, Failed> {
        let mut sbx = edit.map_or_else(|| user.sbx(), |edit| user.edited(edit));
        sbx.env("XDG_RUNTIME_DIR", &dir);
        let out = output(&mut probe::command(user, sbx, &["--ro", &run], &["end", &socket]))?;
        out.exits(0)?;
        Ok(out.text().trim().to_owned())
    };
    let covered = inside(None)?;
    if !covered.contains("cannot connect") {
        return Err(format!("covered: {covered}").into());
    }
    let reached = inside(Some("uncovered"))?;
    if !reached.contains("not heard") {
        return Err(format!("uncovered: {reached}").into());
    }
    let lives = verb(user, &["exec", &name, "echo", "lives"])?;
    lives.exits(0)?.stdout_is("lives\n")?;
    // The control: the same words from outside end it.
    let out = output(user.command(user.edited_path()).args([probe::WORD, "end", &socket]))?;
    out.stdout_is("through\n")?;
    running.finish()?.killed_by(Signal::SIGTERM)?;
    Ok(())
}
