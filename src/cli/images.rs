//! The verb about images.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::{Action, Format, UsageError, parse_as, run};
use crate::diag::quote;
use crate::profile::value::ByteSize;

/// What is done with images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageVerb {
    /// Take one into the store.
    Import {
        /// A layout or an archive.
        path: PathBuf,
        /// What it is called; by default as it is there.
        name: Option<String>,
        /// How much it may be.
        bounds: TypedBounds,
    },
    /// Fetch one with skopeo, and take it into the store.
    Pull {
        /// What skopeo calls it.
        reference: String,
        /// What it is called here.
        name: Option<String>,
        /// How much it may be.
        bounds: TypedBounds,
    },
    /// List those that there are.
    List {
        /// The shape of the list.
        format: Format,
    },
    /// Say what one is.
    Show {
        /// Which.
        name: String,
        /// The shape of the answer.
        format: Format,
    },
    /// Forget some.
    Remove {
        /// Which.
        names: Vec<String>,
    },
    /// Remove layers that no image has.
    Collect,
    /// Write one as a layout.
    Export {
        /// Which.
        name: String,
        /// A directory that is made.
        path: PathBuf,
        /// A kept writable layer that is its topmost one.
        layer: Option<String>,
    },
}

/// How much an image may be, where it was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypedBounds {
    /// Bytes.
    pub size: Option<u64>,
    /// Members.
    pub entries: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Import,
    Pull,
    List,
    Show,
    Rm,
    Gc,
    Export,
}

#[derive(Debug, Parser)]
#[command(
    name = "sbx image",
    about = "Keeps images that sandboxes can have as their root filesystem",
    override_usage = "sbx image import [OPTIONS] PATH [NAME[:TAG]]\n       sbx image pull [OPTIONS] REFERENCE [NAME[:TAG]]\n       \
                      sbx image list [--format FORMAT]\n       sbx image show [--format FORMAT] NAME[:TAG]\n       \
                      sbx image rm NAME[:TAG]...\n       sbx image gc\n       \
                      sbx image export [--layer LAYER] NAME[:TAG] PATH",
    disable_version_flag = true,
    disable_help_flag = true
)]
pub(super) struct ImageCommand {
    /// For people or for programs
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Put this kept writable layer on top
    #[arg(long, value_name = "LAYER")]
    layer: Option<String>,
    /// Bytes that an imported image may have, unpacked (default: 16G)
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse)]
    max_size: Option<ByteSize>,
    /// Files that it may have (default: 500000)
    #[arg(long, value_name = "N")]
    max_entries: Option<u64>,
    #[command(flatten)]
    messages: run::Messages,
    /// What to do
    #[arg(value_name = "WHAT", hide_possible_values = true)]
    what: Option<What>,
    /// With what
    #[arg(value_name = "WORD")]
    words: Vec<OsString>,
}

/// Reads the arguments after `image`.
pub(super) fn parse(rest: &[OsString]) -> Result<Action, UsageError> {
    let parsed = match parse_as::<ImageCommand>(rest)? {
        Ok((parsed, _)) => parsed,
        Err(text) => return Ok(text),
    };
    let output = parsed.messages.output();
    verb(parsed).map(|verb| Action::Image(verb, output))
}

fn verb(parsed: ImageCommand) -> Result<ImageVerb, UsageError> {
    let ImageCommand { format, layer, max_size, max_entries, what, words, .. } = parsed;
    let Some(what) = what else {
        let why = "`sbx image` is followed by import, pull, list, show, rm, gc or export";
        return Err(UsageError::Other(why.to_owned()));
    };
    let (fewest, most, takes): (usize, usize, &[&str]) = match what {
        What::Import | What::Pull => (1, 2, &["max-size", "max-entries"]),
        What::List => (0, 0, &["format"]),
        What::Show => (1, 1, &["format"]),
        What::Rm => (1, usize::MAX, &[]),
        What::Gc => (0, 0, &[]),
        What::Export => (2, 2, &["layer"]),
    };
    let word = what.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let given = [
        ("format", format.is_some()),
        ("layer", layer.is_some()),
        ("max-size", max_size.is_some()),
        ("max-entries", max_entries.is_some()),
    ];
    if let Some((option, _)) = given.into_iter().find(|(option, given)| *given && !takes.contains(option)) {
        return Err(UsageError::Other(format!("`sbx image {word}` has no option `--{option}`")));
    }
    if words.len() < fewest || words.len() > most {
        let what = if words.len() < fewest { "more is needed after" } else { "too much stands after" };
        return Err(UsageError::Other(format!("{what} `sbx image {word}`")));
    }
    let bounds = TypedBounds { size: max_size.map(|size| size.0), entries: max_entries };
    let format = format.unwrap_or_default();
    let mut words = words.into_iter();
    let mut next = || words.next().unwrap_or_default();
    Ok(match what {
        What::Import => {
            ImageVerb::Import { path: next().into(), name: words.next().map(text).transpose()?, bounds }
        }
        What::Pull => {
            ImageVerb::Pull { reference: text(next())?, name: words.next().map(text).transpose()?, bounds }
        }
        What::List => ImageVerb::List { format },
        What::Show => ImageVerb::Show { name: text(next())?, format },
        What::Rm => ImageVerb::Remove { names: words.map(text).collect::<Result<_, _>>()? },
        What::Gc => ImageVerb::Collect,
        What::Export => ImageVerb::Export { name: text(next())?, path: next().into(), layer },
    })
}

fn text(word: OsString) -> Result<String, UsageError> {
    word.into_string().map_err(|word| UsageError::Other(format!("the value {} is not UTF-8", quote(word))))
}
