//! Further programs in a sandbox: as confined as the first, with their own descriptors and terminals, and gone when either end
//! is.

use crate::common::process::{self, Status};
use crate::common::{Case, Need, Output, Running, User, Verdict, case, output, output_with_input, wait_for};
use crate::stage::{name, with_registry};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(exit_statuses),
        case!(bytes_go_both_ways),
        case!(words_variables_and_directory),
        case!(as_confined_as_the_first),
        case!(in_the_same_landlock_domain).needs(Need::Kernel(6, 12)),
        case!(descriptors),
        case!(a_terminal),
        case!(signals),
        case!(ends_with_its_caller),
        case!(ends_with_the_sandbox),
        case!(so_many_and_no_more),
        case!(what_is_refused),
    ]
}

/// A sandbox that runs a script.
struct Inside<'u> {
    user: &'u User,
    name: String,
    running: Running,
}

impl<'u> Inside<'u> {
    fn new(user: &'u User, options: &[&str], script: &str) -> Result<Self, Failed> {
        let name = name("box");
        let (mut sbx, dir) = with_registry(user)?;
        sbx.args(["--name", &name]).args(options).args(["sh", "-c", script]);
        let running = Running::start(&mut sbx)?;
        let info = dir.join("sbx").join(&name).join("info.json");
        wait_for("its entry", || info.exists().then_some(()))?;
        Ok(Self { user, name, running })
    }

    fn command(&self, words: &[&str]) -> Result<Command, Failed> {
        let (mut sbx, _) = with_registry(self.user)?;
        sbx.args(["exec", &self.name]).args(words);
        Ok(sbx)
    }

    fn exec(&self, words: &[&str]) -> Result<Output, Failed> {
        output(&mut self.command(words)?)
    }

    fn sh(&self, script: &str) -> Result<Output, Failed> {
        self.exec(&["sh", "-c", script])
    }

    fn end(self) -> Verdict {
        self.running.signal(Signal::SIGTERM)?;
        self.running.finish()?;
        Ok(())
    }
}

fn exit_statuses(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    inside.exec(&["true"])?.exits(0)?.stdout_is("")?.stderr_is("")?;
    inside.sh("exit 7")?.exits(7)?;
    inside.sh("kill -TERM $$")?.killed_by(Signal::SIGTERM)?;
    inside.exec(&["no-such-program"])?.exits(127)?.stderr_has("cannot find `no-such-program`")?;
    inside.exec(&["/etc/passwd"])?.exits(126)?;
    inside.exec(&["/usr"])?.exits(126)?.stderr_has("directory")?;
    inside.end()
}

fn bytes_go_both_ways(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let input: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let out = output_with_input(&mut inside.command(&["cat"])?, &input)?;
    out.exits(0)?.check(out.stdout == input, || "the same bytes".to_owned())?;
    inside.sh("echo out; echo err >&2")?.stdout_is("out\n")?.stderr_is("err\n")?;
    inside.end()
}

fn words_variables_and_directory(user: &User) -> Verdict {
    user.mkdir("home/project/below")?;
    let inside = Inside::new(user, &["--env", "OWN=1"], "sleep 100")?;
    let out = inside.exec(&["printf", "<%s>", "", "a b", "\u{e9}", "--", "-x"])?;
    out.exits(0)?.stdout_is("<><a b><\u{e9}><--><-x>")?;
    inside.sh("echo $OWN $PWD; pwd; echo ${SECRET-none}")?.stdout_is(&{
        let project = user.project().display().to_string();
        format!("1 {project}\n{project}\nnone\n")
    })?;
    let (mut sbx, _) = with_registry(user)?;
    sbx.args(["exec", "--env", "OWN=2", "--env", "MORE=x=y", "--chdir", "below", &inside.name]);
    let out = output(sbx.args(["sh", "-c", "echo $OWN $MORE; pwd"]))?;
    out.exits(0)?.stdout_is(&format!("2 x=y\n{}/below\n", user.project().display()))?;
    let (mut sbx, _) = with_registry(user)?;
    output(sbx.args(["exec", "--chdir", "/nowhere", &inside.name, "true"]))?
        .exits(125)?
        .stderr_has("cannot enter")?;
    inside.end()
}

/// Namespaces, ids, capabilities, filter, limits: what the kernel says of both is the same.
fn as_confined_as_the_first(user: &User) -> Verdict {
    const LOOK: &str = "cat /proc/self/status; echo ---; ls -l /proc/self/ns | sed 's/.*-> //'; echo ---; \
        grep -E 'core|processes|open files' /proc/self/limits; echo ---; cat /proc/self/mountinfo; umask; nice";
    let script = format!("({LOOK}) >part; mv part first; sleep 100");
    // For root that takes a cgroup.
    let options: &[&str] = if user.is_root() { &[] } else { &["--pids", "99"] };
    let inside = Inside::new(user, options, &script)?;
    let first =
        wait_for("what the first one sees", || fs::read_to_string(user.project().join("first")).ok())?;
    let second = inside.sh(LOOK)?;
    let second = second.exits(0)?.text();
    let parts = |text: &str| text.split("---\n").map(str::to_owned).collect::<Vec<_>>();
    let (first, second) = (parts(&first), parts(&second));
    if first[1..] != second[1..] {
        return Err(format!("{:?}\nis not\n{:?}", second, first).into());
    }
    let (first, second) = (Status::parse(&first[0]), Status::parse(&second[0]));
    for key in [
        "Uid",
        "Gid",
        "Groups",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "SigBlk",
        "SigIgn",
        "SigCgt",
    ] {
        if first.field(key)? != second.field(key)? {
            return Err(format!("{key}: {} is not {}", second.field(key)?, first.field(key)?).into());
        }
    }
    inside.end()
}

