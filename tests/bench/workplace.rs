//! The programs to measure and the directories that they run in, where an ordinary user can reach them.

use crate::common::{Account, Scratch, source_dir};
use crate::{Problem, limited};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the workplace to the benchmark when it starts itself again as another user.
const VARIABLE: &str = "SBX_BENCH_DIR";

/// Where the programs are, and who runs them.
#[derive(Debug)]
pub(crate) struct Workplace {
    dir: PathBuf,
    bwrap: PathBuf,
    /// The user to become, where that takes anything.
    drop_to: Option<(u32, u32)>,
    /// Removes the directory at the end.
    _scratch: Option<Scratch>,
}

impl Workplace {
    /// The one that was prepared before the benchmark started itself again.
    pub(crate) fn inherited() -> Option<Self> {
        let dir = PathBuf::from(std::env::var_os(VARIABLE)?);
        let bwrap = PathBuf::from(std::env::var_os("BWRAP")?);
        Some(Self { dir, bwrap, drop_to: None, _scratch: None })
    }

    /// Finds and builds the programs.
    pub(crate) fn new() -> Result<Self, Problem> {
        let bwrap = std::env::var_os("BWRAP").map(PathBuf::from).ok_or(
            "BWRAP is not set: it is the bubblewrap to compare with, such as BWRAP=/usr/bin/bwrap of the package bubblewrap; \
             the bounds are for version 0.13.1",
        )?;
        let bwrap =
            bwrap.canonicalize().map_err(|error| format!("cannot find {}: {error}", bwrap.display()))?;
        let sbx = std::env::var_os("SBX").map_or_else(|| source_dir().join("target/dist/sbx"), PathBuf::from);
        if !sbx.exists() {
            return Err(format!("there is no {}: run .ci/release, or set SBX", sbx.display()));
        }
        let scratch = Scratch::new().map_err(|failure| failure.message().unwrap_or_default().to_owned())?;
        let dir = scratch.path().to_owned();
        let drop_to = nix::unistd::geteuid().is_root().then(Account::person);
        let place = Self { dir, bwrap, drop_to, _scratch: Some(scratch) };
        place.prepare(&sbx).map_err(|error| format!("cannot prepare {}: {error}", place.dir.display()))?;
        place.compile("floor")?;
        place.compile("loop")?;
        Ok(place)
    }

    fn prepare(&self, sbx: &Path) -> std::io::Result<()> {
        for (from, name) in [(sbx, "sbx"), (&std::env::current_exe()?, "start")] {
            let to = self.dir.join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
        for (dir, mode) in
            [(self.dir.join("home"), 0o755), (self.project(), 0o755), (self.dir.join("run"), 0o700)]
        {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode))?;
            if let Some((uid, gid)) = self.drop_to {
                chown(&dir, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }

    /// Compiles `tests/bench/NAME.c`, unless there is no C compiler: then the benchmark says so and goes on.
    fn compile(&self, name: &str) -> Result<(), Problem> {
        let source = source_dir().join("tests/bench").join(name).with_extension("c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-static", "-o"]).arg(self.dir.join(name)).arg(source).stdin(Stdio::null());
        match compiler.status() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                crate::say(&format!("There is no `cc`, so nothing is measured with `{name}`."));
                Ok(())
            }
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("cannot compile {name}.c: {other:?}")),
        }
    }

    /// One line on what is compared, and where.
    pub(crate) fn machine(&self) -> Result<String, Problem> {
        let version = |program: &Path| {
            let output = self.command(program).arg("--version").output();
            let output = output.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
            Ok::<_, Problem>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let (sbx, bwrap) = (version(&self.sbx())?, version(&self.bwrap)?);
        Ok(format!("{sbx} against {bwrap}; kernel {}, {cores} cores", kernel.trim()))
    }

    /// Measures as an ordinary user: here, or where this is root in a second process that became one.
    pub(crate) fn as_ordinary_user(
        &self,
        measure: impl FnOnce(&Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Some((uid, gid)) = self.drop_to else { return measure(self) };
        let mut again = Command::new(self.benchmark());
        again.env(VARIABLE, &self.dir).env("BWRAP", &self.bwrap).uid(uid).gid(gid).current_dir(&self.dir);
        let stand_in = limited::StandIn::make(uid, gid);
        if let Some(stand_in) = &stand_in {
            let (name, path) = stand_in.variable();
            again.env(name, path);
        }
        let mut child = again.spawn().map_err(|error| format!("cannot start as user {uid}: {error}"))?;
        if let Some(stand_in) = &stand_in {
            stand_in.adopt(child.id())?;
        }
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the measurements ended with {status}")),
            Err(error) => Err(format!("cannot wait for the measurements: {error}")),
        }
    }

    /// A command as the ordinary user, with a small environment, in the project directory.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let variables: [(&str, OsString); 4] = [
            ("PATH", "/usr/bin:/bin".into()),
            ("HOME", self.home().into()),
            ("LANG", "C.UTF-8".into()),
            ("XDG_RUNTIME_DIR", self.runtime_dir().into()),
        ];
        command.env_clear().envs(variables).current_dir(self.project()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.drop_to {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Where the user's sandboxes are registered: as with a login.
    fn runtime_dir(&self) -> PathBuf {
        match self.has_manager() {
            true => format!("/run/user/{}", nix::unistd::geteuid()).into(),
            false => self.dir.join("run"),
        }
    }

    /// Whether this ordinary user has a systemd, and this runs below it.
    pub(crate) fn has_manager(&self) -> bool {
        let uid = nix::unistd::geteuid();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Path::new(&format!("/run/user/{uid}/systemd/private")).exists()
            && own.contains(&format!("user@{uid}.service"))
    }

    /// The binary under test.
    pub(crate) fn sbx(&self) -> PathBuf {
        self.dir.join("sbx")
    }

    /// This program, where everybody can run it.
    pub(crate) fn benchmark(&self) -> PathBuf {
        self.dir.join("start")
    }

    /// The bubblewrap to compare with.
    pub(crate) fn bwrap(&self) -> &Path {
        &self.bwrap
    }

    /// A compiled C program, if there is one.
    pub(crate) fn compiled(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.join(name)).filter(|path| path.exists())
    }

    /// The ordinary user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The directory that everything starts in.
    pub(crate) fn project(&self) -> PathBuf {
        self.home().join("project")
    }

    /// What `git init` leaves in the project, as far as sbx looks at it.
    pub(crate) fn make_repository(&self) -> Result<(), Problem> {
        let hooks = self.project().join(".git/hooks");
        fs::create_dir_all(&hooks).map_err(|error| format!("cannot make {}: {error}", hooks.display()))?;
        self.put("project/.git/HEAD", b"ref: refs/heads/main\n")?;
        self.put("project/.git/config", b"").map(drop)
    }

    /// Writes a file below the home, readable for everybody.
    pub(crate) fn put(&self, name: &str, contents: &[u8]) -> Result<PathBuf, Problem> {
        let path = self.home().join(name);
        let give = || {
            fs::write(&path, contents)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            self.drop_to.map_or(Ok(()), |(uid, gid)| chown(&path, Some(uid), Some(gid)))
        };
        give().map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }
}
