//! What is run under faults.

use crate::common::edited::Edit;
use crate::common::{User, output};
use crate::observation;
use libtest_mimic::Failed;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;

/// Arguments of sbx that take it through every step between them.
pub(crate) const SCENARIOS: &[(&str, &[&str])] = &[
    (
        "build",
        &["--profile", "build", "--set", "namespaces.time.monotonic=1h", "--hide", ".env", "--ro", "kept"],
    ),
    (
        "layers",
        &[
            "--profile",
            "build",
            "--root",
            "base",
            "--layer",
            "over",
            "--ro",
            "/usr",
            "--ro",
            "/etc/ld.so.cache",
        ],
    ),
    (
        "kept",
        &[
            "--profile",
            "base-cli",
            "--root",
            "base",
            "--set",
            "filesystem.writable=layer:mine",
            "--overlay",
            "over",
            "--ro",
            "/usr",
            "--ro",
            "/etc/ld.so.cache",
        ],
    ),
    (
        "host",
        &[
            "--profile",
            "build",
            "--net",
            "host",
            "--set",
            "privileges.uid=root",
            "--set",
            "namespaces.nested=browser",
            "--set",
            "limits.open-files=500",
            "--set",
            "limits.memory={ value = '4G', level = 'available' }",
            "--set",
            "limits.nice=3",
            "--set",
            "limits.io-priority=best-effort:6",
            "--tmpfs",
            "/mnt/tmp",
        ],
    ),
];

/// The library in this program in place of the sbx program, with nothing edited.
pub(crate) const AS_PLANNED: Edit = ("as-planned", |_| {});

/// One of them, for one user.
#[derive(Debug)]
pub(crate) struct Scenario<'a> {
    pub(crate) name: &'static str,
    pub(crate) user: &'a User,
    arguments: Vec<String>,
    /// With a registry of its own: how many sandboxes others have would change what is called.
    runtime_dir: PathBuf,
    /// A socket that Landlock's scope keeps out of reach where the network is the host's.
    _socket: UnixDatagram,
}

impl<'a> Scenario<'a> {
    pub(crate) fn all(user: &'a User) -> Result<Vec<Self>, Failed> {
        user.mkdir("traces")?;
        user.put(user.project().join(".env"), "secret\n")?;
        user.put(user.project().join("kept"), "kept\n")?;
        for directory in ["base/usr", "base/etc", "over/opt"] {
            user.mkdir(user.project().join(directory))?;
        }
        for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            symlink(target, user.project().join("base").join(link))?;
        }
        // Where a fault makes memory seem unfit for a layer, one on disk takes its place, and the directory of layers stays.
        user.mkdir(user.home().join(".local/state/sbx/layers"))?;
        let all = SCENARIOS.iter().map(|(name, options)| Self::new(user, name, options));
        let all: Vec<Self> = all.collect::<Result<_, Failed>>()?;
        // What a first run leaves of a layer later ones find.
        for scenario in &all {
            output(&mut scenario.sbx())?.exits(observation::CODE.into())?;
        }
        Ok(all)
    }

    fn new(user: &'a User, name: &'static str, options: &[&str]) -> Result<Self, Failed> {
        let address = format!("sbx-faults-{}-{name}", user.dir().display());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&address)?)?;
        let program = user.edited_path().display().to_string();
        let mut arguments: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        arguments.extend([
            "--ro".to_owned(),
            program.clone(),
            program,
            observation::WORD.to_owned(),
            address,
        ]);
        let runtime_dir = user.mkdir(format!("run-{name}"))?;
        fs::set_permissions(&runtime_dir, fs::Permissions::from_mode(0o700))?;
        Ok(Self { name, user, arguments, runtime_dir, _socket: socket })
    }

    /// The program itself.
    pub(crate) fn sbx(&self) -> Command {
        self.with_arguments(self.user.sbx())
    }

    /// The library, with an edited plan.
    pub(crate) fn edited(&self, edit: &str) -> Command {
        self.with_arguments(self.user.edited(edit))
    }

    fn with_arguments(&self, mut command: Command) -> Command {
        command.env("XDG_RUNTIME_DIR", &self.runtime_dir).args(&self.arguments);
        command
    }

    /// The command under strace with these options.
    pub(crate) fn traced(&self, options: &[&str], command: &Command) -> Command {
        let mut traced = self.user.command("strace");
        // What the command executes runs free: what is judged is the sandbox, and no fault may hit the payload.
        traced.args(["-qq", "-b", "execve", "-o"]).arg(self.trace_path()).args(options);
        traced.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                traced.env(name, value);
            }
        }
        traced
    }

    /// What the last such command made strace write.
    pub(crate) fn trace(&self) -> String {
        std::fs::read(self.trace_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Outside the home, which must stay as it is.
    fn trace_path(&self) -> PathBuf {
        self.user.dir().join("traces").join(self.name)
    }
}
