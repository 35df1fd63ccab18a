//! E: services of the host's on its loopback, packets of one's own making.

use crate::common::{Account, Need, output};
use crate::ipc::ran;
use crate::row::{Attempt, Reach, Row, canary};
use crate::walls;
use libtest_mimic::Failed;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};

pub(crate) fn rows() -> Vec<Row> {
    let own = [walls::NETWORK_NAMESPACE];
    let version_6 = || Need::Other(no_ipv6);
    let uncapped = [walls::FILTER, walls::CAPABILITIES];
    vec![
        Row::new("E1 service on the loopback", own, |attempt| says_to_stream(attempt, "127.0.0.1:0")),
        Row::new("E1a datagram service on the loopback", own, |attempt| {
            says_to_datagrams(attempt, "127.0.0.1:0")
        }),
        Row::new("E8 service on the loopback by IPv6", own, |attempt| says_to_stream(attempt, "[::1]:0"))
            .needs(version_6()),
        Row::new("E8a datagram service on the loopback by IPv6", own, |attempt| {
            says_to_datagrams(attempt, "[::1]:0")
        })
        .needs(version_6()),
        Row::new("E9 packet socket", uncapped, packet_socket).needs(Need::Other(no_packet_sockets)),
        // The filter knows nothing of types: this is the kernel's own check.
        Row::new("E9a raw socket", [walls::CAPABILITIES], |attempt| opens(attempt, "socket:2:3:1")),
        Row::new("E9b raw socket by IPv6", [walls::CAPABILITIES], |attempt| opens(attempt, "socket:10:3:58"))
            .needs(version_6()),
    ]
}

fn no_ipv6(_: &Account) -> Option<String> {
    TcpListener::bind("[::1]:0").err().map(|error| format!("no IPv6 on the loopback: {error}"))
}

fn says_to_stream(attempt: &Attempt<'_>, address: &str) -> Result<Reach, Failed> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let (to, word) = (listener.local_addr()?.to_string(), canary()?);
    ran(&output(&mut attempt.probe(&[], &["say-tcp", &to, &word]))?)?;
    let Ok((mut stream, _)) = listener.accept() else { return Ok(Reach::Held) };
    stream.set_nonblocking(false)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(Reach::through_if(text == word))
}

fn says_to_datagrams(attempt: &Attempt<'_>, address: &str) -> Result<Reach, Failed> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let (to, word) = (socket.local_addr()?.to_string(), canary()?);
    ran(&output(&mut attempt.probe(&[], &["say-udp", &to, &word]))?)?;
    let mut text = [0; 256];
    let heard = socket.recv(&mut text).is_ok_and(|length| &text[..length] == word.as_bytes());
    Ok(Reach::through_if(heard))
}

/// As root inside, whom no file's capabilities could help further.
const AS_ROOT: [&str; 2] = ["--set", "privileges.uid=root"];

/// `AF_PACKET`, raw, every protocol.
const PACKET: &str = "socket:17:3:768";

fn no_packet_sockets(_: &Account) -> Option<String> {
    let protocols = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    let known = protocols.lines().any(|line| line.starts_with("PACKET "));
    (!known).then(|| "no packet sockets in this kernel".to_owned())
}

fn packet_socket(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    opens(attempt, PACKET)
}

/// A socket, which is there or refused.
fn opens(attempt: &Attempt<'_>, call: &str) -> Result<Reach, Failed> {
    match attempt.traced("socket", &AS_ROOT, &["call", call])? {
        found if found == "EPERM" || found == "EAFNOSUPPORT" => Ok(Reach::Held),
        found if found.parse::<u32>().is_ok() => Ok(Reach::Through),
        found => Err(format!("{call} ended with {found}").into()),
    }
}
