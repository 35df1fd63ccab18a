//! `--status-fd`: what happened, as lines of JSON, however a run ends.

use crate::common::{Case, Running, User, Verdict, case, output, process, wait_for};
use crate::stage::{bash, comm, text};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(status_lines_of_each_end),
        case!(status_lines_of_each_failure),
        case!(status_lines_of_a_killed_pid_1),
        case!(status_lines_tell_the_commands_process_and_namespaces),
        case!(status_lines_tell_the_walls),
        case!(status_lines_to_a_closed_reader_hurt_nobody),
        case!(status_lines_need_a_descriptor_to_write_to),
        case!(status_lines_are_not_for_the_command),
        case!(status_lines_can_go_to_a_standard_descriptor),
    ]
}

/// A run whose lines go to the file `status` in the user's directory.
fn told(user: &User, arguments: &[&str]) -> std::process::Command {
    let mut command = bash(user, "exec 9>\"$DIR/status\"; exec \"$SBX\" --status-fd 9 \"$@\"");
    command.arg("bash").args(arguments);
    command
}

/// What the file holds; each line is an object of the first version.
fn events(user: &User) -> Result<Vec<Value>, Failed> {
    let text = text(&user.dir().join("status"));
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(format!("half a line: {text}").into());
    }
    let events: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let events = events.map_err(|error| format!("{error}: {text}"))?;
    match events.iter().find(|event| event["version"] != 1) {
        Some(event) => Err(format!("not version 1: {event}").into()),
        None => Ok(events),
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap_or("none")).collect()
}

fn expect(events: &[Value], index: usize, wanted: &Value) -> Verdict {
    let event = &events[index];
    for (key, value) in wanted.as_object().into_iter().flatten() {
        if event[key] != *value {
            return Err(format!("{key} should be {value}: {event}").into());
        }
    }
    Ok(())
}

fn status_lines_of_each_end(user: &User) -> Verdict {
    let exited = |code: i32| json!({"why": "exited", "exit-code": code, "signal": null, "status": code});
    let signaled =
        |signal: i32| json!({"why": "signaled", "exit-code": null, "signal": signal, "status": 128 + signal});
    let runs: [(&[&str], Value); 7] = [
        (&["true"], exited(0)),
        (&["sh", "-c", "exit 7"], exited(7)),
        (&["sh", "-c", "exit 255"], exited(255)),
        (&["sh", "-c", "kill -9 $$"], signaled(9)),
        (&["sh", "-c", "kill -TERM $$"], signaled(15)),
        (&["bash", "-c", "kill -64 $$"], signaled(64)),
        (&["--timeout", "1s", "sleep", "60"], json!({"why": "timeout", "status": 124})),
    ];
    for (arguments, wanted) in runs {
        let out = output(&mut told(user, arguments))?;
        let events = events(user)?;
        out.check(names(&events) == ["started", "ended"], || format!("started, ended: {events:?}"))?;
        expect(&events, 1, &wanted)?;
        let used = &events[1]["resources"];
        for key in ["wall-seconds", "user-seconds", "system-seconds", "max-rss-bytes"] {
            let fine = used[key].as_f64().is_some_and(|value| value >= 0.0);
            out.check(fine, || format!("{key} in {used}"))?;
        }
        let wall = used["wall-seconds"].as_f64().unwrap_or(0.0);
        out.check(wall > 0.0 && wall <= out.took.as_secs_f64(), || format!("{wall} s of it"))?;
    }
    Ok(())
}

fn status_lines_of_each_failure(user: &User) -> Verdict {
    user.put("home/project/plain", "text\n")?;
    let runs: [(&[&str], u8); 6] = [
        (&["no-such-program"], 127),
        (&["./plain"], 126),
        (&["--ro", "/nonexistent/source", "true"], 125),
        (&["--profile", "no-such-profile", "true"], 125),
        (&["--set", "no.such=1", "true"], 125),
        (&["--keep-fd", "77", "true"], 125),
    ];
    for (arguments, status) in runs {
        let out = output(&mut told(user, arguments))?;
        let events = events(user)?;
        out.exits(status.into())?
            .check(names(&events) == ["failed"], || format!("only failed: {events:?}"))?;
        expect(&events, 0, &json!({ "status": status }))?;
        let message = events[0]["message"].as_str().unwrap_or_default();
        let first = message.lines().next().unwrap_or_default();
        out.check(!first.is_empty() && out.errors().contains(first), || format!("on stderr: {message}"))?;
    }
    Ok(())
}

