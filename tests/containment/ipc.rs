//! D: sockets of other programs, System V and POSIX IPC, the session keyring, families of sockets, io_uring.

use crate::common::{Account, Need, Output, output};
use crate::filtered::{Listed, no_other_filter, sweep, works_outside};
use crate::probe;
use crate::row::{Attempt, Reach, Row, canary};
use crate::stage::Stage;
use crate::walls;
use libtest_mimic::Failed;
use std::fs;
use std::io::Read as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = places();
    rows.extend(objects());
    rows.extend(families());
    rows
}

/// Sockets that have a path: nothing but their absence keeps anybody from connecting, as a read-only mount doesn't.
fn places() -> Vec<Row> {
    let (run, tmp) = ([walls::PRIVATE_RUN], [walls::PRIVATE_TMP]);
    let abstract_socket =
        Row::new("D1 abstract socket", [walls::NETWORK_NAMESPACE, walls::SCOPES], abstract_socket);
    vec![
        // Landlock's scope of abstract sockets.
        abstract_socket.needs(Need::Kernel(6, 12)),
        Row::new("D2 socket in the runtime directory", run, |attempt| {
            says(attempt, "/run/user/UID/app.sock")
        }),
        Row::new("D2a socket in run", run, |attempt| says(attempt, "/run/app/app.sock")),
        Row::new("D3 session bus", run, |attempt| says(attempt, "/run/user/UID/bus")),
        Row::new("D4 user manager", run, |attempt| says(attempt, "/run/user/UID/systemd/private")),
        Row::new("D4a varlink service", run, |attempt| says(attempt, "/run/systemd/io.systemd.Hostname")),
        Row::new("D5 system bus", run, |attempt| says(attempt, "/run/dbus/system_bus_socket")),
        Row::new("D5a system bus behind var", run, system_bus_behind_var),
        Row::new("D10 ssh agent", tmp, |attempt| says(attempt, "/tmp/ssh-AbCdEf/agent.17")),
        Row::new("D10a gpg agent", run, |attempt| says(attempt, "/run/user/UID/gnupg/S.gpg-agent")),
        Row::new("D10b smart cards", run, |attempt| says(attempt, "/run/pcscd/pcscd.comm")),
        Row::new("D11 docker", run, |attempt| says(attempt, "/run/docker.sock")),
        Row::new("D11a podman", run, |attempt| says(attempt, "/run/user/UID/podman/podman.sock")),
        Row::new("D11b containerd", run, |attempt| says(attempt, "/run/containerd/containerd.sock")),
        Row::new("D11c libvirt", run, |attempt| says(attempt, "/run/libvirt/libvirt-sock")),
        Row::new("D12 tmux", tmp, |attempt| says(attempt, "/tmp/tmux-UID/default")),
        Row::new("D12a screen", run, |attempt| says(attempt, "/run/screen/S-user/17.pts-0")),
        Row::new("D12b editor", run, |attempt| says(attempt, "/run/user/UID/nvim.17.0")),
    ]
}

/// What says something to a socket of the machine's that everybody may connect to.
fn says(attempt: &Attempt<'_>, path: &str) -> Result<Reach, Failed> {
    let path = path.replace("UID", &attempt.user.uid().to_string());
    says_by(attempt, &path, &path)
}

/// `/var/run` leads there too.
fn system_bus_behind_var(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    says_by(attempt, "/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket")
}

fn says_by(attempt: &Attempt<'_>, path: &str, name: &str) -> Result<Reach, Failed> {
    let stage = Stage::new(attempt)?;
    let place = stage.place(path)?;
    let listener = UnixListener::bind(&place)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777))?;
    let word = canary()?;
    let probe = attempt.probe(&[], &["say-unix", name, &word]);
    let out = output(&mut stage.on(&probe))?;
    heard(&listener, &word, &out)
}

fn abstract_socket(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let word = canary()?;
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&word)?)?;
    let out = output(&mut attempt.probe(&[], &["say-abstract", &word, &word]))?;
    heard(&listener, &word, &out)
}

/// Whether the listener heard the word.
fn heard(listener: &UnixListener, word: &str, out: &Output) -> Result<Reach, Failed> {
    ran(out)?;
    listener.set_nonblocking(true)?;
    let Ok((mut stream, _)) = listener.accept() else { return Ok(Reach::Held) };
    stream.set_nonblocking(false)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(Reach::through_if(text == word))
}

/// The probe said how it ended: it did run, and not into anything else.
pub(crate) fn ran(out: &Output) -> Result<(), Failed> {
    let said = out.text().trim().rsplit('\n').next().is_some_and(|line| line.parse::<i64>().is_ok());
    out.check(said && matches!(out.status.code(), Some(0 | 1)), || "the probe should run".to_owned())?;
    Ok(())
}

/// What lies in a namespace or belongs to the user.
fn objects() -> Vec<Row> {
    vec![
        Row::new("D13 reads the session keyring", [walls::FILTER, walls::KEYRING], reads_a_key),
        Row::new("D13a plants a key", [walls::FILTER, walls::KEYRING], plants_a_key),
        Row::new("D14 System V memory", [walls::IPC_NAMESPACE], shared_segment),
        Row::new("D14a POSIX queue", [walls::IPC_NAMESPACE], queue),
        Row::new("D14b POSIX memory", [walls::PRIVATE_SHM], posix_memory),
    ]
}

/// The probe outside, as the owner of what is attacked.
fn outside(attempt: &Attempt<'_>, words: &[&str]) -> Result<Output, Failed> {
    output(attempt.user.command(attempt.user.edited_path()).arg(probe::WORD).args(words))
}

