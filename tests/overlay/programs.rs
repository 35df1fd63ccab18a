//! Real programs over a real directory: what they see in the end is what they make without a sandbox.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, hello_source, output, output_within};
use crate::stage::{again, given, over};
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A build takes some seconds on two cores; an emulated processor takes its time.
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(npm_installs).needs(Need::Program("npm")),
        case!(cargo_builds).needs(Need::Program("rustc")).needs(Need::Program("cargo")),
        case!(hello_builds)
            .needs(Need::HelloSource)
            .needs(Need::Program("gcc"))
            .needs(Need::Program("make"))
            .only_as_user(),
    ]
}

/// Runs a script over a directory, and in place of it: the tree stays as it was, and what the program saw in the end is what
/// comes of it without a sandbox. Paths may differ whose content names a time or a place.
fn as_outside(user: &User, tree: &Path, script: &str, may_differ: &[&str]) -> Verdict {
    let before = Snapshot::with_times(tree)?;
    let mut sbx = user.sbx();
    given(&mut sbx, tree).args(["-q", "--profile", "build", "sh", "-c", script]);
    output_within(LIMIT, &mut sbx)?.exits(0)?;
    before.same_as(&Snapshot::with_times(tree)?)?;
    let inside = seen(user, tree)?;
    output_within(LIMIT, user.command("sh").current_dir(tree).args(["-c", script]))?.exits(0)?;
    let difference = Snapshot::of(tree)?.difference(&Snapshot::of(&inside)?);
    let may = |line: &&str| may_differ.iter().any(|name| line.starts_with(&format!("~ {name}: ")));
    let wrong: Vec<_> = difference.lines().filter(|line| !may(line)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("made otherwise:\n{}", wrong.join("\n")).into()) }
}

/// What the program saw, copied by a further run on its layer.
fn seen(user: &User, tree: &Path) -> Result<PathBuf, Failed> {
    let out = user.mkdir("seen")?;
    let layer = format!("{}-1", tree.file_name().unwrap_or_default().to_string_lossy());
    let mut sbx = user.sbx();
    sbx.args(["-q", "--cwd", "none", "--set", &again(tree, &layer), "--rw"]);
    sbx.arg(format!("{}:/srv/out", out.display())).args(["cp", "-rT", "--preserve=mode,timestamps,links"]);
    output(sbx.arg(tree).arg("/srv/out"))?.exits(0)?;
    Ok(out)
}

fn npm_installs(user: &User) -> Verdict {
    let package = |name: &str, rest: &str| format!("{{\"name\":\"{name}\",\"version\":\"1.0.0\"{rest}}}\n");
    user.put("site/dependency/package.json", package("fixture", ""))?;
    user.put("site/dependency/index.js", "module.exports = 'fixture works'\n")?;
    user.put("site/node_modules/old/package.json", package("old", ""))?;
    // npm puts the version that it replaces aside by a rename, which fails for a directory of the lower dir.
    user.put("site/node_modules/fixture/package.json", "{\"name\":\"fixture\",\"version\":\"0.9.0\"}\n")?;
    user.put("site/node_modules/fixture/old.js", "module.exports = 'old'\n")?;
    let wish = ",\"dependencies\":{\"fixture\":\"file:fixture-1.0.0.tgz\"}";
    let site = user.put("site/package.json", package("site", wish))?;
    let site = site.parent().unwrap_or(&site).to_owned();
    let install = "(cd dependency && npm pack --silent --pack-destination ..) && \
                   npm install --silent --offline --no-audit --no-fund --no-update-notifier && \
                   mv node_modules/fixture node_modules/moved && node -e 'console.log(require(\"moved\"))'";
    as_outside(user, &site, install, &["fixture-1.0.0.tgz"])?;
    over(user, &site, &["-q"], "ls node_modules")?.stdout_is("moved\n")?;
    Ok(())
}

fn cargo_builds(user: &User) -> Verdict {
    let manifest =
        "[package]\nname = \"made\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[profile.dev]\ndebug = false\n";
    let made = user.put("made/Cargo.toml", manifest)?;
    user.put("made/src/main.rs", "fn main() { println!(\"made\") }\n")?;
    let made = made.parent().unwrap_or(&made).to_owned();
    let build = "cargo build --quiet --offline && ./target/debug/made && rm -r target/debug/incremental target/debug/.fingerprint target/debug/deps/*.d";
    as_outside(user, &made, build, &["target/.rustc_info.json"])
}

fn hello_builds(user: &User) -> Verdict {
    let tree = user.copy(hello_source().ok_or("no sources of hello")?, "hello")?;
    as_outside(user, &tree, "./configure --quiet && make --silent && ./hello", &["config.log"])
}
