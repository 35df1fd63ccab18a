//! What a root of layers costs a start: ten of them against bubblewrap's overlay, and one with many files against one with few.

use crate::contender;
use crate::sections::{COLUMNS, line};
use crate::table::{Bound, head, row};
use crate::timing::interleaved;
use crate::workplace::Workplace;
use crate::{Effort, Problem};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of each layer of the stack.
const FILES: usize = 100;

pub(crate) fn starts(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    let layers = (0..10)
        .map(|number| layer(place, &format!("layer-{number}"), FILES))
        .collect::<Result<Vec<_>, _>>()?;
    head("Start on a root of ten layers", &COLUMNS);
    let (bwrap, sbx) = contender::layered(place, &layers)?;
    if bwrap.has_option(place, "--overlay-src") {
        let spreads = interleaved(place, &[&bwrap, &sbx], effort.rounds)?;
        let base = spreads[0].median;
        line(&bwrap.name, spreads[0], Some(base), None);
        line(&sbx.name, spreads[1], Some(base), None);
    } else {
        let spreads = interleaved(place, &[&sbx], effort.rounds)?;
        row(&["bwrap", "has no overlays before version 0.11", "", "", "", ""]);
        line(&sbx.name, spreads[0], None, None);
    }
    sizes(place, effort)
}

/// Nothing of a layer is looked at before the program does.
fn sizes(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    let many = if effort.quick { 1000 } else { 100_000 };
    head(
        "Start on a layer of many files",
        &COLUMNS.map(|column| if column == "× bwrap" { "× few" } else { column }),
    );
    let (few, many) = (layer(place, "few", 10)?, layer(place, "many", many)?);
    let of =
        |layer: PathBuf, name: &str| Ok::<_, Problem>(contender::layered(place, &[layer])?.1.named(name));
    let contenders = [of(few, "10 files")?, of(many, "100,000 files")?];
    let spreads = interleaved(place, &[&contenders[0], &contenders[1]], effort.rounds)?;
    let base = spreads[0].median;
    line(&contenders[0].name, spreads[0], Some(base), None);
    line(&contenders[1].name, spreads[1], Some(base), Some(Bound(1.1)));
    Ok(())
}

/// A directory with what every root needs and so many files of its own.
fn layer(place: &Workplace, name: &str, files: usize) -> Result<PathBuf, Problem> {
    let layer = place.home().join("layers").join(name);
    let make = || -> std::io::Result<()> {
        for dir in ["usr", "proc", "dev", "tmp", "home", "run", "etc", "sys"] {
            fs::create_dir_all(layer.join(dir))?;
        }
        for dir in ["bin", "lib", "lib64", "sbin"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(dir)) {
                std::os::unix::fs::symlink(target, layer.join(dir))?;
            }
        }
        for number in 0..files {
            let dir = layer.join("data").join((number / 500).to_string());
            if number % 500 == 0 {
                fs::create_dir_all(&dir)?;
            }
            fs::write(dir.join(format!("{name}-{number}")), [])?;
        }
        Ok(())
    };
    make().map_err(|error| format!("cannot make {}: {error}", layer.display()))?;
    Ok(layer)
}
