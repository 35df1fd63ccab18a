//! A home with something to steal, to spoil and to reach in it, and what a hostile build did there, seen from outside.

use crate::common::{Output, Running, Snapshot, User, Verdict, output, process};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

const ATTEMPTS: &str = include_str!("attempts.py");

/// What is read, as the report names it.
const SECRETS: [&str; 3] = ["key", "environment", "environments of others"];

/// What is reached, as the report names it.
const PEERS: [&str; 4] = ["127.0.0.1", "::1", "abstract socket", "socket in the home"];

/// What programs run or obey when the user logs in or opens a shell.
const HOME_HOOKS: [&str; 4] =
    [".bashrc", ".config/autostart/x.desktop", ".config/systemd/user/x.service", ".local/bin/ls"];

/// What programs run or obey when the user works in the project.
const PROJECT_HOOKS: [&str; 11] = [
    ".git/hooks/post-commit",
    ".git/hooks/pre-commit",
    ".git/config",
    ".envrc",
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".husky/pre-commit",
    ".devcontainer/devcontainer.json",
    ".cargo/config.toml",
    ".claude/settings.json",
    ".mcp.json",
];

/// A socket that would give away a key.
const AGENT: &str = ".ssh/agent";

/// Where the attempts are reported.
const REPORT: &str = "hostile/report";

/// How long the process to kill sleeps. Unusual, so that it can be told from others.
const NAP: &str = "86399.25";

/// In whatever is planted.
const MARK: &str = "planted by a hostile build";

/// Everything set up and watched.
#[derive(Debug)]
pub(crate) struct Trap {
    key: String,
    secret: String,
    script: PathBuf,
    tcp: [TcpListener; 2],
    unix: [UnixListener; 2],
    sleeper: Running,
    home: Snapshot,
}

impl Trap {
    /// With a git repository as the project.
    pub(crate) fn set(user: &User) -> Result<Self, Failed> {
        let git = output(user.command("git").args(["init", "--quiet"]))?;
        git.exits(0)?;
        // One hook that was there before; the others are new.
        user.put("home/project/.git/hooks/pre-commit", "#!/bin/sh\n")?;
        Self::set_without_repository(user)
    }

