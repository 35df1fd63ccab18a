//! The commands that are compared.

use crate::Problem;
use crate::common::edited;
use crate::workplace::Workplace;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every sandbox runs when its start is measured.
const PAYLOAD: &str = "/usr/bin/true";

/// The directories of programs besides `/usr`, links on a merged system.
const SYSTEM: [&str; 4] = ["/bin", "/lib", "/lib64", "/sbin"];

/// A command line with a name for the table.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    input: Option<PathBuf>,
}

impl Contender {
    pub(crate) fn new(name: &str, program: &Path) -> Self {
        Self { name: name.to_owned(), program: program.to_owned(), arguments: Vec::new(), input: None }
    }

    /// The same by another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// The same with these options first.
    pub(crate) fn with_options(mut self, options: &[String]) -> Self {
        self.arguments.splice(0..0, options.iter().map(OsString::from));
        self
    }

    pub(crate) fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn reading(mut self, input: PathBuf) -> Self {
        self.input = Some(input);
        self
    }

    /// The same sandbox with another command in it.
    pub(crate) fn running(mut self, command: &[&str]) -> Self {
        self.arguments.pop();
        self.with(command.iter().copied())
    }

    /// Ready to be started.
    pub(crate) fn command(&self, place: &Workplace) -> Result<Command, Problem> {
        let mut command = place.command(&self.program);
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(input) = &self.input {
            command.stdin(
                File::open(input).map_err(|error| format!("cannot open {}: {error}", input.display()))?,
            );
        }
        Ok(command)
    }

    /// Runs it once and shows what it says if it fails.
    pub(crate) fn check(&self, place: &Workplace) -> Result<(), Problem> {
        let output = self.command(place)?.stderr(Stdio::piped()).output();
        let output = output.map_err(|error| format!("cannot start {}: {error}", self.name))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} ended with {}: {}\n  {self:?}", self.name, output.status, said.trim()))
    }
}

/// The bare system calls.
pub(crate) fn floor(place: &Workplace) -> Option<Contender> {
    Some(Contender::new("floor", &place.compiled("floor")?).with([PAYLOAD]))
}

