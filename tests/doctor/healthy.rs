//! A machine where sandboxes work: no alarm, a short page, and nothing left behind.

use crate::common::{Case, Running, Snapshot, User, Verdict, case, output};
use crate::report::{Report, parse, plain, same_as_text};
use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::Pid;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(no_alarm),
        case!(text_and_json_agree),
        case!(changes_nothing),
        case!(agrees_with_a_run),
        case!(colours_when_told),
        case!(many_times_at_once),
        case!(no_process_to_spare).only_as_user(),
        case!(odd_arguments),
    ]
}

fn report(user: &User) -> Result<Report, libtest_mimic::Failed> {
    parse(&output(user.sbx().args(["doctor", "--format", "json"]))?)
}

fn no_alarm(user: &User) -> Verdict {
    let output = output(user.sbx().args(["doctor", "--format=json"]))?;
    output.exits(0)?;
    let report = parse(&output)?;
    for (name, told) in &report {
        let fine = ["ok", "degraded", "info"].contains(&told.status.as_str());
        output.check(fine, || format!("{name} is {told:?}"))?;
    }
    for name in
        ["clone3", "user-namespace", "id-maps", "mounts", "proc", "seccomp", "capabilities", "pivot-root"]
    {
        output.check(report[name].status == "ok", || format!("{name} should work"))?;
    }
    Ok(())
}

fn text_and_json_agree(user: &User) -> Verdict {
    let page = output(user.sbx().arg("doctor"))?;
    same_as_text(&report(user)?, &page)?;
    let long = page.text().lines().filter(|line| line.starts_with("ok ")).any(|line| line.len() > 160);
    page.check(!long, || "what works should be told in short lines".to_owned())?;
    page.check(page.text().lines().count() < 60, || "the page should be short".to_owned())?;
    Ok(())
}

fn changes_nothing(user: &User) -> Verdict {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let name = nix::unistd::gethostname()?;
    let before = Snapshot::with_times(user.dir())?;
    let running = Running::start(user.sbx().arg("doctor"))?;
    let group = Pid::from_raw(running.pid());
    let output = running.finish()?;
    output.exits(0)?;
    before.same_as(&Snapshot::with_times(user.dir())?)?;
    output.check(killpg(group, None) == Err(Errno::ESRCH), || "a process is left".to_owned())?;
    output.check(nix::unistd::gethostname()? == name, || "another host name".to_owned())?;
    // Other tests run at the same time, but none mounts where this one looks.
    output.check(std::fs::read_to_string("/proc/self/mountinfo")? == mounts, || "other mounts".to_owned())?;
    Ok(())
}

/// What the doctor says is what happens.
fn agrees_with_a_run(user: &User) -> Verdict {
    output(user.sbx().arg("doctor"))?.exits(0)?;
    output(user.sbx().arg("true"))?.exits(0)?;
    Ok(())
}

fn colours_when_told(user: &User) -> Verdict {
    output(user.sbx().args(["doctor", "--color", "always"]))?.exits(0)?.stdout_has("\x1b[32mok")?;
    output(user.sbx().args(["doctor", "--color", "auto"]))?.exits(0)?.stdout_lacks("\x1b")?;
    Ok(())
}

fn many_times_at_once(user: &User) -> Verdict {
    let script = "for one in 1 2 3 4 5 6; do $SBX doctor >/dev/null & all=\"$all $!\"; done; \
                  for one in $all; do wait $one; done";
    output(plain(user, &format!("all=; {script}")).env("LANG", "C"))?.exits(0)?;
    Ok(())
}

/// Not even one child: the doctor itself could not run.
fn no_process_to_spare(user: &User) -> Verdict {
    let script = "ulimit -u 1 2>/dev/null || ulimit -p 1; exec $SBX doctor";
    output(&mut plain(user, script))?
        .exits(125)?
        .stdout_is("")?
        .stderr_has("sbx: error: cannot start a process to try things in: the user's limit of processes")?
        .stderr_has("hint: end some processes")?;
    Ok(())
}

fn odd_arguments(user: &User) -> Verdict {
    output(user.sbx().args(["doctor", "--format", "yaml"]))?.exits(125)?.stdout_is("")?;
    output(user.sbx().args(["doctor", "now"]))?.exits(125)?.stdout_is("")?;
    output(user.sbx().args(["doctor", "--help"]))?.exits(0)?.stdout_has("sbx doctor")?;
    output(&mut plain(user, "exec $SBX doctor >/dev/full"))?.exits(125)?;
    Ok(())
}
