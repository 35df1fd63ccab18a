//! The outside while the sandbox lives: what PID 1 says, signals to pass on, the terminal, and every reason to end it.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::control::{Server, Wish};
use super::outer::CallersTerminal;
use super::relay::Relay;
use super::servers::Servers;
use super::signals::{FROM_KERNEL, TakenSignals};
use super::step::{Command, REPORT_SIZE, Report};
use super::{ExecError, Outcome};
use crate::profile::TerminalMode;
use crate::sys::{message, process, signal};

/// How long the set-up inside may take: only a source that does not answer takes longer.
const SETUP_TIME: Duration = Duration::from_secs(5);

/// How long the payload may take to end after it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Why the sandbox was ended by sbx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its time was up.
    Time,
    /// It did not come to life in time.
    Setup,
    /// It was told to end and did not, or nobody is left to want it.
    Told,
    /// An overlay of its is not served any more.
    Unserved,
}

/// A running sandbox.
pub(super) struct Supervisor<'s> {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// Closed by the inside when the payload's program runs.
    pub(super) setup: Option<OwnedFd>,
    pub(super) control: OwnedFd,
    pub(super) signals: TakenSignals,
    pub(super) terminal: Option<CallersTerminal>,
    pub(super) mode: TerminalMode,
    /// Somebody else had the terminal when its modes were looked at.
    pub(super) modes_unknown: bool,
    /// Whoever started sbx, if that is to be its end, and how long the sandbox may go on then.
    pub(super) parent: Option<(OwnedFd, Duration)>,
    /// What serves its overlays.
    pub(super) servers: &'s mut Servers,
    pub(super) time: Option<Duration>,
    pub(super) on_start: &'s mut dyn FnMut(),
    /// Hears what others want of the sandbox.
    pub(super) server: Option<Server<'s>>,
}

/// What is known of the end so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) relay: Option<Relay>,
    pub(super) failure: Option<Report>,
    pub(super) end: Option<Report>,
    ending: Option<Ending>,
    /// When PID 1 is killed.
    pub(super) kill_at: Option<Instant>,
    /// When whoever still waits for an answer of a server's is not to get it any more.
    unserve_at: Option<Instant>,
    pub(super) told: bool,
    /// The terminal is the payload's.
    pub(super) given: bool,
    /// PID 1 has not answered yet that the payload is in the foreground.
    pub(super) keys_wait: bool,
    /// PID 1 says nothing any more.
    pub(super) silent: bool,
    /// The command's program has been started.
    pub(super) ran: bool,
    /// The stop that sbx itself passed on.
    pub(super) stop_passed_on: bool,
}

