//! `--set KEY=VALUE`: a layer of one key, read by the same schema as the files.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use super::error::ProfileError;
use super::schema::{self, Layer};
use crate::diag::{Location, Source};

/// Reads what follows `--set`.
pub(super) fn parse(typed: &str) -> Result<(Layer, Arc<Source>), ProfileError> {
    let wrong = |cause| ProfileError::Set { typed: typed.to_owned(), cause };
    let (key, value) = typed.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.trim().split('.').all(|part| !part.is_empty() && part.bytes().all(plain)) {
        return Err(wrong("its key is not words with dots between them"));
    }
    if ["schema", "extends", "match"].contains(&key.trim()) {
        return Err(wrong("this key belongs in a file"));
    }
    let source = Arc::new(Source { name: "--set".to_owned(), text: typed.to_owned() });
    let at = |range: Range<usize>| Location { source: Arc::clone(&source), range };

    // The value as TOML. A line break could begin another key, so such a value is only ever plain text.
    let as_toml = (!value.contains(['\n', '\r'])).then(|| schema::parse(typed, at));
    if let Some(Ok(layer)) = as_toml {
        return Ok((layer, source));
    }
    let quoted = format!("{key}={}", quote_toml(value));
    let value_start = key.len() + 1;
    let in_typed =
        |range: Range<usize>| at(if range.start < value_start { range } else { value_start..typed.len() });
    let as_text = schema::parse(&quoted, in_typed);
    match (as_toml, as_text) {
        (_, Ok(layer)) => Ok((layer, source)),
        (Some(Err(error)), Err(_)) if meant_as_toml(&error, value) => Err(error),
        (_, Err(error)) => Err(error),
    }
}

/// Whether the error of the value as TOML says more than that of the value as plain text.
fn meant_as_toml(error: &ProfileError, value: &str) -> bool {
    !matches!(error, ProfileError::Syntax { .. }) || value.trim_start().starts_with(['[', '{', '"', '\''])
}

fn quote_toml(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
