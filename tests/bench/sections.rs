//! The parts of the report.

use crate::contender::{self, Contender};
use crate::memory::Resident;
use crate::table::{Bound, head, row};
use crate::timing::{Spread, interleaved};
use crate::workplace::Workplace;
use crate::{Effort, Problem, calls, changes, images, layered, limited, walls};

pub(crate) const COLUMNS: [&str; 6] = ["", "median ms", "quartiles", "× bwrap", "bound", ""];

/// Everything that is a matter of time.
pub(crate) fn timed(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    match std::env::var("ONLY").as_deref() {
        Ok("limits") => return limited::starts(place, effort),
        Ok("layers") => return layered::starts(place, effort),
        Ok("changes") => return changes::shown(place, effort),
        Ok("images") => return images::imports(place, effort),
        Ok(other) => return Err(format!("ONLY is {other}, not limits, layers, changes or images")),
        Err(_) => {}
    }
    let floor = contender::floor(place);
    let (bwrap, sbx) = (contender::bwrap_same(place), contender::sbx_same(place)?);
    starts(place, effort, "Start, the same isolation", floor.as_ref(), &bwrap, &sbx, Bound(0.65))?;
    let (bwrap, sbx) = (contender::bwrap_bare(place), contender::sbx_build(place));
    starts(place, effort, "Start, the build profile", None, &bwrap, &sbx, Bound(0.8))?;
    binds(place, effort)?;
    walls::each(place, effort)?;
    limited::starts(place, effort)?;
    layered::starts(place, effort)?;
    changes::shown(place, effort)?;
    images::imports(place, effort)?;
    calls::inside_and_outside(place, effort)
}

fn starts(
    place: &Workplace,
    effort: Effort,
    title: &str,
    floor: Option<&Contender>,
    bwrap: &Contender,
    sbx: &Contender,
    bound: Bound,
) -> Result<(), Problem> {
    head(&format!("{title}, {} runs", effort.rounds), &COLUMNS);
    let contenders: Vec<_> = floor.into_iter().chain([bwrap, sbx]).collect();
    let spreads = interleaved(place, &contenders, effort.rounds)?;
    let base = spreads[contenders.len() - 2].median;
    for (contender, spread) in contenders.iter().zip(&spreads) {
        line(&contender.name, *spread, Some(base), (contender.name == sbx.name).then_some(bound));
    }
    Ok(())
}

pub(crate) fn line(name: &str, spread: Spread, base: Option<f64>, bound: Option<Bound>) {
    let ratio = base.map(|base| spread.median / base);
    let [limit, held] = Bound::judge(bound, ratio, " ×");
    row(&[
        name.to_owned(),
        format!("{:.2}", spread.median),
        format!("{:.2} – {:.2}", spread.low, spread.high),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        limit,
        held,
    ]);
}

fn binds(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    head("Read-only binds", &COLUMNS);
    let counts: &[(usize, usize)] =
        if effort.quick { &[(10, 1), (100, 1)] } else { &[(10, 2), (100, 4), (1000, 8), (5000, 20)] };
    let mut medians = Vec::new();
    for &(count, share) in counts {
        let rounds = effort.rounds.div_ceil(share);
        let (bwrap, sbx) = contender::binds(place, count)?;
        let contenders: Vec<_> = bwrap.iter().chain([&sbx]).collect();
        let spreads = interleaved(place, &contenders, rounds)?;
        let base = bwrap.is_some().then(|| spreads[0].median);
        if bwrap.is_none() {
            row(&[&format!("{count} binds, bwrap"), "more than its 9,000 arguments", "", "", "", ""]);
        }
        for (contender, spread) in contenders.iter().zip(&spreads) {
            let bound = (count == 1000 && contender.name == sbx.name).then_some(Bound(0.5));
            line(&format!("{count} binds, {}", contender.name), *spread, base, bound);
        }
        medians.extend(spreads.last().map(|spread| (count, spread.median)));
    }
    if let [.., (1000, thousand), (5000, five)] = medians[..] {
        // Five times as many; a tenth for what no longer fits into the processor's caches.
        let growth = five / thousand;
        let [limit, held] = Bound::judge(Some(Bound(5.5)), Some(growth), " ×");
        row(&[
            "sbx, from 1000 to 5000".to_owned(),
            format!("{growth:.2} ×"),
            String::new(),
            String::new(),
            limit,
            held,
        ]);
    }
    Ok(())
}

/// What stays resident while a sandbox sleeps.
pub(crate) fn memory(place: &Workplace) -> Result<(), Problem> {
    if std::env::var_os("ONLY").is_some() {
        return Ok(());
    }
    head(
        "Memory of one running sandbox, its payload left out",
        &["", "processes", "Rss KiB", "Pss KiB", "× bwrap", "bound", ""],
    );
    let bwrap = Resident::of(place, &contender::bwrap_same(place))?;
    let sbx = Resident::of(place, &contender::sbx_same(place)?)?;
    for (name, resident) in [("bwrap", &bwrap), ("sbx", &sbx)] {
        let ratio = resident.rss as f64 / bwrap.rss as f64;
        let [limit, held] = Bound::judge((name == "sbx").then_some(Bound(1.0)), Some(ratio), " ×");
        row(&[
            name.to_owned(),
            resident.processes.to_string(),
            resident.rss.to_string(),
            resident.pss.map_or_else(|| "needs root".to_owned(), |pss| pss.to_string()),
            format!("{ratio:.2}"),
            limit,
            held,
        ]);
    }
    Ok(())
}
