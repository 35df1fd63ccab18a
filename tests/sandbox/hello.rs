//! Somebody else's sources, GNU hello's, build in the sandbox as they do outside, and get at nothing else.

use crate::common::{Case, Need, Output, Snapshot, User, Verdict, case, hello_source, output, output_within};
use libtest_mimic::Failed;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A build takes 13 s on two cores; an emulated processor takes its time.
const LIMIT: Duration = Duration::from_secs(900);

const BUILD: &str = "cd hello && ./configure && make && make check";

/// What two builds outside differ in as well, and what says where it was built.
const MAY_DIFFER: [(&str, &str); 1] = [(
    "config.log",
    "names the machine, the variables of the environment and the compiler's temporary files",
)];

/// Files of a home that no build has any business with.
const CANARIES: [(&str, &str); 4] = [
    (".ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n"),
    (".bashrc", "alias canary=true\n"),
    (".config/canary/token", "canary-token\n"),
    ("letters/canary.txt", "Dear canary,\n"),
];

pub(crate) fn cases() -> Vec<Case> {
    let needs = [Need::HelloSource, Need::Program("gcc"), Need::Program("make")];
    needs.into_iter().fold(vec![case!(hello_builds_as_it_does_outside)], |cases, need| {
        cases.into_iter().map(|case| case.needs(need)).collect()
    })
}

fn hello_builds_as_it_does_outside(user: &User) -> Verdict {
    for (name, contents) in CANARIES {
        user.put(Path::new("home").join(name), contents)?;
    }
    let home = Snapshot::with_times(user.home())?;
    let outside = build(user, user.command("sh"), "outside")?;
    let mut sbx = user.sbx();
    sbx.args(["--profile", "build", "sh"]);
    let inside = build(user, sbx, "inside")?;
    same_trees(user)?;
    let (wanted, found) = (results(&outside), results(&inside));
    inside.check(!wanted.is_empty() && wanted == found, || format!("should have {wanted:?} as outside"))?;
    output(&mut user.command(user.dir().join("inside/hello")))?.exits(0)?.stdout_is("Hello, world!\n")?;
    gets_at_nothing_else(user)?;
    same_home(user, &home)
}

/// How many of hello's own checks passed, failed and were skipped.
fn results(built: &Output) -> Vec<String> {
    built.text().lines().filter(|line| line.starts_with("# ")).map(str::to_owned).collect()
}

/// Builds a fresh copy, at the same path each time, and moves it to where the next one isn't in its way.
fn build(user: &User, mut shell: Command, name: &str) -> Result<Output, Failed> {
    let source = hello_source().ok_or("no sources of hello")?;
    let tree = user.copy(source, "home/project/hello")?;
    let built = output_within(LIMIT, shell.args(["-c", BUILD]))?;
    built.exits(0)?.stdout_has("# FAIL:  0\n")?.stdout_lacks("# PASS:  0\n")?;
    let log = fs::read_to_string(tree.join("config.log"))?;
    built.check(log.ends_with("configure: exit 0\n"), || "config.log should end with exit 0".to_owned())?;
    fs::rename(tree, user.dir().join(name))?;
    Ok(built)
}

/// The two trees have the same names, types, modes, owners, contents and links.
fn same_trees(user: &User) -> Verdict {
    let (outside, inside) = (user.dir().join("outside"), user.dir().join("inside"));
    let difference = Snapshot::of(&outside)?.difference(&Snapshot::of(&inside)?);
    let may_differ =
        |line: &&str| MAY_DIFFER.iter().any(|(name, _)| line.starts_with(&format!("~ {name}: ")));
    let wrong: Vec<_> = difference.lines().filter(|line| !may_differ(line)).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("built otherwise inside:\n{}", wrong.join("\n")).into())
    }
}

/// The home is as it was, times and all; the project's own time aside, in which the builds came and went.
fn same_home(user: &User, before: &Snapshot) -> Verdict {
    let difference = before.difference(&Snapshot::with_times(user.home())?);
    let wrong: Vec<_> = difference.lines().filter(|line| !line.starts_with("~ project: time ")).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("the home changed:\n{}", wrong.join("\n")).into()) }
}

/// What a build could do if it wanted: read the home, leave something in a directory of everybody's, reach the network.
fn gets_at_nothing_else(user: &User) -> Verdict {
    let mark = format!("left-by-{}", user.dir().file_name().unwrap_or_default().to_string_lossy());
    let canaries = CANARIES.map(|(name, _)| format!("\"$HOME/{name}\"")).join(" ");
    let script = format!(
        "cat {canaries}; ls -A \"$HOME\"; touch /tmp/{mark} /var/tmp/{mark} \"$HOME/{mark}\" && echo touched; \
         tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"
    );
    let tried = output(user.sbx().args(["--profile", "build", "sh", "-c", &script]))?;
    tried.exits(0)?.stdout_is("project\ntouched\nlo\n")?;
    for place in [Path::new("/tmp"), Path::new("/var/tmp"), &user.home()] {
        tried.check(!place.join(&mark).exists(), || format!("left {mark} in {}", place.display()))?;
    }
    Ok(())
}
