//! Running a command with a time limit, and saying what its output should be.

use super::process;
use super::text;
use super::wait::wait_for_within;
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A run that takes longer hangs. Ten times what the slowest one takes under an emulated processor.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the output may stay open once the command has ended.
const LEFTOVER: Duration = Duration::from_secs(3);

/// Runs a command to its end, for 60 s at most.
pub fn output(command: &mut Command) -> Result<Output, Failed> {
    output_within(LIMIT, command)
}

/// Runs a command to its end with another limit.
pub fn output_within(limit: Duration, command: &mut Command) -> Result<Output, Failed> {
    Running::start(command)?.finish_within(limit)
}

/// Runs a command that reads these bytes from a pipe.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<Output, Failed> {
    let mut running = Running::start(command.stdin(Stdio::piped()))?;
    if let Some(mut pipe) = running.child.stdin.take() {
        let input = input.to_vec();
        // The command may end without reading it all; a thread of its own cannot hang the test.
        std::thread::spawn(move || pipe.write_all(&input));
    }
    running.finish()
}

/// A command that runs in the background, in its own process group. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    start: Instant,
    stdout: Option<Receiver<Vec<u8>>>,
    stderr: Option<Receiver<Vec<u8>>>,
    ended: bool,
}

impl Running {
    /// Starts the command and collects its output.
    pub fn start(command: &mut Command) -> Result<Self, Failed> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let shown = format!("{command:?}");
        let mut child = command.spawn().map_err(|error| format!("cannot start {shown}: {error}"))?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Self { child, shown, start: Instant::now(), stdout, stderr, ended: false })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Sends it a signal, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<(), Failed> {
        kill(Pid::from_raw(self.pid()), signal).map_err(|errno| format!("cannot signal it: {errno}").into())
    }

    /// Waits until it ends, for 60 s at most.
    pub fn finish(self) -> Result<Output, Failed> {
        self.finish_within(LIMIT)
    }

    /// Waits until it ends, with another limit.
    pub fn finish_within(mut self, limit: Duration) -> Result<Output, Failed> {
        let mut nap = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if self.start.elapsed() > limit {
                return Err(self.hang(limit));
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(10));
        };
        self.ended = true;
        let took = self.start.elapsed();
        let read = |pipe: Option<Receiver<Vec<u8>>>| gather(pipe, Instant::now() + LEFTOVER);
        let (stdout, out_closed) = read(self.stdout.take());
        let (stderr, err_closed) = read(self.stderr.take());
        let output = Output { shown: self.shown.clone(), status, stdout, stderr, took };
        if out_closed && err_closed {
            Ok(output)
        } else {
            Err(output.failure("it ended and left a process behind that holds its output open"))
        }
    }

    /// Waits for what it does. That it ends before that is told at once, with what it said.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut ask: impl FnMut() -> Option<T>,
    ) -> Result<T, Failed> {
        let found = wait_for_within(limit, what, || {
            let ended = self.child.try_wait().ok().flatten();
            ask().map(Ok).or_else(|| ended.map(Err))
        });
        match found {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(self.told(&format!("NOT DONE: {what}"), &format!("ended with {status}"))),
            Err(late) => {
                let late = late.message().unwrap_or_default().to_owned();
                let tree = process::tree_text(self.pid());
                Err(self.told(&format!("NOT DONE: {what}"), &format!("{late}; processes:\n{tree}")))
            }
        }
    }

    fn hang(&mut self, limit: Duration) -> Failed {
        let tree = process::tree_text(self.pid());
        self.told("HANG", &format!("killed after {} s; processes:\n{tree}", limit.as_secs_f32()))
    }

    /// What it said, with its end, if need be.
    fn told(&mut self, headline: &str, detail: &str) -> Failed {
        self.end();
        let (stdout, _) = gather(self.stdout.take(), Instant::now() + LEFTOVER);
        let (stderr, _) = gather(self.stderr.take(), Instant::now() + LEFTOVER);
        let (shown, out, err) = (&self.shown, text::block(&stdout), text::block(&stderr));
        format!("{headline}: {shown}\n  {detail}\n  stdout:\n{out}  stderr:\n{err}").into()
    }

    fn end(&mut self) {
        if !self.ended {
            // Not yet waited for, so the number is still this process's.
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads a pipe in a thread that nobody has to wait for.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// What was read until the pipe closed or the time came, and whether it closed.
fn gather(pipe: Option<Receiver<Vec<u8>>>, until: Instant) -> (Vec<u8>, bool) {
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    let Some(pipe) = pipe else { return (Vec::new(), true) };
    let mut all = Vec::new();
    loop {
        match pipe.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(part) => all.extend(part),
            Err(Disconnected) => return (all, true),
            Err(Timeout) => return (all, false),
        }
    }
}

/// What a command printed and how it ended. Every check shows all of it when it fails, and gives the
/// output back, so that checks can be chained with `?`.
#[derive(Debug)]
pub struct Output {
    shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub took: Duration,
}

impl Output {
    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// It ended with this status, as a shell counts it: a signal is 128 and its number.
    pub fn exits(&self, code: i32) -> Result<&Self, Failed> {
        let status = self.status.code().or(self.status.signal().map(|signal| 128 + signal));
        self.check(status == Some(code), || format!("should exit with {code}"))
    }

    /// A signal killed it.
    pub fn killed_by(&self, signal: Signal) -> Result<&Self, Failed> {
        self.check(self.status.signal() == Some(signal as i32), || format!("should die of {signal}"))
    }

    /// Stdout is exactly this.
    pub fn stdout_is(&self, wanted: &str) -> Result<&Self, Failed> {
        self.check(self.stdout == wanted.as_bytes(), || format!("stdout should be {wanted:?}"))
    }

    /// Stdout contains this.
    pub fn stdout_has(&self, part: &str) -> Result<&Self, Failed> {
        self.check(self.text().contains(part), || format!("stdout should contain {part:?}"))
    }

    /// Stdout doesn't contain this.
    pub fn stdout_lacks(&self, part: &str) -> Result<&Self, Failed> {
        self.check(!self.text().contains(part), || format!("stdout should not contain {part:?}"))
    }

    /// Stderr is exactly this.
    pub fn stderr_is(&self, wanted: &str) -> Result<&Self, Failed> {
        self.check(self.stderr == wanted.as_bytes(), || format!("stderr should be {wanted:?}"))
    }

    /// Stderr contains this.
    pub fn stderr_has(&self, part: &str) -> Result<&Self, Failed> {
        self.check(self.errors().contains(part), || format!("stderr should contain {part:?}"))
    }

    /// Stderr doesn't contain this.
    pub fn stderr_lacks(&self, part: &str) -> Result<&Self, Failed> {
        self.check(!self.errors().contains(part), || format!("stderr should not contain {part:?}"))
    }

    /// Anything else that should be true of it.
    pub fn check(&self, holds: bool, wanted: impl FnOnce() -> String) -> Result<&Self, Failed> {
        if holds { Ok(self) } else { Err(self.failure(&wanted())) }
    }

    /// A failure that shows the command and all of its output.
    pub fn failure(&self, wanted: &str) -> Failed {
        let (shown, status, seconds) = (&self.shown, self.status, self.took.as_secs_f32());
        let (out, err) = (text::block(&self.stdout), text::block(&self.stderr));
        format!("{wanted}\n  command: {shown}\n  ended: {status} after {seconds:.3} s\n  stdout:\n{out}  stderr:\n{err}")
            .into()
    }
}
