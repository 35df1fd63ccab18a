//! A bus that is dead, slow or lies: a message, in time, and never a hang.

use crate::common::{Case, Need, Running, User, Verdict, case, output, output_within, wait_for};
use crate::stage::{is_kept, rung, systemctl};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let cases =
        vec![case!(dead), case!(closed), case!(slow), case!(lying), case!(a_manager_that_stands_still)];
    // Root's is the machine's own, which nothing else would survive without.
    cases.into_iter().map(|case| case.needs(Need::Delegation).only_as_user()).collect()
}

/// What somebody does who has connected.
type Manner = fn(UnixStream);

/// A runtime directory with a bus of this manner; nobody listens without one.
fn runtime_dir(user: &User, manner: Option<Manner>) -> Result<(PathBuf, Arc<AtomicBool>), Failed> {
    let dir = user.mkdir("run")?;
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let over = Arc::new(AtomicBool::new(false));
    let listener = UnixListener::bind(dir.join("bus"))?;
    let Some(manner) = manner else { return Ok((dir, over)) };
    let until = Arc::clone(&over);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if until.load(Ordering::Relaxed) {
                break;
            }
            thread::spawn(move || manner(stream));
        }
    });
    Ok((dir, over))
}

/// No keeper is there that could be used without anybody being asked.
fn without_keeper(user: &User) -> Verdict {
    if rung(user) == "keeper" {
        systemctl(user, &["stop", "sbx-keeper.service"])?;
        wait_for("the keeper's end", || (!is_kept(user)).then_some(()))?;
    }
    Ok(())
}

/// A required limit is 125 with the reason, a preferred one a line; both within some seconds.
fn says(user: &User, manner: Option<Manner>, why: &str) -> Verdict {
    without_keeper(user)?;
    let (dir, over) = runtime_dir(user, manner)?;
    let limit = Duration::from_secs(25);
    let mut required = user.sbx();
    required.env("XDG_RUNTIME_DIR", &dir).args(["--memory", "64M", "sh", "-c", "echo ran"]);
    let mut preferred = user.sbx();
    preferred.env("XDG_RUNTIME_DIR", &dir).args(["--set", "limits.memory=64M", "sh", "-c", "ulimit -d"]);
    // At once, as each waits for some seconds.
    let (required, preferred) = (Running::start(&mut required)?, Running::start(&mut preferred)?);
    required.finish_within(limit)?.exits(125)?.stdout_is("")?.stderr_has(why)?;
    let out = preferred.finish_within(limit)?;
    out.exits(0)?.stdout_is("65536\n")?.stderr_has("sbx: warning: cannot make a ")?.stderr_has(why)?;
    out.check(out.errors().lines().count() == 1, || "one line should say it".to_owned())?;
    over.store(true, Ordering::Relaxed);
    Ok(())
}

fn dead(user: &User) -> Verdict {
    says(user, None, "systemd did not ")
}

fn closed(user: &User) -> Verdict {
    says(user, Some(drop), "systemd did not ")
}

fn slow(user: &User) -> Verdict {
    says(
        user,
        Some(|stream| {
            thread::sleep(Duration::from_secs(60));
            drop(stream);
        }),
        "systemd did not answer within 8 s",
    )
}

/// It says yes to everything, and does nothing.
fn lying(user: &User) -> Verdict {
    says(user, Some(|stream| drop(agree(stream))), "systemd did not answer within 8 s")
}

/// The D-Bus of who agrees (D-Bus specification, authentication and messages), as far as it takes.
fn agree(mut stream: UnixStream) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut part = [0; 4096];
    while !asked.windows(7).any(|window| window == b"BEGIN\r\n") {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Ok(());
        }
        asked.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&asked).into_owned();
        if text.contains("NEGOTIATE_UNIX_FD\r\n") {
            stream.write_all(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n")?;
        }
    }
    let begin = asked.windows(7).position(|window| window == b"BEGIN\r\n").unwrap_or(0) + 7;
    let mut rest = asked.split_off(begin);
    for answer in [(&b"s"[..], ":1.7"), (b"o", "/org/freedesktop/systemd1/job/7")] {
        let serial = loop {
            if let Some(length) = message_length(&rest).filter(|length| rest.len() >= *length) {
                let serial = [rest[8], rest[9], rest[10], rest[11]];
                rest.drain(..length);
                break serial;
            }
            let length = stream.read(&mut part)?;
            if length == 0 {
                return Ok(());
            }
            rest.extend_from_slice(&part[..length]);
        };
        stream.write_all(&reply(serial, answer.0, answer.1))?;
    }
    thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// Bytes of the message that begins here, if so much is there that it says them.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    Some((16 + number(12)?).next_multiple_of(8) + number(4)?)
}

/// A method's return with one string or object path.
fn reply(serial: [u8; 4], signature: &[u8], value: &str) -> Vec<u8> {
    let mut body = (value.len() as u32).to_le_bytes().to_vec();
    body.extend_from_slice(value.as_bytes());
    body.push(0);
    let mut fields = vec![5, 1, b'u', 0];
    fields.extend_from_slice(&serial);
    fields.extend_from_slice(&[8, 1, b'g', 0, signature.len() as u8]);
    fields.extend_from_slice(signature);
    fields.push(0);
    // Who it is from: field 7, a string.
    fields.resize(fields.len().next_multiple_of(8), 0);
    let sender = "org.freedesktop.DBus";
    fields.extend_from_slice(&[7, 1, b's', 0]);
    fields.extend_from_slice(&(sender.len() as u32).to_le_bytes());
    fields.extend_from_slice(sender.as_bytes());
    fields.push(0);
    let mut message = vec![b'l', 2, 1, 1];
    message.extend_from_slice(&(body.len() as u32).to_le_bytes());
    message.extend_from_slice(&7_u32.to_le_bytes());
    message.extend_from_slice(&(fields.len() as u32).to_le_bytes());
    message.extend_from_slice(&fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend_from_slice(&body);
    message
}

/// The real bus, and a user's systemd that a signal has stopped.
fn a_manager_that_stands_still(user: &User) -> Verdict {
    without_keeper(user)?;
    let unit = format!("user@{}.service", user.uid());
    let shown = output(user.command("systemctl").args(["show", "--property=MainPID", "--value", &unit]))?;
    let manager: i32 = shown.text().trim().parse()?;
    kill(Pid::from_raw(manager), Signal::SIGSTOP)?;
    let out =
        output_within(Duration::from_secs(25), user.sbx().args(["--memory", "64M", "sh", "-c", "echo ran"]));
    kill(Pid::from_raw(manager), Signal::SIGCONT)?;
    out?.exits(125)?.stdout_is("")?.stderr_has("systemd did not answer within 8 s")?;
    // And it goes on.
    output(user.sbx().args(["--memory", "64M", "true"]))?.exits(0)?.stderr_is("")?;
    crate::stage::no_group_is_left(user)
}
