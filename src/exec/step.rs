//! The order of confinement: every step that can fail between `clone3` and `execve`, in the order it is taken, and
//! how it crosses the pipe to the process that can speak.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use nix::errno::Errno;

/// Declares the steps once: their order, and what a message says that they cannot do.
macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $name:ident = $verb:literal),+ $(,)?) => {
        /// One step of confinement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Step { $($(#[doc = $doc])+ $name),+ }

        impl Step {
            /// Every step, in the order of confinement.
            pub const ORDER: &[Step] = &[$(Step::$name),+];

            /// What it does, as a message says: `cannot …`.
            pub fn verb(self) -> &'static str {
                match self { $(Step::$name => $verb),+ }
            }

            fn from_number(number: u16) -> Option<Self> {
                Self::ORDER.get(usize::from(number)).copied()
            }
        }
    };
}

steps! {
    /// PID 1 asks to die with sbx, and sees that sbx still lives.
    Lifeline = "tie the sandbox to sbx",
    /// The janitor of placeholders is told whose end it waits for.
    Janitor = "leave the placeholders to their janitor",
    /// Default signal dispositions and an empty mask.
    Signals = "reset signals",
    /// setgroups, uid_map, gid_map.
    IdMap = "map the user into the user namespace",
    /// The mode mask, put aside while files are made and brought back before the payload starts.
    Umask = "set the umask",
    /// The loopback interface.
    Loopback = "bring up the loopback interface",
    /// The host name.
    Hostname = "set the host name",
    /// A procfs of the new PID namespace.
    Proc = "mount a new procfs",
    /// The root tmpfs, attached over `/`.
    Root = "mount the root filesystem",
    /// A source is opened and cloned.
    Source = "open",
    /// A source is made read-only, nosuid, nodev and private, with all below.
    Restrict = "restrict the mount of",
    /// A new filesystem for a destination.
    Filesystem = "make the filesystem for",
    /// The destination is found or made.
    Target = "prepare the mount point",
    /// The destination lies behind a link that the sandbox could have planted.
    PlantedLink = "prepare the mount point",
    /// The mount is attached.
    Attach = "mount",
    /// A file, directory, link or mode in the root filesystem.
    Create = "make",
    /// A protected path, or a directory above one, becomes a mount of its own.
    Protect = "protect",
    /// The root is made read-only.
    SealRoot = "make the root filesystem read-only",
    /// One pivot_root; the old root is detached.
    Pivot = "switch to the new root filesystem",
    /// Ceilings on nested namespaces and on inotify, through that procfs. Not before: each detached mount counts as a mount
    /// namespace.
    Ceilings = "limit what the user namespace may hold",
    /// The time namespace and its offsets.
    Time = "shift the clocks",
    /// Its cgroup: it is in the one with the limits, and sees nothing above.
    Cgroup = "put the sandbox into its cgroup",
    /// PID 1 is made unreadable and gets a session of its own.
    HideInit = "hide PID 1",
    /// A terminal of the sandbox's own, and the session that has it.
    Terminal = "make a terminal",
    /// The bounding and ambient sets, the securebits, the other sets.
    Capabilities = "drop capabilities",
    /// PID 1 becomes the payload's user, after the bounding set is gone and before the other sets are.
    User = "become the payload's user",
    /// no_new_privs.
    NoNewPrivs = "set no_new_privs",
    /// Landlock's scopes and rules about files.
    Landlock = "restrict by Landlock",
    /// A mount is there as planned.
    ConfirmMount = "confirm the mount of",
    /// The payload's process.
    Fork = "start the payload's process",
    /// Its process group, and whether that is the terminal's foreground.
    Group = "make the payload's process group",
    /// Its resource limits.
    Limits = "set resource limits",
    /// Its nice value and I/O priority.
    Priority = "set the priority",
    /// Its directory.
    Directory = "enter",
    /// The descriptors that it keeps.
    Descriptors = "keep the descriptor",
    /// The filter of system calls.
    Filter = "install the filter of system calls",
    /// What the kernel says of it is what the plan says.
    Confirm = "confirm",
    /// Its program.
    Exec = "run",
    /// Its program exists, its interpreter doesn't.
    Interpreter = "run",
}

