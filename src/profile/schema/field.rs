//! How a TOML value becomes a Rust one with its place in the text. `toml::Spanned` works only where
//! serde asks for a concrete type, so nothing here or above is `untagged` or `flatten`.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use toml::Spanned;

/// A TOML value that is neither a list nor a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    /// A string.
    Text(&'a str),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
}

/// One way to write a value.
pub(crate) trait Spelling {
    /// What it comes to.
    type Value;
    /// What to call it, with its article, after "this must be".
    const WHAT: &'static str;

    /// Reads it; `None` when `raw` is of the wrong type.
    fn read(raw: Raw<'_>) -> Option<Result<Self::Value, String>>;

    /// Reads it from a table, where a table will do.
    fn table<'de, A: MapAccess<'de>>(_map: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::invalid_type(Unexpected::Map, &Self::WHAT))
    }
}

/// A value and where it stands.
pub(crate) struct Field<S: Spelling> {
    /// The value.
    pub(crate) value: S::Value,
    /// Its bytes in the text.
    pub(crate) span: Range<usize>,
}

impl<S: Spelling<Value: fmt::Debug>> fmt::Debug for Field<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.value, self.span)
    }
}

impl<'de, S: Spelling> Deserialize<'de> for Field<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Unplaced<S>>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner().0, span })
    }
}

/// A value before its place is known.
struct Unplaced<S: Spelling>(S::Value);

impl<'de, S: Spelling> Deserialize<'de> for Unplaced<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpellingVisitor::<S>(PhantomData)).map(Self)
    }
}

struct SpellingVisitor<S>(PhantomData<S>);

impl<S: Spelling> SpellingVisitor<S> {
    fn read<E: Error>(raw: Raw<'_>) -> Result<S::Value, E> {
        let unexpected = match raw {
            Raw::Text(text) => Unexpected::Str(text),
            Raw::Integer(number) => Unexpected::Signed(number),
            Raw::Float(number) => Unexpected::Float(number),
            Raw::Boolean(truth) => Unexpected::Bool(truth),
        };
        match S::read(raw) {
            Some(read) => read.map_err(E::custom),
            None => Err(E::invalid_type(unexpected, &S::WHAT)),
        }
    }
}

impl<'de, S: Spelling> Visitor<'de> for SpellingVisitor<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::WHAT)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<S::Value, E> {
        Self::read(Raw::Text(text))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<S::Value, E> {
        Self::read(Raw::Integer(number))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<S::Value, E> {
        Self::read(Raw::Float(number))
    }
    fn visit_bool<E: Error>(self, truth: bool) -> Result<S::Value, E> {
        Self::read(Raw::Boolean(truth))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S::Value, A::Error> {
        S::table(map)
    }
}

/// An entry of a list that changes the list of the layers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit<T> {
    /// `"x"`
    Add(T),
    /// `"-x"`
    Remove(T),
}

/// The [`Spelling`] of an [`Edit`].
pub(crate) struct Edits<S>(PhantomData<S>);

impl<S: Spelling> Spelling for Edits<S> {
    type Value = Edit<S::Value>;
    const WHAT: &'static str = S::WHAT;

    fn read(raw: Raw<'_>) -> Option<Result<Self::Value, String>> {
        match raw {
            Raw::Text(text) if text.starts_with('-') => {
                S::read(Raw::Text(&text[1..])).map(|read| read.map(Edit::Remove))
            }
            raw => S::read(raw).map(|read| read.map(Edit::Add)),
        }
    }

    fn table<'de, A: MapAccess<'de>>(map: A) -> Result<Self::Value, A::Error> {
        S::table(map).map(Edit::Add)
    }
}

/// A list; an absent one is empty.
pub(crate) struct List<S: Spelling>(pub(crate) Vec<Field<S>>);

impl<S: Spelling> Default for List<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Spelling<Value: fmt::Debug>> fmt::Debug for List<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, S: Spelling> Deserialize<'de> for List<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData)).map(Self)
    }
}

struct ListVisitor<S>(PhantomData<S>);

impl<'de, S: Spelling> Visitor<'de> for ListVisitor<S> {
    type Value = Vec<Field<S>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

/// A table whose keys are free, in the order of the text.
pub(crate) struct Map<K: Spelling, V: Spelling>(pub(crate) Vec<(Field<K>, Field<V>)>);

impl<K: Spelling, V: Spelling> Default for Map<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Spelling<Value: fmt::Debug>, V: Spelling<Value: fmt::Debug>> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, K: Spelling, V: Spelling> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData)).map(Self)
    }
}

struct MapVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Spelling, V: Spelling> Visitor<'de> for MapVisitor<K, V> {
    type Value = Vec<(Field<K>, Field<V>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Field<K>, Field<V>>()? {
            entries.push(entry);
        }
        // The parser hands them out sorted by name.
        entries.sort_by_key(|(key, _)| key.span.start);
        Ok(entries)
    }
}

/// Reads a table with fixed keys and nothing else: what serde derives for a struct takes a list too.
pub(crate) fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct TableVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(TableVisitor(PhantomData))
}
