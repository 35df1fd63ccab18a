//! What a case may ask of the machine.

use super::account::Account;
use std::fs;
use std::path::Path;

/// Something that not every machine has.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A program in one of the usual directories.
    Program(&'static str),
    /// The sources that `.ci/hello-source` fetches.
    HelloSource,
    /// A device node that everybody may open, such as `/dev/fuse`.
    Device(&'static str),
    /// At least this kernel, `(major, minor)`.
    Kernel(u32, u32),
    /// A systemd user manager for the ordinary user, systemd itself for root.
    UserManager,
    /// A cgroup v2 subtree with memory, cpu and pids that this user may manage.
    Delegation,
    /// Subordinate ids, of users and of groups, and what maps them.
    SubordinateIds,
    /// Anything else: `None`, or the reason why the machine hasn't got it.
    Other(fn(&Account) -> Option<String>),
}

impl Need {
    /// Why the case cannot run here, if it cannot.
    pub(super) fn missing(&self, account: &Account) -> Option<String> {
        match *self {
            Self::Program(name) => {
                let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
                    .iter()
                    .any(|dir| Path::new(dir).join(name).exists());
                (!found).then(|| format!("no program {name}"))
            }
            Self::HelloSource => super::hello_source()
                .is_none()
                .then(|| "no sources to build: run .ci/hello-source".to_owned()),
            Self::Device(path) => device(path, account),
            Self::Kernel(major, minor) => kernel(major, minor),
            Self::UserManager => user_manager(account),
            Self::Delegation => user_manager(account).or_else(|| delegation(account)),
            Self::SubordinateIds => subordinate_ids(account),
            Self::Other(check) => check(account),
        }
    }

    /// Whether nothing that can be installed here would satisfy it.
    pub(super) fn only_a_guest_has_it(&self) -> bool {
        matches!(self, Self::Kernel(..) | Self::Device(_) | Self::UserManager | Self::Delegation)
    }
}

fn subordinate_ids(account: &Account) -> Option<String> {
    let missing = |file: &&str| first_id(file, account.uid()).is_none();
    let none = ["/etc/subuid", "/etc/subgid"].into_iter().find(missing);
    none.map(|file| format!("no ids in {file}")).or_else(|| Need::Program("newuidmap").missing(account))
}

/// The first subordinate id of this user in `/etc/subuid` or `/etc/subgid`.
pub fn first_id(file: &str, uid: u32) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name =
        fields.into_iter().find(|fields| fields.get(2) == Some(&uid.to_string().as_str()))?[0].to_owned();
    let ranges = fs::read_to_string(file).ok()?;
    let own = ranges.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned))?;
    own.split(':').next()?.parse().ok()
}

fn device(path: &str, account: &Account) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(meta) = fs::metadata(path) else { return Some(format!("no {path}")) };
    let open = account.is_root() || meta.permissions().mode() & 0o006 == 0o006;
    (!open).then(|| format!("{path} is not open to everybody"))
}

fn kernel(major: u32, minor: u32) -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let here: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (here < (major, minor)).then(|| format!("kernel older than {major}.{minor}"))
}

fn user_manager(account: &Account) -> Option<String> {
    let (socket, missing) = if account.is_root() {
        ("/run/systemd/private".to_owned(), "no systemd")
    } else {
        (format!("/run/user/{}/systemd/private", account.uid()), "no user manager")
    };
    (!Path::new(&socket).exists()).then(|| missing.to_owned())
}

fn delegation(account: &Account) -> Option<String> {
    let uid = account.uid();
    let dir = if account.is_root() {
        "/sys/fs/cgroup".to_owned()
    } else {
        format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service")
    };
    let controllers = fs::read_to_string(format!("{dir}/cgroup.controllers")).unwrap_or_default();
    let has = |name| controllers.split_whitespace().any(|controller| controller == name);
    (!(has("memory") && has("cpu") && has("pids"))).then(|| "no delegated cgroup controllers".to_owned())
}