/// Declares what is read back once: its place among the items of [`Step::Confirm`], and its words.
macro_rules! differences {
    ($($name:ident = $words:literal),+ $(,)?) => {
        /// What can be other than planned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(super) enum Difference { $($name),+ }

        /// The words for it: `cannot confirm …`.
        pub(super) const DIFFERENCES: &[&str] = &[$($words),+];
    };
}

differences! {
    Mounts = "the table of mounts",
    Status = "the payload's status",
    Identity = "the ids of user and group",
    Capabilities = "that the capability sets hold no more than they should",
    NoNewPrivs = "no_new_privs",
    Filter = "the filter of system calls",
    Signals = "the signal dispositions",
    Limits = "the resource limits",
    Priority = "the priority",
    Cgroup = "the cgroup",
    Namespaces = "the namespaces",
    Hostname = "the host name",
    Directory = "the working directory",
}

/// One step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// The mount, candidate or descriptor that it was about.
    pub item: u32,
    /// Why.
    pub errno: Errno,
}

/// What a step returns.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// Names the step of an errno.
pub(super) trait At<T> {
    fn at(self, step: Step) -> Result<T>;
    fn at_item(self, step: Step, item: u32) -> Result<T>;
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, step: Step) -> Result<T> {
        self.at_item(step, 0)
    }
    fn at_item(self, step: Step, item: u32) -> Result<T> {
        self.map_err(|errno| Failure { step, item, errno })
    }
}

/// What the inside tells the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Nothing runs.
    Failed(Failure),
    /// The payload's program is about to be started: nothing else can fail.
    Executing,
    /// The payload's wait status, as exit code or signal.
    Exited(i32),
    /// See above.
    Signaled(i32),
    /// A signal has stopped the payload.
    Stopped(i32),
    /// What [`Command::Foreground`] asked for is done, as far as it can be.
    Foreground,
    /// How a program that joined has ended: its number, its exit code.
    JoinedExited(u32, i32),
    /// See above.
    JoinedSignaled(u32, i32),
}

/// Bytes of a report on the pipe; below `PIPE_BUF`, so one write is one report.
pub(super) const REPORT_SIZE: usize = 12;

