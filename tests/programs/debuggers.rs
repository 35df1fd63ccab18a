//! Debuggers: they work where the profile allows their calls, and say that they can't where it doesn't.

use crate::common::{Case, Output, User, Verdict, case, output};
use crate::job::with;
use libtest_mimic::Failed;

const ALLOWED: &[&str] = &["--profile", "build", "--set", "seccomp.allow=['@debug']"];
const NOT_ALLOWED: &[&str] = &["--profile", "build"];

const GDB: &[&str] = &[
    "gdb",
    "-batch",
    "-nx",
    "-ex",
    "break inner",
    "-ex",
    "run",
    "-ex",
    "bt",
    "-ex",
    "info threads",
    "./work",
];
const STRACE: &[&str] = &["strace", "-f", "-e", "trace=clone,clone3,write", "-o", "trace", "./work"];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with(case!(gdb_stops_a_program), &["gdb", "gcc"]),
        with(case!(gdb_without_its_calls), &["gdb", "gcc"]),
        with(case!(strace_sees_calls), &["strace", "gcc"]),
        with(case!(strace_without_its_calls), &["strace", "gcc"]),
    ]
}

/// Compiles the program outside, and runs a debugger on it inside.
fn inside(user: &User, options: &[&str], command: &[&str]) -> Result<Output, Failed> {
    user.put("home/project/work.c", include_str!("fixtures/work.c"))?;
    output(user.command("gcc").args(["-g", "-O0", "-pthread", "-o", "work", "work.c"]))?.exits(0)?;
    output(user.sbx().args(options).args(command))
}

fn gdb_stops_a_program(user: &User) -> Verdict {
    let found = inside(user, ALLOWED, GDB)?;
    found.exits(0)?.stdout_has("Breakpoint 1, inner (number=0) at work.c:")?;
    found.stdout_has("#0  inner (number=0) at work.c:")?.stdout_has("#1  ")?.stdout_has("main (argc=1,")?;
    Ok(())
}

fn gdb_without_its_calls(user: &User) -> Verdict {
    let found = inside(user, NOT_ALLOWED, GDB)?;
    found.stdout_lacks("#0  inner")?;
    let said = found.errors() + &found.text();
    found.check(said.contains("trace"), || "gdb should say that it cannot trace".to_owned())?;
    Ok(())
}

fn strace_sees_calls(user: &User) -> Verdict {
    let found = inside(user, ALLOWED, STRACE)?;
    found.exits(0)?.stdout_is("8 threads counted to 80000\n")?;
    let trace = std::fs::read_to_string(user.project().join("trace"))?;
    let starts =
        trace.lines().filter(|line| line.contains(" clone") && line.contains("CLONE_THREAD")).count();
    let wrote = trace.contains("write(1, \"8 threads counted to 80000");
    found.check(starts >= 8 && wrote, || format!("the trace should say so:\n{trace}"))?;
    Ok(())
}

fn strace_without_its_calls(user: &User) -> Verdict {
    let found = inside(user, NOT_ALLOWED, STRACE)?;
    found.exits(1)?.stdout_is("")?.stderr_has("ptrace")?;
    Ok(())
}
