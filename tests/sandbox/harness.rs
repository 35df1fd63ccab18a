//! The tests' own tools do what the other cases take for granted.

use crate::common::{
    Case, Running, Snapshot, User, Verdict, case, output, output_with_input, output_within, process,
};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_user_is_who_they_should_be),
        case!(a_user_can_write_at_home),
        case!(a_hang_ends),
        case!(a_leftover_process_is_a_failure),
        case!(a_signal_is_reported),
        case!(input_arrives),
        case!(a_snapshot_sees_changes),
        case!(proc_is_read),
    ]
}

fn a_user_is_who_they_should_be(user: &User) -> Verdict {
    let status = process::Status::parse(&output(user.command("cat").arg("/proc/self/status"))?.text());
    let capabilities = status.capabilities()?[2];
    if status.number("Uid")? != u64::from(user.uid()) || user.is_root() != (capabilities != 0) {
        return Err(format!("wrong user: {status:?}").into());
    }
    if user.is_root() {
        return Ok(());
    }
    // Started as root it has no other group; started as somebody it has theirs.
    let dropped = nix::unistd::geteuid().is_root();
    if dropped && !status.numbers("Groups")?.is_empty() {
        return Err(format!("supplementary groups: {status:?}").into());
    }
    Ok(())
}

fn a_user_can_write_at_home(user: &User) -> Verdict {
    output(user.command("sh").args(["-c", "pwd && echo x >here && echo x >$HOME/there && env | wc -l"]))?
        .exits(0)?
        .stdout_has(&format!("{}\n", user.project().display()))?;
    output(user.command(user.sbx_path()).arg("--version"))?.exits(0)?;
    Ok(())
}

fn a_hang_ends(user: &User) -> Verdict {
    let script = "echo before; sleep 300 & sleep 300";
    let failure = output_within(Duration::from_millis(300), user.command("sh").args(["-c", script]));
    let Err(failure) = failure else { return Err("it did not hang".into()) };
    let message = failure.message().unwrap_or_default();
    if ["HANG", "before", "sleep 300"].iter().all(|part| message.contains(part)) {
        Ok(())
    } else {
        Err(failure)
    }
}

fn a_leftover_process_is_a_failure(user: &User) -> Verdict {
    match output(user.command("sh").args(["-c", "echo out; sleep 6 & exit 0"])) {
        Err(failure) if failure.message().unwrap_or_default().contains("left a process behind") => Ok(()),
        other => Err(format!("not noticed: {other:?}").into()),
    }
}

fn a_signal_is_reported(user: &User) -> Verdict {
    let running = Running::start(user.command("sleep").arg("300"))?;
    running.signal(Signal::SIGTERM)?;
    running.finish()?.killed_by(Signal::SIGTERM)?;
    Ok(())
}

fn input_arrives(user: &User) -> Verdict {
    output_with_input(&mut user.command("cat"), b"a\nb\n")?.exits(0)?.stdout_is("a\nb\n")?;
    Ok(())
}

fn a_snapshot_sees_changes(user: &User) -> Verdict {
    user.put("tree/kept", "same")?;
    user.put("tree/below/edited", "old")?;
    user.put("tree/gone", "")?;
    let tree = user.dir().join("tree");
    let before = Snapshot::of(&tree)?;
    before.same_as(&Snapshot::of(&tree)?)?;
    user.put("tree/below/edited", "new")?;
    user.put_program("tree/made", "")?;
    fs::remove_file(tree.join("gone"))?;
    let difference = before.difference(&Snapshot::of(&tree)?);
    let lines: Vec<_> =
        difference.lines().map(|line| line.split(['(', ':']).next().unwrap_or_default()).collect();
    if lines == ["~ below/edited", "- gone ", "+ made "] { Ok(()) } else { Err(difference.into()) }
}

fn proc_is_read(_: &User) -> Verdict {
    let own = process::own_pid();
    let mounts = process::Mount::all_of(own)?;
    let limits = process::limits(own)?;
    if !mounts.iter().any(|mount| mount.target.as_os_str() == "/" && (mount.has("rw") || mount.has("ro"))) {
        return Err(format!("no root: {mounts:?}").into());
    }
    if !limits.contains_key("Max open files")
        || limits.values().any(|(soft, hard)| soft.is_none() && hard.is_some())
    {
        return Err(format!("odd limits: {limits:?}").into());
    }
    if !process::environ(own)?.contains_key("PATH".as_ref() as &std::ffi::OsStr) {
        return Err("no PATH".into());
    }
    if process::namespaces(own)?.get("user").is_none_or(|id| !id.starts_with("user:[")) {
        return Err("no user namespace".into());
    }
    if process::descriptors(own)?.is_empty() { Err("no descriptors".into()) } else { Ok(()) }
}
