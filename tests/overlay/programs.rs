//! Real programs over a real directory: what they see in the end is what they make without a sandbox.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, hello_source, output, output_within};
use crate::stage::{again, given, names, same};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::fs;
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

/// Runs a script over a directory: the tree stays as it was, what the program saw in the end is what comes of it without a
/// sandbox, `sbx diff` is the difference, and `sbx apply` makes the tree what the program saw. Paths may differ whose content
/// names a time or a place.
fn as_outside(user: &User, tree: &Path, script: &str, may_differ: &[&str]) -> Verdict {
    let before = Snapshot::with_times(tree)?;
    let spare = user.copy(tree, "spare")?;
    let mut sbx = user.sbx();
    given(&mut sbx, tree).args(["-q", "--profile", "build", "sh", "-c", script]);
    output_within(LIMIT, &mut sbx)?.exits(0)?;
    before.same_as(&Snapshot::with_times(tree)?)?;
    let inside = Snapshot::of(seen(user, tree)?)?;
    let layer = format!("{}-1", tree.file_name().unwrap_or_default().to_string_lossy());
    let told = output(user.sbx().args(["diff", &layer]))?;
    told.exits(0)?;
    told.check(told.text().contains("A  "), || "something new".to_owned())?;
    same(letters(&told.text()), differences(&Snapshot::of(tree)?.difference(&inside)), "sbx diff says")?;
    output(user.sbx().args(["apply", &layer]))?.exits(0)?;
    inside.same_as(&Snapshot::of(tree)?)?;
    same(names(user)?, Vec::new(), "applied, the layers")?;
    fs::remove_dir_all(tree)?;
    user.copy(spare, tree)?;
    output_within(LIMIT, user.command("sh").current_dir(tree).args(["-c", script]))?.exits(0)?;
    let difference = Snapshot::of(tree)?.difference(&inside);
    let may = |line: &&str| may_differ.iter().any(|name| line.starts_with(&format!("~ {name}: ")));
    let wrong: Vec<_> = difference.lines().filter(|line| !may(line)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("made otherwise:\n{}", wrong.join("\n")).into()) }
}

/// The letter and the path of each line that `sbx diff` prints; names here have no blanks.
fn letters(text: &str) -> BTreeSet<(char, String)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let letter = words.next()?.chars().next()?;
        Some((letter, words.next()?.trim_end_matches('/').to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// The same of a difference between two trees: what is in a directory that is gone is not named.
fn differences(text: &str) -> BTreeSet<(char, String)> {
    let all: BTreeSet<(char, String)> = text
        .lines()
        .filter_map(|line| {
            let (sign, rest) = line.split_once(' ')?;
            let path = rest.split([' ', ':']).next()?.to_owned();
            Some((
                if sign == "+" {
                    'A'
                } else if sign == "-" {
                    'D'
                } else {
                    'M'
                },
                path,
            ))
        })
        .collect();
    let is_below = |(letter, path): &&(char, String)| {
        *letter == 'D'
            && Path::new(path)
                .ancestors()
                .skip(1)
                .any(|above| all.contains(&('D', above.display().to_string())))
    };
    all.iter().filter(|entry| !is_below(entry)).cloned().collect()
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
    as_outside(user, &site, install, &["fixture-1.0.0.tgz"])
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
