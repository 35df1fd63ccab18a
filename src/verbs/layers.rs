//! The verbs about layers that are kept.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::{Done, Failed};
use crate::cli::ListFormat;
use crate::diag::escape;
use crate::exec;
use crate::host::Host;
use crate::layers::{self, LayersError, Listed};
use crate::manage::{ManageError, age};
use crate::profile::value::in_units;

/// The version of the JSON form. Additions don't change it.
const VERSION: u32 = 1;

impl From<LayersError> for Failed {
    fn from(error: LayersError) -> Self {
        Self::Manage(ManageError::Layers(error))
    }
}

/// Where layers are kept.
fn place(host: &Host) -> PathBuf {
    // Without a home no run has kept any.
    host.state_home.as_ref().map_or_else(PathBuf::new, |state| state.join("sbx/layers"))
}

/// Lists what is kept.
pub(super) fn list(host: &Host, format: ListFormat) -> Result<Done, Failed> {
    #[derive(Serialize)]
    struct Page {
        version: u32,
        layers: Vec<Listed>,
    }
    let place = place(host);
    Ok(Done::Printed(match format {
        ListFormat::Names => layers::names(&place)?.into_iter().map(|name| name + "\n").collect(),
        ListFormat::Text => text(&layers::all(&place)?),
        ListFormat::Json => {
            let page = Page { version: VERSION, layers: layers::all(&place)? };
            serde_json::to_string_pretty(&page).unwrap_or_default() + "\n"
        }
    }))
}

/// Removes what is kept. A name that is wrong keeps all of them.
pub(super) fn discard(host: &Host, names: &[String]) -> Result<Done, Failed> {
    let place = place(host);
    if let Some(name) = names.iter().find(|name| !layers::is_layer(&place, name)) {
        return Err(LayersError::NotFound { name: name.clone() }.into());
    }
    for (index, name) in names.iter().enumerate() {
        if !names[..index].contains(name) {
            exec::discard(&place, name)?;
        }
    }
    Ok(Done::Printed(String::new()))
}

fn state(layer: &Listed) -> &'static str {
    match layer {
        Listed { in_use: true, .. } => "in use",
        Listed { half_applied: true, .. } => "half applied",
        _ => "kept",
    }
}

/// A table with a line for each.
fn text(layers: &[Listed]) -> String {
    let mut rows = vec![["NAME", "KIND", "SIZE", "AGE", "STATE", "DIRECTORY"].map(str::to_owned)];
    rows.extend(layers.iter().map(|layer| {
        let more = if layer.more { "+" } else { "" };
        [
            escape(&layer.name),
            layer.kind.word().to_owned(),
            format!("{}{more}", in_units(layer.bytes)),
            age(layer.age_seconds),
            state(layer).to_owned(),
            layer.directory.as_ref().map_or_else(|| "-".to_owned(), escape),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = if column + 1 < row.len() { width(column) + 2 } else { 0 };
            let _ = write!(line, "{cell:<pad$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
