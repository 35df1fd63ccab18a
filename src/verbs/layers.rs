//! The verbs about layers that are kept.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

use super::{Done, Failed};
use crate::cli::ListFormat;
use crate::diag::{aligned, escape};
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
    host.layers().unwrap_or_default()
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
    let head = ["NAME", "KIND", "SIZE", "AGE", "STATE", "DIRECTORY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(layers.iter().map(|layer| {
        let more = if layer.more { "+" } else { "" };
        vec![
            escape(&layer.name),
            layer.kind.word().to_owned(),
            format!("{}{more}", in_units(layer.bytes)),
            age(layer.age_seconds),
            state(layer).to_owned(),
            layer.directory.as_ref().map_or_else(|| "-".to_owned(), escape),
        ]
    }));
    aligned(&rows)
}
