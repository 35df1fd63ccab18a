//! The values of `[limits]`, most of which may carry a level of their own.
#![forbid(unsafe_code)]

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Error, MapAccess};

use super::field::{Field, Raw, Spelling};
use super::spelling::{Count, Size, Template};
use crate::profile::Level;
use crate::profile::limits::{self, IoLimit, IoPriority, Limit, check_memory};
use crate::profile::value::{ByteSize, PathTemplate};

/// A limit as such, or a table with its `value` and its `level`.
pub(crate) struct Limited<S>(PhantomData<S>);

/// The table that stands for a limit.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitTable<F> {
    value: F,
    level: Option<Field<Level>>,
}

impl<S: Spelling> Spelling for Limited<S> {
    type Value = Limit<S::Value>;
    const WHAT: &'static str = S::WHAT;

    fn read(raw: Raw<'_>) -> Option<Result<Self::Value, String>> {
        S::read(raw).map(|read| read.map(Limit::new))
    }
    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<Self::Value, A::Error> {
        let table = LimitTable::<Field<S>>::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Limit { value: table.value.value, level: table.level.map(|level| level.value) })
    }
}

/// An entry of `limits.io`.
#[derive(Debug)]
pub(crate) enum Io {}

/// The table that is one.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct IoTable {
    path: Field<Template>,
    read: Option<Field<Size>>,
    write: Option<Field<Size>>,
    read_operations: Option<Field<Count>>,
    write_operations: Option<Field<Count>>,
    level: Option<Field<Level>>,
}

impl Spelling for Io {
    type Value = IoLimit;
    const WHAT: &'static str = "a table with a `path` and what is limited there";

    /// A path alone, behind a minus: what is taken away.
    fn read(raw: Raw<'_>) -> Option<Result<IoLimit, String>> {
        let Raw::Text(text) = raw else { return None };
        Some(PathTemplate::parse(text).map(|path| IoLimit { path: Some(path), ..IoLimit::default() }))
    }
    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<IoLimit, A::Error> {
        let table = IoTable::deserialize(MapAccessDeserializer::new(map))?;
        let limit = IoLimit {
            path: Some(table.path.value),
            read: table.read.map(|size| size.value),
            write: table.write.map(|size| size.value),
            read_operations: table.read_operations.map(|count| count.value),
            write_operations: table.write_operations.map(|count| count.value),
            level: table.level.map(|level| level.value),
        };
        if [limit.read, limit.write].into_iter().flatten().any(|size| size == ByteSize(0)) {
            return Err(A::Error::custom("a device needs more than no bytes a second"));
        }
        Ok(limit)
    }
}

/// A limit of memory: what a sandbox can be set up in, or more.
#[derive(Debug)]
pub(crate) enum Memory {}

impl Spelling for Memory {
    type Value = ByteSize;
    const WHAT: &'static str = Size::WHAT;

    fn read(raw: Raw<'_>) -> Option<Result<ByteSize, String>> {
        Size::read(raw).map(|read| read.and_then(check_memory))
    }
}

/// Declares spellings by a whole number of a range.
macro_rules! integers {
    ($($(#[$meta:meta])* $name:ident: $value:ty = $least:literal ..= $most:expr;)+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl Spelling for $name {
            type Value = $value;
            const WHAT: &'static str = "a number";

            fn read(raw: Raw<'_>) -> Option<Result<$value, String>> {
                let Raw::Integer(number) = raw else { return None };
                Some(if number < $least {
                    Err(format!("{number} is too small; {} is the least", $least))
                } else if number > $most {
                    Err(format!("{number} is too large; {} is the most", $most))
                } else {
                    Ok(number as $value)
                })
            }
        }
    )+};
}

integers! {
    /// A share beside others (`cpu.weight`, `io.weight`).
    Weight: u64 = 1 ..= 10_000;
    /// How many of something, or none.
    Number: u64 = 0 ..= i64::from(i32::MAX);
    /// A nice value (setpriority(2)).
    Nice: i32 = -20 ..= 19;
}

/// A list of processors.
#[derive(Debug)]
pub(crate) enum Processors {}

impl Spelling for Processors {
    type Value = String;
    const WHAT: &'static str = "a list of processors such as \"0-3,6\"";

    fn read(raw: Raw<'_>) -> Option<Result<String, String>> {
        match raw {
            Raw::Text(text) => Some(limits::parse_processors(text)),
            Raw::Integer(number) => Some(limits::parse_processors(&number.to_string())),
            Raw::Float(_) | Raw::Boolean(_) => None,
        }
    }
}

/// An I/O priority.
#[derive(Debug)]
pub(crate) enum Priority {}

impl Spelling for Priority {
    type Value = IoPriority;
    const WHAT: &'static str = "a string";

    fn read(raw: Raw<'_>) -> Option<Result<IoPriority, String>> {
        if let Raw::Text(text) = raw { Some(IoPriority::parse(text)) } else { None }
    }
}