/// Only who is in the same one can signal the first program: a sibling could not.
fn in_the_same_landlock_domain(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "trap 'echo told >told' USR1; while :; do sleep 0.1; done")?;
    inside.sh("kill -USR1 2")?.exits(0)?;
    wait_for("the signal", || user.project().join("told").exists().then_some(()))?;
    inside.end()
}

/// Nothing but the three; and none that leads out.
fn descriptors(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let mut bash = user.command("bash");
    let (sbx, dir) = with_registry(user)?;
    bash.env("XDG_RUNTIME_DIR", dir).args(["-c", "exec 7</ 9</etc/passwd; exec \"$@\"", "bash"]);
    bash.arg(sbx.get_program()).args(["exec", &inside.name, "sh", "-c", "ls /proc/$$/fd"]);
    output(&mut bash)?.exits(0)?.stdout_is("0\n1\n2\n")?;
    let mut bash = user.command("bash");
    let (sbx, dir) = with_registry(user)?;
    bash.env("XDG_RUNTIME_DIR", dir).args(["-c", "exec 0</; exec \"$@\"", "bash"]);
    bash.arg(sbx.get_program()).args(["exec", &inside.name, "ls", "/proc/self/fd/0/"]);
    output(&mut bash)?.exits(125)?.stdout_is("")?.stderr_has("it is a directory")?;
    inside.end()
}

/// One of the sandbox's own, of the same size, and the caller's as it was.
fn a_terminal(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let (sbx, dir) = with_registry(user)?;
    let program = sbx.get_program().to_string_lossy().into_owned();
    let line = format!(
        "stty rows 31 cols 77; before=$(stty -g); {program} exec {} sh -c 'tty; stty size; echo in >/dev/tty; [ -t 0 ] && [ -t 1 ] && echo both'; \
         [ \"$before\" = \"$(stty -g)\" ] && echo same",
        inside.name
    );
    let mut script = user.command("script");
    script.env("XDG_RUNTIME_DIR", dir).args(["-qec", &line, "/dev/null"]);
    let out = output(&mut script)?;
    out.exits(0)?.stdout_has("/dev/pts/")?.stdout_has("31 77")?.stdout_has("both")?.stdout_has("same")?;
    let (sbx, dir) = with_registry(user)?;
    let program = sbx.get_program().to_string_lossy().into_owned();
    // A pipe stays a pipe, beside a terminal.
    let line = format!(
        "{program} exec {} sh -c '[ -t 0 ] && echo terminal; [ -t 1 ] || echo pipe >&2' | cat",
        inside.name
    );
    let mut script = user.command("script");
    script.env("XDG_RUNTIME_DIR", dir).args(["-qec", &line, "/dev/null"]);
    output(&mut script)?.exits(0)?.stdout_has("terminal")?.stdout_has("pipe")?;
    inside.end()
}

fn signals(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let script = "trap 'exit 9' TERM; echo ready >ready; while :; do sleep 0.05; done";
    let client = Running::start(&mut inside.command(&["sh", "-c", script])?)?;
    wait_for("its trap", || user.project().join("ready").exists().then_some(()))?;
    client.signal(Signal::SIGTERM)?;
    client.finish()?.exits(9)?;
    inside.end()
}

fn ends_with_its_caller(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let client =
        Running::start(&mut inside.command(&["sh", "-c", "(sleep 326 & sleep 326) & sleep 326"])?)?;
    let count = || -> usize {
        let listed = inside.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '^326$'");
        listed.ok().and_then(|out| out.text().trim().parse().ok()).unwrap_or(0)
    };
    wait_for("three of them", || (count() == 3).then_some(()))?;
    client.signal(Signal::SIGKILL)?;
    client.finish()?;
    wait_for("their end", || (count() == 0).then_some(()))?;
    inside.end()
}

fn ends_with_the_sandbox(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let script = "echo ready >ready; sleep 100";
    let client = Running::start(&mut inside.command(&["sh", "-c", script])?)?;
    wait_for("its start", || user.project().join("ready").exists().then_some(()))?;
    inside.end()?;
    client.finish()?.killed_by(Signal::SIGKILL)?;
    Ok(())
}

fn so_many_and_no_more(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(Running::start(&mut inside.command(&["sleep", "100"])?)?);
    }
    wait_for("all of them", || {
        let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let all = process::descendants(inside.running.pid()).into_iter();
        (all.filter(|pid| comm(*pid) == "sleep\n").count() == 65).then_some(())
    })?;
    inside.exec(&["true"])?.exits(125)?.stderr_has("cannot start")?;
    drop(clients);
    wait_for("room again", || inside.exec(&["true"]).ok()?.status.success().then_some(()))?;
    inside.end()
}

fn what_is_refused(user: &User) -> Verdict {
    let inside = Inside::new(user, &[], "sleep 100")?;
    let (mut sbx, _) = with_registry(user)?;
    output(sbx.args(["exec", "nobody", "true"]))?
        .exits(125)?
        .stderr_has("cannot find a sandbox called `nobody`")?;
    let (mut sbx, _) = with_registry(user)?;
    output(sbx.args(["exec", &inside.name]))?.exits(125)?.stderr_has("no command")?;
    let (mut sbx, _) = with_registry(user)?;
    output(sbx.args(["exec", "--env", "NOT_SET_HERE", &inside.name, "true"]))?
        .exits(125)?
        .stderr_has("is not set")?;
    let long = "x".repeat(100_000);
    let many: Vec<&str> = vec![&long; 12];
    let words = [&["true"][..], &many].concat();
    inside.exec(&words)?.exits(125)?.stderr_has("cannot start it")?;
    inside.end()
}
