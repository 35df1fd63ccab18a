//! Requests of others to a sandbox that runs: to end it, to run a further program in it. They come through its socket in the
//! registry.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair};

use super::ExecError;
use super::joined::{TABLE_BYTES, TABLE_STRINGS};
use super::step::{Command, Failure, REPORT_SIZE, Report};
use crate::plan::Plan;
use crate::registry::Entry;
use crate::registry::request::{self, Answer, Request};
use crate::sys::message::{self, Descriptors};
use crate::sys::process;
use crate::sys::strings::StringTable;

/// How many may be connected at a time.
const MOST: usize = 80;

/// The longest wait that a request can ask for.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 3600);

/// What a request wants of the sandbox as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// End within this time.
    Stop(Duration),
}

/// Somebody who is connected.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    program: Program,
}

/// The program that a client has asked for.
#[derive(Debug)]
enum Program {
    None,
    /// It is being started; what comes of it, and where it is looked for.
    Starting {
        number: u32,
        report: OwnedFd,
        command: OsString,
        candidates: Vec<PathBuf>,
        executing: bool,
    },
    Running {
        number: u32,
    },
}

/// The side that listens.
#[derive(Debug)]
pub(super) struct Server<'s> {
    plan: &'s Plan,
    entry: &'s Entry,
    clients: Vec<Client>,
    last: u32,
}

impl<'s> Server<'s> {
    pub(super) fn new(plan: &'s Plan, entry: &'s Entry) -> Self {
        Self { plan, entry, clients: Vec::new(), last: 0 }
    }

    /// What is waited for, in the order in which [`Server::serve`] wants the answers.
    pub(super) fn awaited(&self) -> Vec<PollFd<'_>> {
        let mut awaited = vec![PollFd::new(self.entry.listener(), PollFlags::POLLIN)];
        for client in &self.clients {
            awaited.push(PollFd::new(client.socket.as_fd(), PollFlags::POLLIN));
            if let Program::Starting { report, .. } = &client.program {
                awaited.push(PollFd::new(report.as_fd(), PollFlags::POLLIN));
            }
        }
        awaited
    }

    /// Deals with what has come; `control` leads to PID 1.
    pub(super) fn serve(&mut self, ready: &[bool], control: &OwnedFd) -> Option<Wish> {
        let mut ready: VecDeque<bool> = ready.iter().copied().collect();
        let mut next = || ready.pop_front().unwrap_or(false);
        let somebody = next();
        let mut wish = None;
        let mut kept = Vec::new();
        for mut client in std::mem::take(&mut self.clients) {
            let (asks, reports) = (next(), matches!(client.program, Program::Starting { .. }) && next());
            let stays = !reports || client.hear_of_start(self.plan);
            match stays && asks {
                false if stays => kept.push(client),
                false => {}
                true => match self.request(&mut client, control) {
                    Ok(asked) => {
                        wish = asked.or(wish);
                        kept.push(client);
                    }
                    Err(()) => client.leave(control),
                },
            }
        }
        self.clients.extend(kept);
        if somebody && self.clients.len() < MOST {
            self.clients.extend(self.accept());
        }
        wish
    }

    fn accept(&self) -> Option<Client> {
        let socket = message::accept(self.entry.listener()).ok()?;
        is_outside(&socket).then_some(Client { socket, program: Program::None })
    }

    /// One message of a client; an error when there is nothing more to be had from it.
    fn request(&mut self, client: &mut Client, control: &OwnedFd) -> Result<Option<Wish>, ()> {
        match request::receive::<Request>(&client.socket) {
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Ok(Some((Request::Stop { grace }, _))) => {
                Ok(Some(Wish::Stop(Duration::from_millis(grace).min(LONGEST_GRACE))))
            }
            Ok(Some((Request::Signal { number: signal }, _))) => {
                if let Program::Starting { number, .. } | Program::Running { number } = client.program {
                    send(control, Command::SignalJoined(number, signal));
                }
                Ok(None)
            }
            Ok(Some((wanted @ Request::Exec { .. }, descriptors))) => {
                if let Err((message, status)) = self.start(client, control, &wanted, descriptors) {
                    let _ = request::send(&client.socket, &Answer::Refused { message, status }, &[]);
                    return Err(());
                }
                Ok(None)
            }
            _ => Err(()),
        }
    }

    /// Has PID 1 start a program.
    fn start(
        &mut self,
        client: &mut Client,
        control: &OwnedFd,
        wanted: &Request,
        descriptors: Descriptors,
    ) -> Result<(), (String, u8)> {
        let failed = |errno: Errno| (format!("cannot start it: {}", crate::diag::errno_words(errno)), 125);
        let (Request::Exec { words, variables, directory, terminals }, Program::None) =
            (wanted, &client.program)
        else {
            return Err(failed(Errno::EINVAL));
        };
        let [Some(input), Some(output), Some(errors), Some(file), None] = descriptors else {
            return Err(failed(Errno::EINVAL));
        };
        let mut strings = read_strings(file, words + variables + usize::from(*directory)).map_err(failed)?;
        let directory = directory.then(|| strings.pop()).flatten();
        let variables = strings.split_off(*words);
        let joining = Joining::new(self.plan, strings, &variables, directory.map(PathBuf::from));
        let table = joining.table().map_err(failed)?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (report, inner) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).map_err(failed)?;
        self.last += 1;
        let command = Command::Join(self.last, i32::from(*terminals)).encode();
        let fds = [&input, &output, &errors, &table, &inner].map(AsFd::as_fd);
        message::send(control, &command, &fds).map_err(failed)?;
        client.program = Program::Starting {
            number: self.last,
            report,
            command: joining.words.into_iter().next().unwrap_or_default(),
            candidates: joining.candidates,
            executing: false,
        };
        Ok(())
    }

    /// A program that joined has ended.
    pub(super) fn ended(&mut self, ended: Report) {
        let (number, answer) = match ended {
            Report::JoinedExited(number, code) => (number, Answer::Exited { code }),
            Report::JoinedSignaled(number, signal) => (number, Answer::Killed { signal }),
            _ => return,
        };
        let plan = self.plan;
        self.clients.retain_mut(|client| {
            if let Program::Starting { number: own, .. } = client.program
                && own == number
            {
                // Its start is heard of first.
                while matches!(client.program, Program::Starting { .. }) && client.hear_of_start(plan) {}
            }
            let is_its = matches!(client.program, Program::Running { number: own } if own == number);
            if is_its {
                let _ = request::send(&client.socket, &answer, &[]);
            }
            !is_its
        });
    }
}