    /// With a project that is no repository.
    pub(crate) fn set_without_repository(user: &User) -> Result<Self, Failed> {
        let unique = user.dir().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = format!("canary-key-{unique}");
        user.put("home/.ssh/id_ed25519", format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{key}\n"))?;
        user.put("home/.bashrc", "alias canary=true\n")?;
        let agent = user.home().join(AGENT);
        let unix = [
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&unique)?)?,
            UnixListener::bind(&agent)?,
        ];
        fs::set_permissions(agent, fs::Permissions::from_mode(0o777))?;
        let tcp = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("[::1]:0")?];
        tcp.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        unix.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        let sleeper = Running::start(user.command("sleep").arg(NAP))?;
        let script = user.put_program("home/project/hostile/attempts.py", ATTEMPTS)?;
        // A file that it can write wherever it can write the project.
        user.put(Path::new("home/project").join(REPORT), "")?;
        let home = Snapshot::of(user.home())?;
        let secret = format!("canary-secret-{unique}");
        let trap = Self { key, secret, script, tcp, unix, sleeper, home };
        trap.name_targets(user, &unique)?;
        Ok(trap)
    }

    /// Tells the script all that a guess or a search would find out.
    fn name_targets(&self, user: &User, unique: &str) -> Verdict {
        let [port, port6] = &self.tcp;
        let targets = serde_json::json!({
            "mark": MARK,
            "home_hooks": HOME_HOOKS,
            "project_hooks": PROJECT_HOOKS,
            "port": port.local_addr()?.port(),
            "port6": port6.local_addr()?.port(),
            "abstract": unique,
            "socket": AGENT,
            "pid": self.sleeper.pid(),
            "argument": NAP,
            "pid_namespace": process::namespaces(process::own_pid())?.get("pid"),
        });
        user.put("home/project/hostile/targets.json", targets.to_string())?;
        Ok(())
    }

    /// What a build script has to run, with a word that says where from.
    pub(crate) fn script(&self) -> &Path {
        &self.script
    }

    /// A command outside, the secret in its environment.
    pub(crate) fn outside(&self, user: &User) -> Command {
        let mut command = user.command("env");
        command.env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command
    }

    /// The same in a sandbox, the secret in sbx's environment.
    pub(crate) fn inside(&self, user: &User) -> Command {
        let mut sbx = user.sbx();
        sbx.env("AWS_SECRET_ACCESS_KEY", &self.secret).args(["--profile", "build"]);
        sbx
    }

    /// Looks at what a build got at since the trap was set, and at what it printed.
    pub(crate) fn found(&self, user: &User, printed: &Output) -> Result<Found, Failed> {
        let report = fs::read_to_string(user.project().join(REPORT))?;
        let mut through = BTreeSet::new();
        for name in SECRETS {
            let of_this = format!(": {name}: ");
            if report.lines().any(|line| line.contains(&of_this) && self.is_secret(line.as_bytes())) {
                through.insert(name);
            }
        }
        through.extend(self.callers()?);
        through.extend(marked(&user.home(), &HOME_HOOKS));
        through.extend(marked(&user.project(), &PROJECT_HOOKS));
        if process::Status::of(self.sleeper.pid())?.field("State")?.starts_with('Z') {
            through.insert("process");
        }
        let mut leaks = Vec::new();
        self.search(&user.project(), &mut leaks)?;
        if self.is_secret(&printed.stdout) || self.is_secret(&printed.stderr) {
            leaks.push("what it printed".into());
        }
        let home = self.home.difference(&Snapshot::of(user.home())?);
        let spoilt = home.lines().filter(|line| !line[2..].starts_with("project/")).map(str::to_owned);
        Ok(Found { through, leaks, spoilt: spoilt.collect(), report })
    }

    fn is_secret(&self, bytes: &[u8]) -> bool {
        has(bytes, &self.key) || has(bytes, &self.secret)
    }

    /// The listeners that somebody connected to: such a connection waits, even when its other end has gone.
    fn callers(&self) -> Result<Vec<&'static str>, Failed> {
        let [tcp, tcp6] = &self.tcp;
        let [unnamed, agent] = &self.unix;
        let accepted = [
            tcp.accept().map(drop),
            tcp6.accept().map(drop),
            unnamed.accept().map(drop),
            agent.accept().map(drop),
        ];
        let mut callers = Vec::new();
        for (name, accepted) in PEERS.into_iter().zip(accepted) {
            match accepted {
                Ok(()) => callers.push(name),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("cannot accept at {name}: {error}").into()),
            }
        }
        Ok(callers)
    }

    /// The files below a directory that have a secret in them.
    fn search(&self, dir: &Path, leaks: &mut Vec<PathBuf>) -> Verdict {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                self.search(&path, leaks)?;
            } else if kind.is_file() && self.is_secret(&fs::read(&path)?) {
                leaks.push(path);
            }
        }
        Ok(())
    }
}

/// The files that were planted, or planted in.
fn marked(top: &Path, hooks: &[&'static str]) -> Vec<&'static str> {
    let planted = |hook: &&&str| fs::read(top.join(hook)).is_ok_and(|bytes| has(&bytes, MARK));
    hooks.iter().filter(planted).copied().collect()
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// What a hostile build got at.
#[derive(Debug)]
pub(crate) struct Found {
    /// The attempts that got through, by name.
    through: BTreeSet<&'static str>,
    /// Where in the project a secret lies.
    leaks: Vec<PathBuf>,
    /// What is different in the home outside the project.
    spoilt: Vec<String>,
    /// The build's own words.
    report: String,
}

impl Found {
    /// Every attempt got through.
    pub(crate) fn everything(&self) -> Verdict {
        let all = SECRETS.iter().chain(&PEERS).chain(&HOME_HOOKS).chain(&PROJECT_HOOKS).chain(&["process"]);
        let failed: Vec<_> = all.filter(|name| !self.through.contains(*name)).collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(self.failure(&format!("outside, not through: {failed:?}")))
        }
    }

    /// No attempt got through.
    pub(crate) fn nothing(&self) -> Verdict {
        if self.through.is_empty() && self.leaks.is_empty() && self.spoilt.is_empty() {
            return Ok(());
        }
        let (through, leaks, spoilt) = (&self.through, &self.leaks, &self.spoilt);
        Err(self
            .failure(&format!("through: {through:?}; secrets in {leaks:?}; changed in the home: {spoilt:?}")))
    }

    /// No attempt got through but those on hooks in the project.
    pub(crate) fn only_project_hooks(mut self) -> Verdict {
        self.through.retain(|name| !PROJECT_HOOKS.contains(name));
        self.nothing()
    }

    /// What the build itself said about one attempt.
    pub(crate) fn says(&self, part: &str) -> Verdict {
        if self.report.contains(part) { Ok(()) } else { Err(self.failure(&format!("no {part:?}"))) }
    }

    fn failure(&self, wrong: &str) -> Failed {
        format!("{wrong}\n  report:\n{}", self.report).into()
    }
}
