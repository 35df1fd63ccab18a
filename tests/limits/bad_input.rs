//! Limits and names that are none: a clear error, and nothing runs.

use crate::common::{Case, User, Verdict, case, output};
use crate::stage::{verb, with_registry};

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(values), case!(keys), case!(names), case!(verbs_without_a_sandbox)]
}

fn values(user: &User) -> Verdict {
    for (option, value, why) in [
        ("--memory", "-1", "is not a size"),
        ("--memory", "0", "too little memory"),
        ("--memory", "4095", "too little memory"),
        ("--memory", "1.5", "not a whole number of bytes"),
        ("--memory", "99999999999T", "larger than any size"),
        ("--memory", "much", "is not a size"),
        ("--swap", "-1", "is not a size"),
        ("--cpus", "-1", "above 0"),
        ("--cpus", "0", "above 0"),
        ("--cpus", "0.0001", "less of a processor than the kernel can account for"),
        ("--cpus", "1e300", "more processors than any machine has"),
        ("--cpus", "NaN", "above 0"),
        ("--pids", "-1", "whole number above 0"),
        ("--pids", "0", "whole number above 0"),
        ("--pids", "2.5", "whole number above 0"),
    ] {
        let out = output(user.sbx().args([option, value, "sh", "-c", "echo ran"]))?;
        out.exits(125)?.stdout_is("")?.stderr_has(why)?.stderr_has(option)?;
    }
    Ok(())
}

/// Each points at the value.
fn keys(user: &User) -> Verdict {
    for (line, why, caret) in [
        ("memory = '4K'", "too little memory", 11),
        ("memory = { value = '1G', level = 'often' }", "is not one of require, prefer, available, off", 35),
        ("memory = { level = 'require' }", "there is no `value` in this table", 11),
        ("memory = { value = '1G', levels = 'off' }", "unknown key `levels`", 27),
        ("memory-high = 7", "too little memory", 16),
        ("cpus = 0", "above 0", 9),
        ("cpu-weight = 0", "1 is the least", 15),
        ("io-weight = 10001", "10000 is the most", 14),
        ("cpuset = '1-'", "is not a list of processors", 11),
        ("cpuset = '3-1'", "is not a list of processors", 11),
        ("nice = 20", "19 is the most", 9),
        ("nice = -21", "-20 is the least", 9),
        ("io-priority = 'realtime'", "is not idle, best-effort", 16),
        ("io-priority = 'best-effort:8'", "is not idle, best-effort", 16),
        ("io = [{ path = '/', write = '0' }]", "more than no bytes a second", 8),
        ("io = [{ write = '1M' }]", "there is no `path` in this table", 8),
        ("cgroups = -1", "0 is the least", 12),
        ("cgroup = 'yes'", "is not one of require, prefer, available, off", 11),
        ("cgroup-parent = 'sbx'", "", 18),
        ("delegate = 'yes'", "true or false", 13),
    ] {
        let path = user.put("home/project/p.toml", format!("schema = 1\n[limits]\n{line}\n"))?;
        let out = output(user.sbx().arg("-p").arg(&path).args(["sh", "-c", "echo ran"]))?;
        out.exits(125)?.stdout_is("")?.stderr_has(why)?.stderr_has(&format!("p.toml:3:{}", caret - 1))?;
    }
    // What only the machine can tell, by an entry that names no limit or no disk.
    for (set, why) in [
        ("limits.io=[{ path = \"/\" }]", "the entry names no limit"),
        ("limits.io=[{ path = \"/proc\", read = \"1M\" }]", "lies on no disk"),
        ("limits.io=[{ path = \"/nonexistent\", read = \"1M\" }]", "no such file"),
    ] {
        let out = output(user.sbx().args(["--set", set, "sh", "-c", "echo ran"]))?;
        out.exits(125)?.stdout_is("")?.stderr_has(why)?;
    }
    Ok(())
}

fn names(user: &User) -> Verdict {
    let long = "x".repeat(65);
    for name in ["", ".", "..", "../x", "a/b", "/x", ".hidden", "-x", "a b", "a\nb", "\u{e9}", &long] {
        let (mut sbx, dir) = with_registry(user)?;
        let out = output(sbx.args([&format!("--name={name}"), "sh", "-c", "echo ran"]))?;
        out.exits(125)?.stdout_is("")?;
        for word in ["pause", "stop", "stats"] {
            let (mut sbx, _) = with_registry(user)?;
            let out = output(sbx.args([word, "--", name]))?;
            let code = out.status.code();
            out.check(matches!(code, Some(1 | 125)), || format!("{word} should not find {name:?}"))?;
        }
        let made = std::fs::read_dir(dir.join("sbx")).into_iter().flatten().count();
        if made > 0 {
            return Err(format!("{name:?} makes an entry").into());
        }
    }
    for name in ["x", "a.b", "A-1_b", &"x".repeat(64)] {
        let (mut sbx, _) = with_registry(user)?;
        output(sbx.args(["--name", name, "true"]))?.exits(0)?.stderr_is("")?;
    }
    Ok(())
}

fn verbs_without_a_sandbox(user: &User) -> Verdict {
    for words in [
        &["pause", "nobody"][..],
        &["resume", "nobody"],
        &["stop", "nobody"],
        &["stats", "nobody"],
        &["limit", "nobody", "memory=1G"],
    ] {
        let (mut sbx, _) = with_registry(user)?;
        let out = output(sbx.args(words))?;
        out.exits(1)?.stderr_has("cannot find a sandbox called `nobody`")?;
        out.stderr_has(&format!("hint: to run a program of that name: sbx -- {}", words[0]))?;
    }
    for words in [
        &["pause"][..],
        &["stop"],
        &["limit", "x"],
        &["exec"],
        &["stop", "--grace", "soon", "x"],
        &["ps", "x"],
    ] {
        verb(user, words)?.exits(125)?;
    }
    let (mut sbx, _) = with_registry(user)?;
    output(sbx.args(["ps"]))?
        .exits(0)?
        .stdout_is("NAME  PROFILE  PID  AGE  MEMORY  CPU  STATE  COMMAND\n")?;
    Ok(())
}
