//! Random operations on a directory through an overlay: what `sbx diff` says is how the trees differ, and what `sbx apply` makes
//! is what the program saw.

use crate::common::{Case, User, Verdict};
use crate::stage::{Ground, OVERLAY, clear, equal, tree, untimed};
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(crate) fn cases() -> Vec<Case> {
    // In two parts, a processor for each.
    let part =
        |part| Case::new(&format!("many_seeds_{part}"), move |user| many_seeds(user, part)).needs(OVERLAY);
    vec![part(0), part(1)]
}

const SEEDS: u64 = 200;
/// As root, who needs other capabilities and nothing else, these are enough.
const SEEDS_OF_ROOT: u64 = 50;
/// Operations of a seed, at most.
const OPERATIONS: u64 = 24;

/// xorshift: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// A path of one to three names of a few.
    fn path(&mut self) -> String {
        let names = ["a", "b", "c", "d e", ".wh.x"];
        let path: Vec<&str> = (0..=self.below(3)).map(|_| names[self.below(5) as usize]).collect();
        path.join("/")
    }

    /// One of the things that programs do to files. Many fail, which is no matter.
    fn operation(&mut self) -> String {
        let (p, q) = (self.path(), self.path());
        let mode = ["700", "755", "711", "750"][self.below(4) as usize];
        let file_mode = ["600", "644", "755", "444"][self.below(4) as usize];
        match self.below(13) {
            0 | 1 => format!("mkdir -p '{p}'"),
            2 | 3 => format!("echo {} >'{p}'", self.below(5)),
            4 => format!("echo {} >>'{p}'", self.below(5)),
            5 => format!("rm -rf '{p}'"),
            6 => format!("rm '{p}'"),
            7 => format!("mv -T '{p}' '{q}'"),
            8 => format!("ln -s '{q}' '{p}'"),
            9 => format!("[ -d '{p}' ] && [ ! -L '{p}' ] && chmod {mode} '{p}'"),
            10 => format!("[ -f '{p}' ] && [ ! -L '{p}' ] && chmod {file_mode} '{p}'"),
            11 => format!("cp -a '{p}' '{q}'"),
            _ => format!("rm -rf '{p}'; mkdir '{p}' && echo {} >'{p}/b'", self.below(5)),
        }
    }

    fn script(&mut self, least: u64) -> String {
        let count = least + self.below(OPERATIONS);
        let script: Vec<String> =
            (0..count).map(|_| format!("{{ {}; }} 2>/dev/null", self.operation())).collect();
        script.join("\n") + "\n:"
    }
}

/// Paths that differ, with letters, as a plain comparison of two trees finds them.
fn difference(old: &BTreeMap<PathBuf, String>, new: &BTreeMap<PathBuf, String>) -> BTreeSet<(char, PathBuf)> {
    // Times and links between files are not what `sbx diff` is about.
    let plain = |text: &str| {
        let (mode, rest) = text.split_once(' ').unwrap_or_default();
        let content = rest.split_once(" (").map_or(rest, |(content, _)| content);
        (mode.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned(), content.to_owned())
    };
    let mut found = BTreeSet::new();
    for path in old.keys().chain(new.keys()) {
        let sides = (old.get(path).map(|text| plain(text)), new.get(path).map(|text| plain(text)));
        // What goes with its directory is not told of.
        let goes = path.ancestors().skip(1).any(|above| {
            let is_dir = |tree: &BTreeMap<PathBuf, String>| {
                tree.get(above).is_some_and(|text| plain(text).1 == "directory")
            };
            above != Path::new("") && is_dir(old) && !is_dir(new)
        });
        match sides {
            (None, Some(_)) => found.insert(('A', path.clone())),
            (Some(_), None) if !goes => found.insert(('D', path.clone())),
            (Some(old), Some(new)) if old.1 != new.1 => found.insert(('T', path.clone())),
            (Some(old), Some(new)) if old != new => found.insert(('M', path.clone())),
            _ => false,
        };
    }
    found
}

fn said(ground: &Ground<'_>) -> Result<BTreeSet<(char, PathBuf)>, Failed> {
    let page: serde_json::Value = serde_json::from_str(&ground.sbx(&["diff", "--json"])?.exits(0)?.text())?;
    let changes = page["changes"].as_array().cloned().unwrap_or_default();
    let one = |change: &serde_json::Value| {
        let letter = match change["status"].as_str()? {
            "added" => 'A',
            "deleted" => 'D',
            "modified" => 'M',
            _ => 'T',
        };
        Some((letter, PathBuf::from(change["path"].as_str()?)))
    };
    changes.iter().map(one).collect::<Option<_>>().ok_or_else(|| format!("{page}").into())
}

fn many_seeds(user: &User, part: usize) -> Verdict {
    let (mut changed, mut tried) = (0, 0);
    let seeds = if user.is_root() { SEEDS_OF_ROOT } else { SEEDS };
    for seed in (1..=seeds).skip(part).step_by(2) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (fill, script) = (random.script(12), random.script(4));
        let tell = |failed: Failed| {
            format!("seed {seed}:\n{fill}\nthen\n{script}\n{}", failed.message().unwrap_or_default())
        };
        changed += one(user, &fill, &script).map_err(tell)?;
        tried += 1;
    }
    if changed > 3 * tried { Ok(()) } else { Err(format!("only {changed} changes").into()) }
}

fn one(user: &User, fill: &str, script: &str) -> Result<usize, Failed> {
    for directory in [user.project(), user.home().join(".local")] {
        if directory.exists() {
            clear(user, &directory)?;
        }
    }
    user.mkdir(user.project())?;
    let ground = Ground::new(user, fill)?;
    let before = tree(&ground.dir)?;
    let merged = ground.change(script)?;
    let after = tree(&merged)?;
    let (wanted, said) = (difference(&before, &after), said(&ground)?);
    if wanted != said {
        return Err(format!("sbx diff says {said:?}, and not {wanted:?}").into());
    }
    ground.sbx(&["apply"])?.exits(0)?;
    // What was only touched keeps its time.
    let is_change = |path: &PathBuf| said.iter().any(|(_, changed)| changed == path);
    let timed = |tree: BTreeMap<PathBuf, String>| -> BTreeMap<PathBuf, String> {
        tree.into_iter()
            .map(|(path, text)| {
                if is_change(&path) {
                    (path, text)
                } else {
                    let text = untimed(&text);
                    (path, text)
                }
            })
            .collect()
    };
    equal(&timed(tree(&ground.dir)?), &timed(after))?;
    if !ground.left_over().is_empty() {
        return Err(format!("{:?} is left over", ground.left_over()).into());
    }
    Ok(said.len())
}
