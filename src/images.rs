//! Carries out the verb about images.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::changes::Ids;
use crate::cli::{Format, ImageVerb, TypedBounds};
use crate::diag::{aligned, escape};
use crate::exec;
use crate::host::Host;
use crate::image::{self, Bounds, ImageError, Layer, LayersOwners, Progress, Record, RunDefaults, Store};
use crate::profile::value::in_units;

/// The version of the JSON form. Additions don't change it.
const VERSION: u32 = 1;

/// Carries it out: what there is to print. `tell` is for how far it is, on a terminal.
pub(crate) fn carry_out(
    verb: &ImageVerb,
    host: &Host,
    ids: Ids,
    tell: impl Fn(&str),
) -> Result<String, ImageError> {
    let store = Store::of(host.data_home.as_deref())?;
    let shown = &mut |progress: Progress| tell(&line(progress));
    let imported = |result: Result<Record, ImageError>| {
        // What was shown is gone when the answer comes.
        tell("\r\x1b[K");
        result.map(|record| format!("{}\n", escape(record.name)))
    };
    let owned = |record| own(&store, record);
    match verb {
        ImageVerb::Import { path, name, bounds } => {
            imported(image::import(&store, path, name.as_deref(), of(*bounds), shown).and_then(owned))
        }
        ImageVerb::Pull { reference, name, bounds } => {
            let environment = &host.environment;
            let pulled = image::pull(&store, reference, name.as_deref(), of(*bounds), environment, shown);
            imported(pulled.and_then(owned))
        }
        ImageVerb::Export { name, path, layer } => {
            export(&store, host, ids, (name, path, layer.as_ref())).map(|()| String::new())
        }
        ImageVerb::List { format } => {
            let records = store.list()?;
            Ok(match format {
                Format::Text => list(&records),
                Format::Json => {
                    json(&Page { version: VERSION, images: records.iter().map(Listed::of).collect() })
                }
            })
        }
        ImageVerb::Show { name, format } => {
            let record = store.find(name)?;
            Ok(match format {
                Format::Text => show(&record),
                Format::Json => json(&Shown {
                    version: VERSION,
                    image: Listed::of(&record),
                    layers: &record.layers,
                    config: &record.config,
                }),
            })
        }
        ImageVerb::Remove { names } => {
            // A name that is wrong keeps nothing from being done.
            names.iter().try_for_each(|name| store.find(name).map(drop))?;
            names.iter().try_for_each(|name| store.remove(name))?;
            Ok(String::new())
        }
        ImageVerb::Collect => {
            let (removed, used) = store.collect(&exec::remove_with_owners)?;
            let used = if used > 0 { format!(", {used} still in use") } else { String::new() };
            Ok(format!("{removed} layers removed{used}\n"))
        }
    }
}

fn export(
    store: &Store,
    host: &Host,
    ids: Ids,
    (name, path, layer): (&str, &Path, Option<&String>),
) -> Result<(), ImageError> {
    let layers = host.layers();
    let layer = layer.map(|name| image::kept_layer(layers.as_deref(), name)).transpose()?;
    let owners = match ids {
        Ids::Hosts => LayersOwners::Images,
        Ids::Callers => LayersOwners::Files,
    };
    image::export(store, name, path, layer.as_deref().map(|layer| (layer, owners)))
}

/// Where the kept layer is that a verb is about, if it is about one.
pub(crate) fn kept_layer(verb: &ImageVerb, host: &Host) -> Option<PathBuf> {
    let ImageVerb::Export { layer: Some(name), .. } = verb else { return None };
    image::kept_layer(host.layers().as_deref(), name).ok()
}

/// Gives the files of an image their owners, too, as far as they are among the caller's subordinate ids. One that has others runs
/// without such ids alone, and says so when it is run with them.
fn own(store: &Store, record: Record) -> Result<Record, ImageError> {
    if let (true, Some(identity)) = (store.is_unowned(&record)?, exec::callers()) {
        let _ = exec::within(&identity, exec::Power::Whole, || u8::from(store.own(&record).is_err()));
    }
    Ok(record)
}

fn of(typed: TypedBounds) -> Bounds {
    let usual = Bounds::default();
    Bounds { size: typed.size.unwrap_or(usual.size), entries: typed.entries.unwrap_or(usual.entries) }
}

/// How far an import is, over what was said before.
fn line(progress: Progress) -> String {
    let Progress { layer, layers, read, size } = progress;
    let percent = read.saturating_mul(100).checked_div(size).unwrap_or(100);
    format!("\r\x1b[Ksbx: layer {layer} of {layers}: {percent} % of {}", in_units(size))
}

fn json(page: &impl Serialize) -> String {
    serde_json::to_string_pretty(page).unwrap_or_default() + "\n"
}

#[derive(Serialize)]
struct Page<'a> {
    version: u32,
    images: Vec<Listed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed<'a> {
    name: &'a str,
    digest: &'a str,
    imported: u64,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown<'a> {
    version: u32,
    #[serde(flatten)]
    image: Listed<'a>,
    layers: &'a [Layer],
    config: &'a serde_json::Value,
}

impl<'a> Listed<'a> {
    fn of(record: &'a Record) -> Self {
        Self { name: &record.name, digest: &record.digest, imported: record.imported, size: record.size() }
    }
}

fn list(records: &[Record]) -> String {
    let mut rows = vec![["NAME", "LAYERS", "SIZE", "DIGEST"].map(str::to_owned).to_vec()];
    rows.extend(records.iter().map(|record| {
        let digest: String = record.digest.chars().take("sha256:".len() + 12).collect();
        let layers = record.layers.len().to_string();
        vec![escape(&record.name), layers, in_units(record.size()), escape(digest)]
    }));
    aligned(&rows)
}

fn show(record: &Record) -> String {
    let defaults = RunDefaults::of(record);
    let words =
        |words: &[String]| words.iter().map(|word| escape(format!("{word:?}"))).collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    let mut say = |what: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{what:<12}{value}");
        }
    };
    say("name", &escape(&record.name));
    say("digest", &escape(&record.digest));
    say("size", &in_units(record.size()));
    say("entrypoint", &words(&defaults.entrypoint));
    say("command", &words(&defaults.command));
    say("directory", &escape(&defaults.directory));
    say("user", &escape(&defaults.user));
    for variable in &defaults.environment {
        say("variable", &escape(variable));
    }
    for layer in &record.layers {
        let text = format!("{}  {}, {} files", escape(&layer.diff_id), in_units(layer.size), layer.entries);
        say("layer", &text);
    }
    out
}
