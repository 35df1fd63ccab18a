//! The rare word with a service manager, through systemd's own `busctl`: it starts a unit. Whatever becomes of the bus, an
//! answer is waited for only so long.
#![forbid(unsafe_code)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::wait;
use crate::diag::escape;
use crate::plan::Service;

/// How long a unit may take to be there: a loaded machine needs seconds for many at a time.
pub(super) const TIME: Duration = Duration::from_secs(8);

/// A property of a unit as busctl wants it: its name, its D-Bus type, its value's words.
pub(super) struct Property(&'static str, &'static str, Vec<String>);

impl Property {
    pub(super) fn new(name: &'static str, kind: &'static str, words: &[&str]) -> Self {
        Self(name, kind, words.iter().map(|word| (*word).to_owned()).collect())
    }
}

/// How long systemd may take to be on a bus that this call has only just started: the first in a session over ssh does.
const JOINING: Duration = Duration::from_secs(4);
/// What busctl says until then.
const NOT_JOINED: &str = "\"org.freedesktop.systemd1\" does not exist";

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    command: Command,
    child: Child,
    start: Instant,
}

impl Call {
    /// Asks for a transient unit of these properties (org.freedesktop.systemd1(5), `StartTransientUnit`).
    pub(super) fn start_unit(service: &Service, unit: &str, properties: &[Property]) -> Result<Self, String> {
        // No unit of that name may be there, and no others belong to it.
        let count = properties.len().to_string();
        let mut words = vec!["StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", &count];
        for Property(name, kind, value) in properties {
            words.extend([*name, *kind]);
            words.extend(value.iter().map(String::as_str));
        }
        words.push("0");
        Self::start(service, &words)
    }

    /// Asks for a process to be moved into a unit's cgroup (`AttachProcessesToUnit`).
    pub(super) fn attach(service: &Service, unit: &str, pid: i32) -> Result<Self, String> {
        Self::start(service, &["AttachProcessesToUnit", "ssau", unit, "", "1", &pid.to_string()])
    }

    /// A method of the manager. Nothing of the caller's environment comes along.
    fn start(service: &Service, words: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(&service.program);
        let mut address = std::ffi::OsString::from("--address=unix:path=");
        address.push(bus_address(&service.bus));
        command.arg(address);
        command.args(["--quiet", "--auto-start=no", "call", "org.freedesktop.systemd1"]);
        command.args(["/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]).args(words);
        command.env_clear().env("LC_ALL", "C.UTF-8").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A key that ends sbx is not this program's business.
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| format!("{} can't be started: {error}", escape(&service.program)))?;
        Ok(Self { command, child, start: Instant::now() })
    }

    /// What became of it, if anything yet: the manager has taken the unit on, or why not.
    pub(super) fn answer(&mut self) -> Option<Result<(), String>> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(_)) => self.ask_again_or_complain(),
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// Waits for the answer.
    pub(super) fn finish(mut self) -> Result<(), String> {
        wait(TIME, || self.answer()).unwrap_or_else(|| Err(no_answer()))
    }

    fn ask_again_or_complain(&mut self) -> Option<Result<(), String>> {
        let why = self.complaint();
        if why.contains(NOT_JOINED)
            && self.start.elapsed() < JOINING
            && let Ok(child) = self.command.spawn()
        {
            self.child = child;
            return None;
        }
        Some(Err(why))
    }

    fn complaint(&mut self) -> String {
        let mut text = Vec::new();
        if let Some(pipe) = self.child.stderr.take() {
            let _ = pipe.take(4096).read_to_end(&mut text);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
        escape(line.trim().trim_start_matches("Call failed: "))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is said of a manager that does not answer.
pub(super) fn no_answer() -> String {
    format!("systemd did not answer within {} s", TIME.as_secs())
}

/// A path in a D-Bus address (D-Bus specification, server addresses): other bytes than these are escaped.
fn bus_address(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(byte);
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}