fn shared_segment(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let word = canary()?;
    let made = outside(attempt, &["segment-new"])?;
    let id = made.exits(0)?.text().trim().to_owned();
    let attacked = output(&mut attempt.probe(&[], &["segment-write", &id, &word]));
    let found = outside(attempt, &["segment-read", &id, &word]);
    outside(attempt, &["segment-remove", &id])?.exits(0)?;
    ran(&attacked?)?;
    Ok(Reach::through_if(found?.status.success()))
}

fn queue(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let word = canary()?;
    outside(attempt, &["queue-new", &word])?.exits(0)?;
    let attacked = output(&mut attempt.probe(&[], &["queue-send", &word, &word]));
    let found = outside(attempt, &["queue-receive", &word, &word]);
    outside(attempt, &["queue-remove", &word])?.exits(0)?;
    ran(&attacked?)?;
    Ok(Reach::through_if(found?.status.success()))
}

fn posix_memory(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let (name, word) = (canary()?, canary()?);
    let path = format!("/dev/shm/{name}");
    attempt.user.put(&path, "")?;
    // Opened, not made: an own file of that name is no way out.
    let attacked = attempt.sh(&[], &format!("printf %s {word} | dd conv=nocreat of={path}; echo ran"));
    let found = fs::read_to_string(&path);
    fs::remove_file(&path)?;
    attacked?.stdout_is("ran\n")?;
    Ok(Reach::through_if(found? == word))
}

/// A login's session keyring around a command: one of its own, with the key of that name and contents in it; afterwards
/// it says whether a key named like that with `-planted` is there.
const LOGIN: &str = "($name, $secret, $t) = (shift, shift, 'user'); syscall(250, 1, 0) > 0 or die 'join';
    syscall(248, $t, $name, $secret, length $secret, -3) > 0 or die 'add'; system @ARGV;
    $name .= '-planted'; print syscall(250, 10, -3, $t, $name, 0) > 0 ? \"planted\\n\" : \"not planted\\n\"";

fn login(attempt: &Attempt<'_>, key: [&str; 2], command: &Command) -> Result<Output, Failed> {
    let mut caller = attempt.user.command("perl");
    caller.args(["-e", LOGIN]).args(key).arg(command.get_program()).args(command.get_args());
    output(&mut caller)
}

fn reads_a_key(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let (name, secret) = (canary()?, canary()?);
    let out = login(attempt, [&name, &secret], &attempt.probe(&[], &["key-read", &name]))?;
    out.exits(0)?.stdout_has("planted")?;
    Ok(Reach::through_if(out.text().contains(&secret)))
}

fn plants_a_key(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let name = canary()?;
    let call = format!("add_key:=user:={name}-planted:=x:1:-3");
    let out = login(attempt, [&name, "x"], &attempt.probe(&[], &["call", &call]))?;
    out.exits(0)?.stdout_has("planted")?;
    Ok(Reach::through_if(!out.text().contains("not planted")))
}

/// Families and protocols of sockets beside those that everybody uses, and the calls that make others unseen.
fn families() -> Vec<Row> {
    vec![
        Row::new("D15 unusual families", [walls::FILTER], unusual_families)
            .needs(Need::Other(no_other_filter)),
        Row::new("D15a sockets to the hypervisor", [walls::FILTER], |attempt| {
            opens(attempt, "socket", VSOCK, "EAFNOSUPPORT")
        })
        .needs(Need::Other(|_| works_outside("call", VSOCK))),
        Row::new("D16 unusual netlink protocols", [walls::FILTER], unusual_protocols)
            .needs(Need::Other(no_other_filter)),
        Row::new("D16a netlink of IPsec", [walls::FILTER], |attempt| {
            opens(attempt, "socket", XFRM, "EPROTONOSUPPORT")
        })
        .needs(Need::Other(|_| works_outside("call", XFRM))),
        Row::new("D20 rings of calls that no filter sees", [walls::FILTER], |attempt| {
            opens(attempt, "io_uring_setup", RING, "ENOSYS")
        })
        .needs(Need::Other(no_rings)),
    ]
}

/// `AF_VSOCK`, a stream.
const VSOCK: &str = "socket:40:1:0";
/// `AF_NETLINK`, raw, `NETLINK_XFRM`.
const XFRM: &str = "socket:16:3:6";
/// One entry; `struct io_uring_params` is 120 bytes.
const RING: &str = "io_uring_setup:1:*0,0,0,0,0,0,0,0,0,0,0,0,0,0,0";

/// Where they are closed to some, root outside may have them and a sandbox of root's not.
fn no_rings(_: &Account) -> Option<String> {
    let closed =
        fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() != "0");
    if closed { Some("kernel.io_uring_disabled is set".to_owned()) } else { works_outside("call", RING) }
}

/// A call that gives a descriptor, or this error.
fn opens(attempt: &Attempt<'_>, name: &str, call: &str, errno: &str) -> Result<Reach, Failed> {
    match attempt.traced(name, &[], &["call", call])? {
        found if found == errno => Ok(Reach::Held),
        found if found.parse::<u32>().is_ok() => Ok(Reach::Through),
        found => Err(format!("{call} ended with {found}").into()),
    }
}

fn unusual_families(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let usual = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let mut calls = Vec::new();
    for family in (0..=45).filter(|family| !usual.contains(family)) {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET] {
            calls.push(Listed::new("socket", format!("{family}:{kind}:0"), "EAFNOSUPPORT"));
        }
        calls.push(Listed::new("socketpair", format!("{family}:1:0"), "EAFNOSUPPORT"));
    }
    sweep(attempt, &calls)
}

fn unusual_protocols(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let netlink = |protocol| Listed::new("socket", format!("16:3:{protocol}"), "EPROTONOSUPPORT");
    sweep(attempt, &(1..=31).map(netlink).collect::<Vec<_>>())
}
