//! Carries out the verbs about what sandboxes have changed.
#![forbid(unsafe_code)]

use crate::changes::{self, ChangesError, Layer, Look};
use crate::cli::{ChangesVerb, Selection, Shape};
use crate::diag::quote;
use crate::host::{Host, WorkingDirectory};

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
    look: Look,
    print: &dyn Fn(&[u8]) -> bool,
) -> Answer {
    let mut answer = Answer::default();
    let done = match verb {
        ChangesVerb::Diff { selection, shape } => diff(&mut answer, selection, host, *shape, look, print),
        ChangesVerb::Apply { selection, dry_run } => apply(&mut answer, selection, host, *dry_run, look),
    };
    answer.error = done.err();
    answer
}

fn layer(selection: &Selection, host: &Host) -> Result<Layer, ChangesError> {
    let place = changes::place(host)?;
    let cwd = match &host.cwd {
        WorkingDirectory::Known(path) => Some(path.as_path()),
        _ => None,
    };
    match &selection.name {
        Some(name) => changes::find(&place, name),
        None => changes::newest(&place, cwd),
    }
}

fn diff(
    answer: &mut Answer,
    selection: &Selection,
    host: &Host,
    shape: Shape,
    look: Look,
    print: &dyn Fn(&[u8]) -> bool,
) -> Result<(), ChangesError> {
    let layer = layer(selection, host)?;
    let in_use = layer.is_in_use();
    let mut warn = |what: &str| answer.warnings.push(format!("the layer {} {what}", quote(&layer.name)));
    if in_use {
        warn("is in use: it may change while it is looked at");
    } else if layer.is_half_applied() {
        warn("is half applied: the next `sbx apply` finishes that first");
    }
    let changes = changes::select(layer.changes()?, &layer, &selection.paths)?;
    answer.text = match shape {
        Shape::Patch => {
            changes::patch(&layer, &changes, look, print)?;
            Vec::new()
        }
        Shape::Json => changes::json(&layer, in_use, &changes).into_bytes(),
        Shape::Text => changes::text(&changes, look.color).into_bytes(),
    };
    Ok(())
}

fn apply(
    answer: &mut Answer,
    selection: &Selection,
    host: &Host,
    dry_run: bool,
    look: Look,
) -> Result<(), ChangesError> {
    let layer = layer(selection, host)?;
    let applied = changes::apply(&layer, &selection.paths, dry_run)?;
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