impl Client {
    /// Reads what its program says on its start; whether there is more to come for this client.
    fn hear_of_start(&mut self, plan: &Plan) -> bool {
        let Program::Starting { number, report, command, candidates, executing } = &mut self.program else {
            return true;
        };
        let mut bytes = [0; REPORT_SIZE];
        let refused = match message::receive(&*report, &mut bytes) {
            Err(Errno::EINTR) => return true,
            // The terminal's other end.
            Ok((1, [Some(master), ..])) => {
                return request::send(&self.socket, &Answer::Started, &[master.as_fd()]).is_ok();
            }
            Ok((REPORT_SIZE, _)) => match Report::decode(&bytes) {
                Some(Report::Executing) => {
                    *executing = true;
                    return true;
                }
                Some(Report::Failed(failure)) => refusal(plan, command, candidates, failure),
                _ => return true,
            },
            // Closed by its execve, or by its end.
            _ if *executing => {
                self.program = Program::Running { number: *number };
                return request::send(&self.socket, &Answer::Started, &[]).is_ok();
            }
            _ => ("cannot start it: it was killed before it ran".to_owned(), 125),
        };
        let (message, status) = refused;
        let _ = request::send(&self.socket, &Answer::Refused { message, status }, &[]);
        false
    }

    /// It is gone: what it started goes as well.
    fn leave(self, control: &OwnedFd) {
        if let Program::Starting { number, .. } | Program::Running { number } = self.program {
            send(control, Command::SignalJoined(number, libc::SIGKILL));
        }
    }
}

fn send(control: &OwnedFd, command: Command) {
    // Whoever is gone needs no command.
    let _ = nix::unistd::write(control, &command.encode());
}

