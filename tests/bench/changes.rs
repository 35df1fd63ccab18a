//! What it costs to show what was changed in a layer, against comparing the two trees.

use crate::contender::Contender;
use crate::sections::line;
use crate::table::{Bound, head, row};
use crate::timing::interleaved;
use crate::workplace::Workplace;
use crate::{Effort, Problem};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sbx::layers::{Kind, Record};

/// Files in one directory.
const IN_ONE: usize = 1000;

/// `sbx diff` of layers in which every file of a directory was changed: each is read on both sides.
pub(crate) fn shown(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    head(
        "Showing what was changed in a layer, against `diff -rq`",
        &["", "median ms", "quartiles", "× diff", "bound", ""],
    );
    let counts: &[usize] = if effort.quick { &[100, 1000] } else { &[10_000, 100_000] };
    let rounds = if effort.quick { 2 } else { effort.rounds.div_ceil(40) };
    let mut medians = Vec::new();
    for &count in counts {
        let (lower, upper) =
            make(place, count).map_err(|error| format!("cannot make {count} files: {error}"))?;
        let compare = format!("diff -rq {} {} >/dev/null; test $? = 1", lower.display(), upper.display());
        let peer = Contender::new("diff -rq", Path::new("/usr/bin/sh")).with(["-c", &compare]);
        let sbx = Contender::new("sbx diff", &place.sbx()).with(["diff", &name(count)]);
        let spreads = interleaved(place, &[&peer, &sbx], rounds)?;
        let base = Some(spreads[0].median);
        line(&format!("{count} files, diff -rq"), spreads[0], base, None);
        line(&format!("{count} files, sbx diff"), spreads[1], base, Some(Bound(1.5)));
        medians.push(spreads[1].median);
    }
    if let ([ten, hundred], false) = (&medians[..], effort.quick) {
        for (what, value, bound, unit) in
            [("from 10000 to 100000", hundred / ten, 11.0, " ×"), ("100000 files", *hundred, 2000.0, " ms")]
        {
            let [limit, held] = Bound::judge(Some(Bound(bound)), Some(value), unit);
            row(&[
                format!("sbx diff, {what}"),
                format!("{value:.2}{unit}"),
                String::new(),
                String::new(),
                limit,
                held,
            ]);
        }
    }
    Ok(())
}

fn name(count: usize) -> String {
    format!("changed-{count}")
}

/// A directory with so many files, and a layer that has changed them all.
fn make(place: &Workplace, count: usize) -> std::io::Result<(PathBuf, PathBuf)> {
    let layer = place.home().join(".local/state/sbx/layers").join(name(count));
    let (lower, upper) = (place.home().join(name(count)), layer.join("upper"));
    fs::create_dir_all(layer.join("work"))?;
    for (tree, word) in [(&lower, "old"), (&upper, "new")] {
        for file in 0..count {
            let directory = tree.join((file / IN_ONE).to_string());
            if file % IN_ONE == 0 {
                fs::create_dir_all(&directory)?;
            }
            fs::write(directory.join(file.to_string()), format!("{word} contents of file {file}\n"))?;
        }
    }
    let found = fs::metadata(&lower)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let record = Record {
        kind: Kind::Overlay,
        directory: lower.clone(),
        device: found.dev(),
        inode: found.ino(),
        created: i128::try_from(created).unwrap_or_default(),
        profile: "default".to_owned(),
        command: vec!["sh".into()],
    };
    record.write(&layer)?;
    Ok((lower, upper))
}