/// Bubblewrap with everything that sbx sets up: all namespaces, a root of its own with `/usr` read-only, fresh `/proc`, `/dev`,
/// `/tmp` and home, a hostname, a clean environment.
pub(crate) fn bwrap_same(place: &Workplace) -> Contender {
    let mut sandbox = Contender::new("bwrap", place.bwrap())
        .with([
            "--unshare-all",
            "--hostname",
            "sandbox",
            "--clearenv",
            "--setenv",
            "PATH",
            "/usr/bin:/bin",
            "--setenv",
        ])
        .with(["HOME".into(), place.home().into_os_string()])
        .with(["--ro-bind", "/usr", "/usr"]);
    for dir in SYSTEM {
        if let Ok(target) = fs::read_link(dir) {
            sandbox = sandbox.with(["--symlink".into(), target.into_os_string(), dir.into()]);
        } else if Path::new(dir).exists() {
            sandbox = sandbox.with(["--ro-bind", dir, dir]);
        }
    }
    sandbox
        .with(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs"])
        .with([place.home().into_os_string()])
        .with(["--remount-ro", "/", PAYLOAD])
}

/// The same in a scope of systemd's with a limit of memory.
pub(crate) fn systemd_run(place: &Workplace) -> Contender {
    let bwrap = bwrap_same(place);
    Contender::new("systemd-run --scope, bwrap", Path::new("/usr/bin/systemd-run"))
        .with([
            "--user",
            "--scope",
            "--quiet",
            "--collect",
            "-p",
            "MemoryMax=256M",
            "-p",
            "CPUQuota=150%",
            "-p",
            "TasksMax=200",
        ])
        .with([bwrap.program.into_os_string()])
        .with(bwrap.arguments)
}

/// sbx with a root that holds as much.
pub(crate) fn sbx_same(place: &Workplace) -> Result<Contender, Problem> {
    let profile = place.put("same.toml", profile(&[]).as_bytes())?;
    Ok(Contender::new("sbx", &place.sbx()).with([
        "-p".into(),
        profile.into_os_string(),
        "--".into(),
        PAYLOAD.into(),
    ]))
}

/// sbx as it is started by hand.
pub(crate) fn sbx_default(place: &Workplace) -> Contender {
    Contender::new("sbx in a project", &place.sbx()).with(["--", PAYLOAD])
}

/// Bubblewrap as it is started by hand.
pub(crate) fn bwrap_bare(place: &Workplace) -> Contender {
    let arguments = ["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", PAYLOAD];
    Contender::new("bwrap, bare", place.bwrap()).with(arguments)
}

/// sbx with all it does for a build.
pub(crate) fn sbx_build(place: &Workplace) -> Contender {
    Contender::new("sbx --profile build", &place.sbx()).with(["--profile", "build", "--", PAYLOAD])
}

/// Both with this many directories bound read-only; only sbx where bubblewrap's limit of 9,000 arguments is too low.
pub(crate) fn binds(place: &Workplace, count: usize) -> Result<(Option<Contender>, Contender), Problem> {
    let mut pairs = Vec::new();
    for number in 0..count {
        let source = place.home().join("binds").join(number.to_string());
        fs::create_dir_all(&source).map_err(|error| format!("cannot make {}: {error}", source.display()))?;
        pairs.push((source.to_string_lossy().into_owned(), format!("/binds/{number}")));
    }
    let profile = place.put(&format!("binds-{count}.toml"), profile(&pairs).as_bytes())?;
    let sbx = Contender::new("sbx", &place.sbx()).with([
        "-p".into(),
        profile.into_os_string(),
        "--".into(),
        PAYLOAD.into(),
    ]);

    let mut arguments = Vec::new();
    for (source, dest) in &pairs {
        arguments.extend(format!("--ro-bind\0{source}\0{dest}\0").bytes());
    }
    let arguments = place.put(&format!("binds-{count}.args"), &arguments)?;
    let mut bwrap = bwrap_same(place).reading(arguments);
    // Before `--remount-ro / PAYLOAD`.
    let at = bwrap.arguments.len() - 3;
    bwrap.arguments.splice(at..at, ["--args".into(), "0".into()]);
    Ok(((count * 3 + bwrap.arguments.len() <= 9000).then_some(bwrap), sbx))
}

/// A profile with an empty root, the system's programs and these binds.
fn profile(pairs: &[(String, String)]) -> String {
    let mut text =
        String::from("schema = 1\n\n[filesystem]\nroot = \"empty\"\ncwd = \"none\"\nread = [\n  \"/usr\",\n");
    for dir in SYSTEM.iter().filter(|dir| Path::new(dir).exists()) {
        let _ = writeln!(text, "  \"{dir}\",");
    }
    for (source, dest) in pairs {
        let _ = writeln!(text, "  {{ path = \"{source}\", dest = \"{dest}\" }},");
    }
    text + "]\n"
}

/// sbx with all it can do for a build, but for what this edit of the plan leaves out.
pub(crate) fn edited_build(place: &Workplace, edit: &str) -> Contender {
    let run = ["--profile", "build", "--set", "landlock.files=true", "--", PAYLOAD];
    Contender::new(edit, &place.benchmark()).with([edited::WORD, edit]).with(run)
}

/// The loop of this kind of system call outside, there with the shortest filter, in bubblewrap and in sbx; it prints
/// nanoseconds.
pub(crate) fn loops(place: &Workplace, kind: &str, rounds: usize) -> Result<Option<[Contender; 4]>, Problem> {
    let Some(source) = place.compiled("loop") else { return Ok(None) };
    let program = place.project().join("loop");
    fs::copy(&source, &program).map_err(|error| format!("cannot copy {}: {error}", source.display()))?;
    let rounds = rounds.to_string();
    let command = [program.to_str().ok_or("the project's path is no text")?, kind, &rounds];
    Ok(Some([
        Contender::new("outside", &program).with(&command[1..]),
        Contender::new("outside, the shortest filter", &program).with(&command[1..]).with(["filtered"]),
        bwrap_bare(place).running(&command),
        sbx_build(place).running(&command),
    ]))
}
