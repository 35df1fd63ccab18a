//! Several sandboxes in one directory share its placeholders, and nothing of their callers'.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, output, process, wait_for};
use crate::stage::{PLACED, Stay, janitors, placed, repository, sh};
use std::fs;
use std::thread;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(the_last_one_takes_them_away),
        case!(many_at_the_same_time),
        case!(one_starts_while_another_ends),
        case!(a_locked_placeholder_is_a_refusal).needs(Need::Program("flock")),
        case!(the_janitor_holds_nothing_of_the_callers),
        case!(the_output_ends_with_the_command),
    ]
}

fn the_last_one_takes_them_away(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let first = Stay::start(user, "one")?;
    let attack =
        "mkdir .vscode; echo evil >.vscode/x; rmdir .cargo; mkdir .cargo; echo evil >.cargo/config.toml
        echo evil >.git/config; mv -T .git g";
    let second = Stay::with(user, "two", &mut user.sbx(), &format!("{attack}; true"))?;
    placed(user.project(), &PLACED)?;
    first.end()?.exits(0)?.stderr_is("")?;
    placed(user.project(), &PLACED)?;
    second.end()?.exits(0)?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn many_at_the_same_time(user: &User) -> Verdict {
    in_parallel(user, 20, 1)
}

fn one_starts_while_another_ends(user: &User) -> Verdict {
    in_parallel(user, 2, 100)
}

/// So many threads, each with so many runs, one after another.
fn in_parallel(user: &User, threads: usize, runs: usize) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let work = || -> Result<(), String> {
        for _ in 0..runs {
            let script = "mkdir .vscode .idea 2>/dev/null && exit 9; exit 5";
            let run = sh(user, &[], script).and_then(|out| out.exits(5)?.stderr_is("").map(drop));
            run.map_err(|failure| failure.message().unwrap_or_default().to_owned())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err("panicked".into())));
        results.collect::<Result<(), _>>()
    })?;
    before.same_as(&Snapshot::of(user.project())?)
}

/// A sandbox that sees the same directory read-only can lock what it can open there: that keeps others from starting, and a
/// placeholder in its place, as long as it runs and no longer.
fn a_locked_placeholder_is_a_refusal(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let before = Snapshot::of(user.project())?;
    let control = user.mkdir("control")?;
    let lock =
        "flock -s .vscode sh -c ': >/control/locked; until [ -e /control/unlock ]; do sleep 0.01; done'
        flock -x .vscode sh -c ': >/control/alone; until [ -e /control/end ]; do sleep 0.01; done'";
    let first = Stay::start(user, "one")?;
    let reader = Stay::with(user, "reader", user.sbx().args(["--cwd", "ro"]), lock)?;
    let seen = |name: &'static str| {
        let path = control.join(name);
        wait_for(name, move || path.exists().then_some(()))
    };
    fs::write(control.join("go-reader"), "")?;
    seen("locked")?;
    first.end()?.exits(0)?;
    fs::write(control.join("unlock"), "")?;
    seen("alone")?;
    sh(user, &[], "exit 3")?
        .exits(125)?
        .stderr_has(".vscode`")?
        .stderr_has("another program has locked it")?;
    fs::write(control.join("end"), "")?;
    reader.finish()?;
    sh(user, &[], "exit 3")?.exits(3)?;
    before.same_as(&Snapshot::of(user.project())?)
}

fn the_janitor_holds_nothing_of_the_callers(user: &User) -> Verdict {
    repository(user, "home/project")?;
    user.put("extra", "")?;
    let mut command = user.command("bash");
    let script = "exec 5<\"$1/extra\" 17> >(cat) 100<\"$1\"; shift; exec \"$@\"";
    command.args(["-c", script, "bash"]).arg(user.dir()).arg(user.sbx_path());
    let stay = Stay::with(user, "one", &mut command, "")?;
    let [janitor] = janitors(user)[..] else { return Err("there should be one janitor".into()) };
    let project = user.project();
    let held = process::descriptors(janitor)?;
    let foreign: Vec<_> = held
        .iter()
        .filter(|(_, to)| {
            let own = ["socket:", "anon_inode:[pidfd]", "pidfd:"].iter().any(|start| to.starts_with(start));
            !own && !std::path::Path::new(to).starts_with(&project)
        })
        .collect();
    let place = fs::read_link(format!("/proc/{janitor}/cwd"))?;
    stay.end()?.exits(0)?;
    match (foreign.is_empty(), place.to_str()) {
        (true, Some("/")) => Ok(()),
        _ => Err(format!("the janitor holds {foreign:?} and works in {}", place.display()).into()),
    }
}

/// Also where another sandbox still needs the placeholders.
fn the_output_ends_with_the_command(user: &User) -> Verdict {
    repository(user, "home/project")?;
    let stay = Stay::start(user, "one")?;
    let script = "\"$0\" sh -c 'sleep 0.2; echo out; echo err >&2' 2>&1 | cat";
    let out = output(user.command("sh").args(["-c", script]).arg(user.sbx_path()))?;
    out.exits(0)?.stdout_is("out\nerr\n")?;
    out.check(out.took < Duration::from_secs(5), || "an end soon after the command's".to_owned())?;
    stay.end()?.exits(0)?;
    placed(user.project(), &[])
}
