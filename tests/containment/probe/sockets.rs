//! Attacks on what listens outside: each connects and says a word that the listener knows.

use super::Attack;
use std::io::{Result, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

pub(super) const ATTACKS: &[Attack] = &[
    ("say-unix", |words| say_with(words, |to, word| UnixStream::connect(to)?.write_all(word.as_bytes()))),
    ("say-abstract", |words| {
        say_with(words, |to, word| {
            let address = SocketAddr::from_abstract_name(to)?;
            UnixStream::connect_addr(&address)?.write_all(word.as_bytes())
        })
    }),
    ("say-tcp", |words| say_with(words, |to, word| TcpStream::connect(to)?.write_all(word.as_bytes()))),
    ("say-udp", |words| {
        say_with(words, |to, word| {
            let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            UdpSocket::bind(any)?.send_to(word.as_bytes(), to).map(drop)
        })
    }),
];

/// Says the second word to the first.
fn say_with(words: &[String], say: impl Fn(&str, &str) -> Result<()>) -> i64 {
    let [to, word, ..] = words else { return -i64::from(libc::EINVAL) };
    match say(to, word) {
        Ok(()) => 0,
        Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}