/// The `started` line of a run that goes on.
fn started(user: &User) -> Result<Value, Failed> {
    wait_for("a line", || events(user).ok()?.first().cloned())
}

fn status_lines_of_a_killed_pid_1(user: &User) -> Verdict {
    let running = Running::start(&mut told(user, &["sleep", "60"]))?;
    let init = started(user)?["init"].as_i64().and_then(|pid| i32::try_from(pid).ok()).ok_or("no init")?;
    kill(Pid::from_raw(init), Signal::SIGKILL)?;
    let out = running.finish()?;
    let events = events(user)?;
    out.exits(137)?.check(names(&events) == ["started", "failed"], || format!("{events:?}"))?;
    expect(&events, 1, &json!({ "status": 137 }))
}

fn status_lines_tell_the_commands_process_and_namespaces(user: &User) -> Verdict {
    let running = Running::start(&mut told(user, &["sleep", "60"]))?;
    let event = started(user)?;
    let number = |key: &str| event[key].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let (Some(pid), Some(init)) = (number("pid"), number("init")) else {
        return Err(format!("no pid or init: {event}").into());
    };
    if (comm(pid), comm(init)) != ("sleep".to_owned(), "sbx-init".to_owned()) {
        return Err(format!("{event}: {} and {}", comm(pid), comm(init)).into());
    }
    let wanted: serde_json::Map<String, Value> = process::namespaces(pid)?
        .into_iter()
        .filter(|(name, _)| !name.ends_with("_for_children"))
        .filter_map(|(name, link)| Some((name, json!(link.split(['[', ']']).nth(1)?.parse::<u64>().ok()?))))
        .collect();
    if event["namespaces"] != Value::Object(wanted.clone()) {
        return Err(format!("namespaces should be {wanted:?}: {event}").into());
    }
    let inside = process::Status::of(pid)?.numbers("NSpid")?;
    if inside.last() != Some(&2) {
        return Err(format!("not the payload: {inside:?}").into());
    }
    running.signal(Signal::SIGTERM)?;
    running.finish()?.killed_by(Signal::SIGTERM)?;
    let events = events(user)?;
    expect(&events, 1, &json!({"event": "ended", "why": "signaled", "signal": 15, "status": 143}))
}

fn status_lines_tell_the_walls(user: &User) -> Verdict {
    output(&mut told(user, &["true"]))?.exits(0)?;
    let event = events(user)?.into_iter().next().ok_or("no line")?;
    let has = |key: &str, wall: &str| event[key].as_array().is_some_and(|walls| walls.contains(&json!(wall)));
    for wall in ["namespaces", "mounts", "capabilities", "no-new-privs", "seccomp"] {
        if !has("enforced", wall) || has("not-enforced", wall) {
            return Err(format!("{wall} in {event}").into());
        }
    }
    if event["profile"] == json!("default") && event["warnings"].is_array() {
        return Ok(());
    }
    Err(format!("profile and warnings in {event}").into())
}

fn status_lines_to_a_closed_reader_hurt_nobody(user: &User) -> Verdict {
    let script = "exec 9> >(exec true); wait $!; exec \"$SBX\" --status-fd 9 sh -c 'echo ran; exit 5'";
    output(&mut bash(user, script))?.exits(5)?.stdout_is("ran\n")?.stderr_is("")?;
    Ok(())
}

fn status_lines_need_a_descriptor_to_write_to(user: &User) -> Verdict {
    for redirection in ["9<&-", "9</dev/null"] {
        let script = format!("\"$SBX\" --status-fd 9 echo ran {redirection}");
        output(&mut bash(user, &script))?.exits(125)?.stdout_is("")?.stderr_has("descriptor 9")?;
    }
    Ok(())
}

fn status_lines_are_not_for_the_command(user: &User) -> Verdict {
    let out = output(&mut told(user, &["sh", "-c", "[ ! -e /proc/self/fd/9 ]; echo $?; echo 'text' >&9"]))?;
    out.stdout_is("0\n")?;
    out.check(out.status.code() != Some(0), || "the descriptor is open".to_owned())?;
    events(user)?;
    if Path::new(&user.project().join("9")).exists() { Err("a file 9".into()) } else { Ok(()) }
}

fn status_lines_can_go_to_a_standard_descriptor(user: &User) -> Verdict {
    let out = output(user.sbx().args(["--status-fd", "2", "sh", "-c", "exit 4"]))?;
    let events: Vec<Value> =
        out.errors().lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    out.exits(4)?.check(names(&events) == ["started", "ended"], || format!("{events:?}"))?;
    Ok(())
}
