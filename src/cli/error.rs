//! What is wrong with a command line.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::diag::{Diagnose, escape, nearest, quote};

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// Nothing but `sbx`: the usage.
    Bare(String),
    /// Options and no command.
    NoCommand,
    /// A verb that takes no arguments got some.
    TooMany(String),
    /// A verb of a part that does not exist yet.
    ReservedVerb(String),
    /// An option that there is none of.
    UnknownOption {
        /// As typed.
        option: OsString,
        /// The nearest one there is.
        nearest: Option<String>,
    },
    /// A value that an option can't take.
    BadValue {
        /// Which option.
        option: String,
        /// As typed.
        value: OsString,
        /// Why not.
        why: String,
    },
    /// Anything else, in clap's words.
    Other(String),
}

impl UsageError {
    /// The error of `command` in words of sbx's own.
    pub(super) fn of_clap(error: &clap::Error, command: &clap::Command, arguments: &[OsString]) -> Self {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        };
        // `--ro <P[:DEST]>` is what clap calls an option with a value.
        let option =
            text(ContextKind::InvalidArg).map(|arg| arg.split(' ').next().unwrap_or_default().to_owned());
        match (error.kind(), option) {
            (ErrorKind::UnknownArgument, Some(option)) => {
                let options = command.get_arguments().filter_map(|argument| argument.get_long());
                let nearest =
                    nearest(option.trim_start_matches('-'), options).map(|name| format!("--{name}"));
                // clap's text has lost the bytes that are not UTF-8.
                let typed = arguments.iter().find(|word| word.to_string_lossy().starts_with(&option));
                UsageError::UnknownOption { option: typed.cloned().unwrap_or(option.into()), nearest }
            }
            (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(option)) => {
                let value = text(ContextKind::InvalidValue).unwrap_or_default();
                let why = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
                    (Some(source), _) => source.to_string(),
                    _ if value.is_empty() => "it needs a value".to_owned(),
                    (None, Some(ContextValue::Strings(valid))) => {
                        format!("it is not one of {}", valid.join(", "))
                    }
                    _ => "it can't be that".to_owned(),
                };
                UsageError::BadValue { option, value: value.into(), why }
            }
            (ErrorKind::MissingRequiredArgument, Some(missing)) => {
                let missing = missing.trim_matches(|sign: char| !sign.is_alphanumeric() && sign != '-');
                UsageError::Other(format!("no {missing} is given"))
            }
            (ErrorKind::InvalidUtf8, _) => {
                let word =
                    arguments.iter().find(|word| word.to_str().is_none()).map(quote).unwrap_or_default();
                UsageError::Other(format!("the value {word} is not UTF-8"))
            }
            _ => {
                let text = error.render().to_string();
                let line = text.lines().next().unwrap_or_default();
                UsageError::Other(line.strip_prefix("error: ").unwrap_or(line).replace('\'', "`"))
            }
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Bare(usage) => f.write_str(usage),
            UsageError::NoCommand => f.write_str("cannot run nothing: no command is given"),
            UsageError::TooMany(verb) => {
                write!(f, "cannot use {} with arguments: it takes none", quote(verb))
            }
            UsageError::ReservedVerb(verb) => write!(f, "cannot use the verb {}: not built yet", quote(verb)),
            UsageError::UnknownOption { option, .. } => {
                write!(f, "cannot use {}: no such option", quote(option))
            }
            UsageError::BadValue { option, value, why }
                if value.is_empty() || why.contains(&quote(value)) =>
            {
                write!(f, "cannot use {}: {}", quote(option), escape(why))
            }
            UsageError::BadValue { option, value, why } => {
                write!(f, "cannot use {} for {}: {}", quote(value), quote(option), escape(why))
            }
            UsageError::Other(text) => write!(f, "cannot read the command line: {}", escape(text)),
        }
    }
}

impl Diagnose for UsageError {
    fn hint(&self) -> Option<String> {
        match self {
            UsageError::Bare(_) => None,
            UsageError::NoCommand => {
                Some("name a program after the options, as in `sbx --net host make`".to_owned())
            }
            UsageError::TooMany(verb) | UsageError::ReservedVerb(verb) => {
                Some(format!("to run a program of that name: sbx -- {verb}"))
            }
            UsageError::UnknownOption { nearest: Some(nearest), .. } => {
                Some(format!("did you mean `{nearest}`?"))
            }
            UsageError::UnknownOption { .. } | UsageError::BadValue { .. } | UsageError::Other(_) => {
                Some("see sbx --help".to_owned())
            }
        }
    }
}