impl Supervisor<'_> {
    /// Waits for the end, whatever it is.
    pub(super) fn run(mut self) -> Result<(Outcome, Option<super::Failure>), ExecError> {
        let start = Instant::now();
        let time_up = self.time.and_then(|time| start.checked_add(time));
        // The inside has made the payload's group the foreground where it was sbx's.
        let given = self.mode == TerminalMode::Inherit && !self.modes_unknown;
        let mut progress = Progress { given, ..Progress::default() };
        loop {
            let setup_up = self.setup.is_some().then(|| start + SETUP_TIME);
            let time_left = time_up.filter(|_| progress.ending.is_none());
            let next =
                [setup_up, time_left, progress.kill_at, progress.unserve_at].into_iter().flatten().min();
            if self.wait_and_handle(&mut progress, next) {
                break;
            }
            let now = Instant::now();
            let passed = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
            if passed(self.setup.is_some().then(|| start + SETUP_TIME)) {
                self.end(&mut progress, Ending::Setup);
            } else if passed(progress.unserve_at) {
                self.servers.kill();
                progress.unserve_at = None;
            } else if passed(progress.kill_at) {
                self.kill(&mut progress);
                progress.kill_at = None;
            } else if passed(time_up.filter(|_| progress.ending.is_none())) {
                progress.ending = Some(Ending::Time);
                self.stop_for_good(&mut progress, GRACE);
            }
        }
        self.finish(&mut progress);
        self.outcome(&progress)
    }

    /// Sleeps until something happens, and deals with it; whether PID 1 is gone.
    fn wait_and_handle(&mut self, progress: &mut Progress, until: Option<Instant>) -> bool {
        let keys = self.terminal.as_ref().is_some_and(CallersTerminal::is_raw) && !progress.keys_wait;
        let interests = progress.relay.as_ref().map(|relay| relay.interests(keys));
        let mut awaited = vec![
            PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let mut add = |fd: Option<_>, flags| {
            fd.map(|fd| {
                awaited.push(PollFd::new(fd, flags));
                awaited.len() - 1
            })
        };
        let control = add((!progress.silent).then(|| self.control.as_fd()), PollFlags::POLLIN);
        // What it says is read when it is over: a look earlier would only take the processor from the inside.
        let setup = add(self.setup.as_ref().map(AsFd::as_fd), PollFlags::empty());
        let parent = add(self.parent.as_ref().map(|(parent, _)| parent.as_fd()), PollFlags::POLLIN);
        let (outer, inner) = match (&self.terminal, &progress.relay, interests) {
            (Some(terminal), Some(relay), Some([outer, inner])) => (
                // A poll for nothing still tells of a hang-up, again and again.
                add((!outer.is_empty()).then(|| terminal.file().as_fd()), outer),
                add((!inner.is_empty()).then(|| relay.master()), inner),
            ),
            _ => (None, None),
        };
        let servers = awaited.len();
        awaited.extend(self.servers.awaited());
        let first = awaited.len();
        awaited.extend(self.server.iter().filter(|_| progress.ran).flat_map(Server::awaited));
        // Where it fails, there may be memory at the next try.
        if poll(&mut awaited, timeout(until)).is_err() {
            return false;
        }
        let ready = |index: Option<usize>| {
            index.and_then(|index| awaited.get(index)?.revents()).unwrap_or(PollFlags::empty())
        };
        let [ended, signalled, said, set_up, parent] =
            [Some(0), Some(1), control, setup, parent].map(|index| !ready(index).is_empty());
        let bytes = [ready(outer), ready(inner)];
        let unserved = awaited[servers..first].iter().any(|one| one.any() == Some(true));
        let asked: Vec<bool> = awaited.iter().skip(first).map(|one| one.any() == Some(true)).collect();
        self.hear_of_inside(progress, set_up, said);
        if signalled {
            self.pass_signals_on(progress);
        }
        if parent {
            self.lose_parent(progress);
        }
        if unserved && !ended {
            self.hear_of_servers(progress);
        }
        if asked.contains(&true) {
            self.serve(progress, &asked);
        }
        self.carry(progress, bytes, keys);
        ended
    }

    fn hear_of_inside(&mut self, progress: &mut Progress, set_up: bool, said: bool) {
        if set_up {
            self.hear_of_setup(progress);
        }
        if said {
            self.hear(progress);
        }
    }

    /// Carries what is typed in, and what is shown out.
    fn carry(&self, progress: &mut Progress, bytes: [PollFlags; 2], keys: bool) {
        if let (Some(relay), Some(terminal)) = (&mut progress.relay, &self.terminal)
            && relay.carry(terminal, bytes, keys)
        {
            self.tell(Command::SignalGroup(libc::SIGHUP));
        }
    }

    /// Whoever started sbx has ended.
    fn lose_parent(&mut self, progress: &mut Progress) {
        match self.parent.take() {
            None => {}
            Some((_, Duration::ZERO)) => self.end(progress, Ending::Told),
            Some((_, grace)) => progress.kill_at = Some(Instant::now() + grace),
        }
    }

    /// A server ends with the sandbox, and that with it: which was the first?
    fn hear_of_servers(&mut self, progress: &mut Progress) {
        if !self.servers.look() || progress.end.is_some() {
            return;
        }
        let mut end = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        // Whose filesystem is gone ends in peace; then PID 1, which had it, is as good as gone.
        if self.servers.has_failed() || poll(&mut end, PollTimeout::from(1000_u16)) == Ok(0) {
            self.servers.blame();
            self.end(progress, Ending::Unserved);
        }
    }

    /// Deals with what others want.
    fn serve(&mut self, progress: &mut Progress, asked: &[bool]) {
        let wish = self.server.as_mut().and_then(|server| server.serve(asked, &self.control));
        if let Some(Wish::Stop(grace)) = wish {
            self.stop_for_good(progress, grace);
        }
    }

    /// Reads what the pipe of the set-up holds once it is closed: that the program was about to start, and a failure.
    fn hear_of_setup(&mut self, progress: &mut Progress) {
        let Some(setup) = self.setup.take() else { return };
        let mut executing = false;
        loop {
            let mut bytes = [0; REPORT_SIZE];
            match nix::unistd::read(&setup, &mut bytes) {
                Ok(REPORT_SIZE) => match Report::decode(&bytes) {
                    Some(Report::Executing) => executing = true,
                    failure => progress.failure = failure,
                },
                Err(Errno::EINTR) => {}
                _ => break,
            }
        }
        // Closed by an end that came before the program is no start.
        if executing && progress.failure.is_none() {
            progress.ran = true;
            (self.on_start)();
        }
    }

    /// Reads what PID 1 says.
    fn hear(&mut self, progress: &mut Progress) {
        if progress.relay.is_none() && self.mode == TerminalMode::Pty && self.terminal.is_some() {
            // The first thing that it says is the terminal's other end.
            match message::receive_descriptor(&self.control) {
                Ok(Some(master)) => {
                    progress.relay = Relay::new(master).ok();
                    // A shell may have handed the terminal over since the inside looked.
                    if self.use_terminal(progress) {
                        self.make_foreground(progress);
                    }
                }
                Ok(None) => progress.silent = true,
                Err(_) => {}
            }
            return;
        }
        let mut bytes = [0; REPORT_SIZE];
        match nix::unistd::read(&self.control, &mut bytes) {
            Ok(REPORT_SIZE) => match Report::decode(&bytes) {
                Some(Report::Stopped(signal)) => self.stop(progress, signal),
                Some(Report::Foreground) => progress.keys_wait = false,
                Some(ended @ (Report::JoinedExited(..) | Report::JoinedSignaled(..))) => {
                    self.server.iter_mut().for_each(|server| server.ended(ended));
                }
                report => progress.end = report,
            },
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // PID 1 is about to be gone.
            _ => progress.silent = true,
        }
    }

    pub(super) fn tell(&self, command: Command) {
        // Whoever is gone needs no command.
        let _ = nix::unistd::write(&self.control, &command.encode());
    }

    /// What waits for a server can't be killed before that has answered, or is gone itself.
    fn kill(&self, progress: &mut Progress) {
        let _ = signal::send_by_pidfd(&self.pidfd, libc::SIGKILL);
        progress.unserve_at = Some(Instant::now() + GRACE);
    }

    /// Asks the payload to end, stopped or not, and sees to it that it does.
    fn stop_for_good(&self, progress: &mut Progress, grace: Duration) {
        let by = Instant::now() + grace;
        progress.told = true;
        progress.kill_at = Some(progress.kill_at.map_or(by, |already| already.min(by)));
        self.tell(Command::Signal(libc::SIGTERM));
        self.tell(Command::SignalGroup(libc::SIGCONT));
    }

    fn end(&mut self, progress: &mut Progress, ending: Ending) {
        progress.ending = progress.ending.or(Some(ending));
        self.setup = None;
        self.kill(progress);
    }

    /// Passes on what has come; whether sbx was continued.
    pub(super) fn pass_signals_on(&mut self, progress: &mut Progress) -> bool {
        let mut continued = false;
        while let Some(info) = self.signals.next() {
            let signal = info.ssi_signo as i32;
            // A key's signal has reached everybody in sbx's group; the payload's group is another one.
            let everybody = info.ssi_code == FROM_KERNEL;
            match signal {
                libc::SIGWINCH => self.resize(progress),
                libc::SIGCONT => {
                    continued = true;
                    self.go_on(progress);
                }
                libc::SIGTERM if progress.told => self.end(progress, Ending::Told),
                libc::SIGTERM => {
                    progress.told = true;
                    progress.kill_at = Some(Instant::now() + GRACE);
                    self.tell(Command::Signal(signal));
                }
                libc::SIGTSTP => {
                    progress.stop_passed_on = true;
                    self.tell(Command::SignalGroup(signal));
                }
                _ if everybody => self.tell(Command::SignalGroup(signal)),
                _ => self.tell(Command::Signal(signal)),
            }
        }
        continued
    }

    /// Everything is over but the waiting: what is left in pipes is read, the terminal becomes what it was.
    fn finish(&mut self, progress: &mut Progress) {
        self.hear_of_setup(progress);
        let mut bytes = [0; REPORT_SIZE];
        while let Ok(REPORT_SIZE) = nix::sys::socket::recv(
            std::os::fd::AsRawFd::as_raw_fd(&self.control),
            &mut bytes,
            nix::sys::socket::MsgFlags::MSG_DONTWAIT,
        ) {
            match Report::decode(&bytes) {
                Some(
                    Report::Stopped(_)
                    | Report::Foreground
                    | Report::JoinedExited(..)
                    | Report::JoinedSignaled(..),
                )
                | None => {}
                report => progress.end = report,
            }
        }
        if progress.end.is_some() && !progress.ran && progress.failure.is_none() {
            // So quick that its start and its end were heard of together.
            progress.ran = true;
            (self.on_start)();
        }
        if let (Some(relay), Some(terminal)) = (&mut progress.relay, &self.terminal) {
            relay.finish(terminal);
        }
        self.take_terminal_back(progress);
        while process::wait(self.pid) == Err(Errno::EINTR) {}
    }

    fn outcome(self, progress: &Progress) -> Result<(Outcome, Option<super::Failure>), ExecError> {
        if let Some(Report::Failed(failure)) = progress.failure {
            return Ok((Outcome::Exited(125), Some(failure)));
        }
        let outcome = match (progress.ending, progress.end) {
            (Some(Ending::Unserved), _) => return Err(ExecError::InitKilled { ran: progress.ran }),
            (Some(Ending::Setup), _) => return Err(ExecError::NoAnswer(SETUP_TIME)),
            (Some(Ending::Time), _) => Outcome::TimedOut,
            (_, Some(Report::Exited(code))) => Outcome::Exited(code),
            (_, Some(Report::Signaled(signal))) => Outcome::Signaled(signal),
            (Some(Ending::Told), _) => Outcome::Signaled(libc::SIGKILL),
            _ if progress.told => Outcome::Signaled(libc::SIGKILL),
            _ => return Err(ExecError::InitKilled { ran: progress.ran }),
        };
        Ok((outcome, None))
    }
}

/// Rounded up, so that poll does not return just before the moment again and again.
fn timeout(until: Option<Instant>) -> PollTimeout {
    match until.map(|moment| moment.saturating_duration_since(Instant::now())) {
        Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        None => PollTimeout::NONE,
    }
}
