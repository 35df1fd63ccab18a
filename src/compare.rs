//! Carries out the verbs about what sandboxes have changed.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::changes::{self, ChangesError, Ids, Layer, Look};
use crate::cli::{ChangesVerb, Selection, Shape};
use crate::diag::quote;
use crate::host::{Host, WorkingDirectory};
use crate::layers::{Kind, Record, Under};

/// What came of a verb.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// For stdout.
    pub(crate) text: Vec<u8>,
    /// What to know besides.
    pub(crate) warnings: Vec<String>,
    /// Why not all is done.
    pub(crate) error: Option<ChangesError>,
}

/// Carries a verb out. `print` is for what may be more than memory holds; it says whether somebody still reads.
pub(crate) fn carry_out(
    verb: &ChangesVerb,
    host: &Host,
    (ids, merge): (Ids, Option<Merge<'_>>),
    look: Look,
    print: &dyn Fn(&[u8]) -> bool,
) -> Answer {
    let mut answer = Answer::default();
    let done = layer(verb, host, ids).and_then(|layer| match verb {
        ChangesVerb::Diff { selection, shape } => {
            let layer = over_what_is_below(&mut answer, layer, merge)?;
            diff(&mut answer, selection, &layer, *shape, look, print)
        }
        ChangesVerb::Apply { selection, dry_run } => apply(&mut answer, selection, &layer, *dry_run, look),
    });
    answer.error = done.err();
    answer
}

/// How several directories are laid over each other, topmost first, at a place that may be covered.
pub(crate) type Merge<'m> = &'m dyn Fn(&[PathBuf], &Path) -> nix::Result<OwnedFd>;

/// Whether a verb takes that.
pub(crate) fn merges(verb: &ChangesVerb, layer: &Path) -> bool {
    let is_named = !Record::read(layer).is_ok_and(|record| record.kind == Kind::Overlay);
    let is_diff = matches!(verb, ChangesVerb::Diff { .. });
    is_diff && is_named && Under::read(layer).is_ok_and(|under| under.len() > 1)
}

/// A layer with a name is compared with what it lay over the last time.
fn over_what_is_below(
    answer: &mut Answer,
    layer: Layer,
    merge: Option<Merge<'_>>,
) -> Result<Layer, ChangesError> {
    let under = layer.under()?;
    let lower = match &under[..] {
        [] if layer.is_compared() => return Ok(layer),
        [] => {
            answer.warnings.push(format!(
                "what the layer {} lies over is not known, so all in it is shown as new and nothing as deleted: \
                 the next run on it writes that down",
                quote(&layer.name)
            ));
            return Ok(layer);
        }
        [one] => layer.open(one)?,
        several => {
            let merged = merge.map_or(Err(Errno::EPERM), |merge| merge(several, &layer.path));
            merged.map_err(|errno| ChangesError::Merge { name: layer.name.clone(), errno })?
        }
    };
    Ok(layer.over(lower))
}

/// Where the layer is that a verb is about, if there is one.
pub(crate) fn place(verb: &ChangesVerb, host: &Host) -> Option<PathBuf> {
    let place = changes::place(host).ok()?;
    name(verb, host, &place).ok().map(|name| place.join(name))
}

fn name(verb: &ChangesVerb, host: &Host, place: &Path) -> Result<OsString, ChangesError> {
    let (ChangesVerb::Diff { selection, .. } | ChangesVerb::Apply { selection, .. }) = verb;
    let cwd = match &host.cwd {
        WorkingDirectory::Known(path) => Some(path.as_path()),
        _ => None,
    };
    match &selection.name {
        Some(name) => Ok(name.clone()),
        None => changes::newest(place, cwd),
    }
}

fn layer(verb: &ChangesVerb, host: &Host, ids: Ids) -> Result<Layer, ChangesError> {
    let place = changes::place(host)?;
    changes::find(&place, &name(verb, host, &place)?, ids)
}

fn diff(
    answer: &mut Answer,
    selection: &Selection,
    layer: &Layer,
    shape: Shape,
    look: Look,
    print: &dyn Fn(&[u8]) -> bool,
) -> Result<(), ChangesError> {
    let in_use = layer.is_in_use();
    let mut warn = |what: &str| answer.warnings.push(format!("the layer {} {what}", quote(&layer.name)));
    if in_use {
        warn("is in use: it may change while it is looked at");
    } else if layer.is_half_applied() {
        warn("is half applied: the next `sbx apply` finishes that first");
    }
    let changes = changes::select(layer.changes()?, layer, &selection.paths)?;
    answer.text = match shape {
        Shape::Patch => {
            changes::patch(layer, &changes, look, print)?;
            Vec::new()
        }
        Shape::Json => changes::json(layer, in_use, &changes).into_bytes(),
        Shape::Text => changes::text(&changes, look.color).into_bytes(),
    };
    Ok(())
}

fn apply(
    answer: &mut Answer,
    selection: &Selection,
    layer: &Layer,
    dry_run: bool,
    look: Look,
) -> Result<(), ChangesError> {
    let applied = changes::apply(layer, &selection.paths, dry_run)?;
    let mut warn = |what: String| answer.warnings.push(what);
    if applied.finished {
        warn(format!("what was begun of the layer {} is finished", quote(&layer.name)));
    }
    for (path, why) in &applied.left_out {
        warn(format!("cannot apply {}: {why}", quote(path)));
    }
    answer.text = changes::text(&applied.changes, look.color).into_bytes();
    applied.left.map_or(Ok(()), Err)
}