fn refusal(plan: &Plan, command: &OsStr, candidates: &[PathBuf], failure: Failure) -> (String, u8) {
    let error = ExecError::of_joining(plan, command, candidates, failure);
    (error.to_string(), error.exit_code())
}

/// Whether the process at the other end is outside of every sandbox of this user: in the same user namespace as sbx. It must
/// be there still when it has been looked at, or the number could be another one's.
fn is_outside(socket: &OwnedFd) -> bool {
    let Ok(peer) = getsockopt(socket, PeerCredentials) else { return false };
    if peer.uid() != nix::unistd::getuid().as_raw() && peer.uid() != 0 {
        return false;
    }
    let pidfd =
        message::peer_pidfd(socket).or_else(|_| process::pidfd_of(nix::unistd::Pid::from_raw(peer.pid())));
    let Ok(pidfd) = pidfd else { return false };
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
    let same = match (namespace("self"), namespace(&peer.pid().to_string())) {
        (Ok(own), Ok(other)) => own == other,
        _ => false,
    };
    let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    same && poll(&mut ended, PollTimeout::ZERO) == Ok(0)
}

/// The strings of a request's file, each with a NUL behind it.
fn read_strings(file: OwnedFd, count: usize) -> nix::Result<Vec<OsString>> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(file);
    let read = file.rewind().and_then(|()| file.take(TABLE_BYTES as u64).read_to_end(&mut bytes));
    read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let strings: Vec<OsString> = match bytes.pop() {
        None => Vec::new(),
        Some(0) => bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect(),
        Some(_) => return Err(Errno::E2BIG),
    };
    if strings.len() == count && count > 0 { Ok(strings) } else { Err(Errno::EINVAL) }
}

/// What a further program is started with.
struct Joining {
    words: Vec<OsString>,
    variables: Vec<OsString>,
    candidates: Vec<PathBuf>,
    directory: PathBuf,
}

impl Joining {
    /// The sandbox's own environment and directory, but for what is said otherwise.
    fn new(plan: &Plan, words: Vec<OsString>, variables: &[OsString], directory: Option<PathBuf>) -> Self {
        let directory = match directory {
            Some(path) => plan.directory.value.0.join(path),
            None => plan.directory.value.0.clone(),
        };
        let name = |variable: &OsString| {
            variable.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default().to_vec()
        };
        let mut all: Vec<OsString> = Vec::new();
        let own = plan.environment.iter().map(|variable| {
            let mut text = variable.name.clone();
            text.push("=");
            match variable.name == "PWD" {
                true => text.push(&directory),
                false => text.push(&variable.value),
            }
            text
        });
        for variable in own.chain(variables.iter().cloned()) {
            all.retain(|known| name(known) != name(&variable));
            all.push(variable);
        }
        let search = all.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
        let search = OsStr::from_bytes(search.unwrap_or_default());
        let program = words.first().map(OsString::as_os_str).unwrap_or_default();
        let candidates = crate::plan::candidates(program, search, &directory);
        Self { words, variables: all, candidates, directory }
    }

    /// As a file of the form that the inside reads.
    fn table(&self) -> nix::Result<OwnedFd> {
        let mut bytes = Vec::new();
        let mut count = 0;
        let candidates: Vec<&OsStr> = self.candidates.iter().map(|path| path.as_os_str()).collect();
        let words = self.words.iter().map(OsString::as_os_str).collect();
        let variables = self.variables.iter().map(OsString::as_os_str).collect();
        for vector in [vec![Path::as_os_str(&self.directory)], candidates, words, variables] {
            count += vector.len() + 1;
            for string in vector {
                bytes.extend(StringTable::entry(string.as_bytes()));
            }
            bytes.extend(StringTable::END);
        }
        if bytes.len() >= TABLE_BYTES || count > TABLE_STRINGS {
            return Err(Errno::E2BIG);
        }
        let file = memfd_create(c"sbx-program", MFdFlags::MFD_CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        let written = file.write_all(&bytes).and_then(|()| file.rewind());
        written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        Ok(file.into())
    }
}
