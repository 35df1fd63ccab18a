//! Who a case runs as, and the directories that are theirs.

use super::scratch::{Scratch, give};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The PATH of every command that a case starts.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The uids that a distribution gives to people.
const PEOPLE: std::ops::Range<u32> = 1000..60000;

/// A user and group to run as, with the `sbx` under test.
#[derive(Clone, Debug)]
pub struct Account {
    uid: u32,
    gid: u32,
    /// Whether it takes a change of user to run as this account.
    drop: bool,
    sbx: PathBuf,
}

impl Account {
    /// The accounts that the tests run as, the ordinary one first; and the directory with the copy of
    /// `sbx` that they run, which lives as long as the returned value. `SBX_TEST_AS`, `user` or `root`,
    /// chooses one of them.
    pub(super) fn all() -> Result<(Scratch, Vec<Self>), Failed> {
        let (scratch, sbx) = public_copy()?;
        let mut accounts = Self::possible(sbx);
        match std::env::var("SBX_TEST_AS").as_deref() {
            Ok("user") => accounts.retain(|account| !account.is_root()),
            Ok("root") => accounts.retain(Self::is_root),
            Ok(other) => return Err(format!("SBX_TEST_AS is {other}, not user or root").into()),
            Err(_) => {}
        }
        Ok((scratch, accounts))
    }

    fn possible(sbx: PathBuf) -> Vec<Self> {
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        let own = Self { uid, gid, drop: false, sbx };
        if uid != 0 {
            return vec![own];
        }
        let (uid, gid) = Self::person();
        let user = Self { uid, gid, drop: true, sbx: own.sbx.clone() };
        vec![user, own]
    }

    /// The uid and gid of an ordinary user: somebody that the machine knows, or just a number.
    pub fn person() -> (u32, u32) {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        passwd.lines().find_map(person).unwrap_or((PEOPLE.start, PEOPLE.start))
    }

    /// `as_user` or `as_root`.
    pub fn label(&self) -> &'static str {
        if self.is_root() { "as_root" } else { "as_user" }
    }

    /// The user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group id.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Whether this is uid 0.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// The uid and gid in a line of the password file, where it is a person's.
fn person(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    PEOPLE.contains(&uid).then_some((uid, gid))
}

/// Copies `sbx` to where everybody can run it: the build directory may be closed to an ordinary user.
/// Done before any other thread starts, as a file open for writing in a fork cannot be executed.
fn public_copy() -> Result<(Scratch, PathBuf), Failed> {
    let original = std::env::var_os("SBX").map_or_else(|| env!("CARGO_BIN_EXE_sbx").into(), PathBuf::from);
    let scratch = Scratch::new()?;
    let copy = scratch.path().join("sbx");
    fs::copy(&original, &copy).map_err(|error| format!("cannot copy {}: {error}", original.display()))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    Ok((scratch, copy))
}

/// The user of one trial: an account with a fresh home, removed at the end.
#[derive(Debug)]
pub struct User {
    account: Account,
    scratch: Scratch,
}

impl User {
    pub(super) fn new(account: Account) -> Result<Self, Failed> {
        let user = Self { scratch: Scratch::new()?, account };
        give(user.dir(), user.account.uid, user.account.gid)?;
        user.mkdir("home/project")?;
        Ok(user)
    }

    /// The user id.
    pub fn uid(&self) -> u32 {
        self.account.uid
    }

    /// The group id.
    pub fn gid(&self) -> u32 {
        self.account.gid
    }

    /// Whether this is uid 0.
    pub fn is_root(&self) -> bool {
        self.account.is_root()
    }

    /// A directory of the user's own, outside the home.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The home directory, `dir()/home`.
    pub fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// The directory that commands start in, `home()/project`.
    pub fn project(&self) -> PathBuf {
        self.home().join("project")
    }

    /// The `sbx` under test, as a path that the user can execute.
    pub fn sbx_path(&self) -> &Path {
        &self.account.sbx
    }

    /// Where the user's `XDG_RUNTIME_DIR` would be; it exists where there is a login.
    pub fn runtime_dir(&self) -> PathBuf {
        format!("/run/user/{}", self.uid()).into()
    }

    /// `sbx` as this user, in the project directory, with nothing but PATH, HOME and LANG in the
    /// environment and nothing on stdin.
    pub fn sbx(&self) -> Command {
        self.command(self.sbx_path())
    }

    /// Any other program, started in the same way.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", SEARCH_PATH).env("HOME", self.home()).env("LANG", "C.UTF-8");
        command.current_dir(self.project()).stdin(Stdio::null());
        if self.account.drop {
            // Setting the user also clears the supplementary groups.
            command.uid(self.account.uid).gid(self.account.gid);
        }
        command
    }

    /// Makes a directory of this user's, and those above it. A relative path is below [`User::dir`].
    pub fn mkdir(&self, path: impl AsRef<Path>) -> Result<PathBuf, Failed> {
        let path = self.dir().join(path);
        let missing: Vec<_> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.iter().rev() {
            fs::create_dir(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
            give(dir, self.account.uid, self.account.gid)?;
        }
        Ok(path)
    }

    /// Writes a file of this user's, mode 644, and makes the directories above it. A relative path is
    /// below [`User::dir`].
    pub fn put(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<PathBuf, Failed> {
        let path = self.dir().join(path);
        if let Some(parent) = path.parent() {
            self.mkdir(parent)?;
        }
        fs::write(&path, contents).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        give(&path, self.account.uid, self.account.gid)?;
        Ok(path)
    }

    /// Writes an executable file, mode 755, otherwise like [`User::put`].
    pub fn put_program(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<PathBuf, Failed> {
        let path = self.put(path, contents)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Copies a tree so that it is this user's: directories, files with their modes and times, links.
    pub fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<PathBuf, Failed> {
        let to = self.dir().join(to);
        if let Some(parent) = to.parent() {
            self.mkdir(parent)?;
        }
        let status = Command::new("cp")
            .args(["-rT", "--preserve=mode,timestamps,links"])
            .arg(from.as_ref())
            .arg(&to)
            .status();
        match status {
            Ok(status) if status.success() => {}
            other => return Err(format!("cannot copy {}: {other:?}", from.as_ref().display()).into()),
        }
        self.give_all(&to)?;
        Ok(to)
    }

    fn give_all(&self, path: &Path) -> Result<(), Failed> {
        give(path, self.account.uid, self.account.gid)?;
        if path.symlink_metadata()?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.give_all(&entry?.path())?;
            }
        }
        Ok(())
    }
}