impl Report {
    pub(super) fn encode(self) -> [u8; REPORT_SIZE] {
        let (kind, step, item, value) = match self {
            Report::Failed(failure) => (1_u16, failure.step as u16, failure.item, failure.errno as i32),
            Report::Exited(code) => (2, 0, 0, code),
            Report::Signaled(signal) => (3, 0, 0, signal),
            Report::Stopped(signal) => (4, 0, 0, signal),
            Report::Foreground => (5, 0, 0, 0),
            Report::Executing => (6, 0, 0, 0),
            Report::JoinedExited(number, code) => (7, 0, number, code),
            Report::JoinedSignaled(number, signal) => (8, 0, number, signal),
        };
        let mut bytes = [0; REPORT_SIZE];
        bytes[0..2].copy_from_slice(&kind.to_ne_bytes());
        bytes[2..4].copy_from_slice(&step.to_ne_bytes());
        bytes[4..8].copy_from_slice(&item.to_ne_bytes());
        bytes[8..12].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    /// Sends it as one message. When nobody is left to read it, sbx is gone, and PID 1 soon.
    pub(super) fn send(self, to: impl AsFd) {
        let _ = self.try_send(to);
    }

    /// Sends it as one message.
    pub(super) fn try_send(self, to: impl AsFd) -> nix::Result<()> {
        loop {
            match nix::unistd::write(&to, &self.encode()) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }

    pub(super) fn decode(bytes: &[u8; REPORT_SIZE]) -> Option<Self> {
        let [k0, k1, s0, s1, i0, i1, i2, i3, v0, v1, v2, v3] = *bytes;
        let value = i32::from_ne_bytes([v0, v1, v2, v3]);
        let item = u32::from_ne_bytes([i0, i1, i2, i3]);
        match u16::from_ne_bytes([k0, k1]) {
            1 => Some(Report::Failed(Failure {
                step: Step::from_number(u16::from_ne_bytes([s0, s1]))?,
                item,
                errno: Errno::from_raw(value),
            })),
            2 => Some(Report::Exited(value)),
            3 => Some(Report::Signaled(value)),
            4 => Some(Report::Stopped(value)),
            5 => Some(Report::Foreground),
            6 => Some(Report::Executing),
            7 => Some(Report::JoinedExited(item, value)),
            8 => Some(Report::JoinedSignaled(item, value)),
            _ => None,
        }
    }
}

/// What the outside tells PID 1 to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Send the payload a signal.
    Signal(i32),
    /// Send the payload's process group a signal.
    SignalGroup(i32),
    /// Make the payload's process group the terminal's foreground.
    Foreground,
    /// Make PID 1's process group the terminal's foreground: whoever then reads there is stopped.
    Background,
    /// Start another program, by this number; these bits say which of its standard descriptors are a terminal of its own.
    Join(u32, i32),
    /// Send the process group of a program that joined a signal.
    SignalJoined(u32, i32),
}

/// Bytes of a command; each is one message.
pub(super) const COMMAND_SIZE: usize = 12;

impl Command {
    pub(super) fn encode(self) -> [u8; COMMAND_SIZE] {
        let (kind, number, value) = match self {
            Command::Signal(signal) => (1_i32, 0_u32, signal),
            Command::SignalGroup(signal) => (2, 0, signal),
            Command::Foreground => (3, 0, 0),
            Command::Background => (4, 0, 0),
            Command::Join(number, terminal) => (5, number, terminal),
            Command::SignalJoined(number, signal) => (6, number, signal),
        };
        let mut bytes = [0; COMMAND_SIZE];
        bytes[0..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&number.to_ne_bytes());
        bytes[8..12].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; COMMAND_SIZE]) -> Option<Self> {
        let [k0, k1, k2, k3, n0, n1, n2, n3, v0, v1, v2, v3] = *bytes;
        let (number, value) = (u32::from_ne_bytes([n0, n1, n2, n3]), i32::from_ne_bytes([v0, v1, v2, v3]));
        match i32::from_ne_bytes([k0, k1, k2, k3]) {
            1 => Some(Command::Signal(value)),
            2 => Some(Command::SignalGroup(value)),
            3 => Some(Command::Foreground),
            4 => Some(Command::Background),
            5 => Some(Command::Join(number, value)),
            6 => Some(Command::SignalJoined(number, value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_cross_the_pipe_unchanged() {
        for (number, step) in Step::ORDER.iter().enumerate() {
            assert_eq!(*step as usize, number);
            let report = Report::Failed(Failure { step: *step, item: 70_000, errno: Errno::ELOOP });
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        let reports = [
            Report::Exited(255),
            Report::Signaled(9),
            Report::Stopped(20),
            Report::Foreground,
            Report::JoinedExited(7, 255),
            Report::JoinedSignaled(u32::MAX, 9),
        ];
        for report in reports {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[0; REPORT_SIZE]), None);
        let commands = [
            Command::Signal(64),
            Command::SignalGroup(2),
            Command::Foreground,
            Command::Background,
            Command::Join(3, 1),
            Command::SignalJoined(u32::MAX, 15),
        ];
        for command in commands {
            assert_eq!(Command::decode(&command.encode()), Some(command));
        }
        assert_eq!(Command::decode(&[0; COMMAND_SIZE]), None);
    }
}
