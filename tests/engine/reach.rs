//! Nothing of the host's is reachable but what the plan gives: no old root, no inherited descriptor.

use crate::common::{Case, Running, User, Verdict, case, output, process, wait_for};
use crate::probe::{append, sh, with_redirections};
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(only_what_the_plan_mounts),
        case!(the_root_has_no_way_up),
        case!(leaked_descriptors_are_closed),
        case!(descriptors_are_kept_when_asked),
        case!(directories_are_never_handed_over),
        case!(closed_standard_descriptors),
    ]
}

/// Every mount inside is the root, or at or below a mount of the plan as `explain` prints it.
fn only_what_the_plan_mounts(user: &User) -> Verdict {
    let json = output(user.sbx().args(["explain", "--format", "json", "--", "sh"]))?;
    let plan: serde_json::Value = serde_json::from_slice(&json.exits(0)?.stdout)?;
    let mounts = plan["mounts"].as_array().ok_or("no mounts in the plan")?;
    let made = ["dir", "copy", "file", "symlink", "chmod"];
    let dests: Vec<_> = mounts
        .iter()
        .filter(|mount| !mount["op"].as_str().is_some_and(|op| made.contains(&op)))
        .filter_map(|mount| mount["dest"].as_str().map(PathBuf::from))
        .collect();
    let out = sh(user, &[], "cat /proc/self/mountinfo; ls -A / >&2")?;
    let inside = process::Mount::parse(&out.exits(0)?.text())?;
    let roots = inside.iter().filter(|mount| mount.target == Path::new("/")).count();
    let strangers: Vec<_> = inside
        .iter()
        .filter(|mount| {
            mount.target != Path::new("/") && !dests.iter().any(|dest| mount.target.starts_with(dest))
        })
        .collect();
    out.check(roots == 1 && dests.len() > 8 && strangers.is_empty(), || format!("strangers: {strangers:?}"))?;
    let names: Vec<_> = dests_top(mounts);
    let listed = out.errors();
    let strangers: Vec<_> = listed.lines().filter(|name| !names.iter().any(|known| known == name)).collect();
    out.check(strangers.is_empty(), || format!("strange names in the root: {strangers:?}"))?;
    Ok(())
}

/// The names directly below `/` of all destinations.
fn dests_top(mounts: &[serde_json::Value]) -> Vec<String> {
    let dests = mounts.iter().filter_map(|mount| mount["dest"].as_str());
    dests.filter_map(|dest| Some(dest.split('/').nth(1)?.to_owned())).collect()
}

fn the_root_has_no_way_up(user: &User) -> Verdict {
    user.put("secret", "")?;
    let up = "../".repeat(50);
    let script = format!(
        "stat -Lc %d:%i / /.. /proc/self/root /proc/self/root/.. /proc/thread-self/root /proc/self/cwd/{up} {up} | uniq -c | wc -l
         cd /; i=0; while [ $i -lt 50 ]; do cd -P ..; i=$((i+1)); done; pwd -P; ls -d oldroot .old* .sbx* put_old 2>/dev/null
         ls {}/secret /..{0}/secret /proc/*/root{0}/secret {up}{0}/secret 2>/dev/null",
        user.dir().display()
    );
    sh(user, &[], &script)?.stdout_is("1\n/\n")?;
    Ok(())
}

/// The descriptors of the payload, seen from outside, when the caller leaked some.
fn descriptors(user: &User, options: &[&str]) -> Result<Vec<String>, Failed> {
    let mut command = user.sbx();
    command.args(options).args(["sleep", "1000"]);
    let mut outer = user.command("prlimit");
    append(outer.args(["--nofile=4096", "--"]), &with_redirections(user, LEAKS, &command));
    let running = Running::start(&mut outer)?;
    let payload = wait_for("the payload", || {
        let last = *process::descendants(running.pid()).get(1)?;
        // Not while it is being loaded: then it has its libraries open.
        let status = process::Status::of(last).ok()?;
        let asleep = status.field("Name").ok()? == "sleep" && status.field("State").ok()?.starts_with('S');
        asleep.then_some(last)
    })?;
    let found = process::descriptors(payload)?;
    let mut numbers: Vec<_> = found
        .into_iter()
        .map(|(fd, path)| if ["0", "1", "2"].contains(&fd.as_str()) { fd } else { format!("{fd}={path}") })
        .collect();
    numbers.sort();
    Ok(numbers)
}

const LEAKS: &str = "3</ 9</etc 250</etc/passwd 2048</ 2049<>/dev/null";

fn leaked_descriptors_are_closed(user: &User) -> Verdict {
    let found = descriptors(user, &[])?;
    if found == ["0", "1", "2"] { Ok(()) } else { Err(format!("the payload holds {found:?}").into()) }
}

fn descriptors_are_kept_when_asked(user: &User) -> Verdict {
    let found = descriptors(user, &["--keep-fd", "250", "--keep-fd", "2049"])?;
    let wanted = ["0", "1", "2", "2049=/dev/null", "250=/etc/passwd"];
    if found == wanted { Ok(()) } else { Err(format!("the payload holds {found:?}").into()) }
}

fn directories_are_never_handed_over(user: &User) -> Verdict {
    let mut command = user.sbx();
    command.args(["--keep-fd", "9", "true"]);
    for redirection in ["9</etc", "9</", "9<."] {
        output(&mut with_redirections(user, redirection, &command))?
            .exits(125)?
            .stderr_has("descriptor 9")?;
    }
    let mut command = user.sbx();
    command.args(["ls", "/proc/self/fd/0/"]);
    for (redirection, fd) in [("0</", 0), ("1</etc", 1)] {
        let out = output(&mut with_redirections(user, redirection, &command))?;
        out.exits(125)?.stderr_has(&format!("descriptor {fd}: it is a directory"))?;
    }
    output(&mut with_redirections(user, "2</etc", &command))?.exits(125)?.stdout_is("")?;
    Ok(())
}

/// Nothing of sbx's own lands on 0, 1 or 2.
fn closed_standard_descriptors(user: &User) -> Verdict {
    for closed in ["0<&-", "0<&- 1>&-", "0<&- 1>&- 2>&-", "2>&-"] {
        let mut command = user.sbx();
        command.args(["sh", "-c", "for f in 0 1 2; do readlink /proc/self/fd/$f; done >made; exit 4"]);
        output(&mut with_redirections(user, closed, &command))?.exits(4)?;
        let seen = std::fs::read_to_string(user.project().join("made"))?;
        // The program itself is started with /dev/null in place of what is missing; 1 is `made`.
        let fine = seen
            .lines()
            .all(|line| line == "/dev/null" || line.starts_with("pipe:") || line.ends_with("/made"));
        if !fine {
            return Err(format!("odd descriptors:\n{seen}").into());
        }
    }
    Ok(())
}
