//! One layer as it is written: every key of the TOML schema, typed, each value with its place.
#![forbid(unsafe_code)]

pub(super) mod field;
mod limits;
mod place;
mod spelling;

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::error::ProfileError;
use super::{
    ArgumentsMode, Background, CwdMode, HomeMode, LandlockScope, Level, Nested, NetworkMode, OverlayDriver,
    TerminalMode, Toolchain, UidMap, Wayland, X11Mode,
};
use crate::diag::{Location, Source};
use field::{Edits, Field, List, Map, table};
use limits::{Limited, Memory, Nice, Number, Priority, Processors, Weight};
use spelling::{
    AppId, CapabilityName, Count, Cpus, Extended, Hostname, Line, Offset, Pattern, RealPath, RelativePath,
    Root, Size, Template, Time, VariableName, VariableValue, Word, Writable,
};

/// The number of the schema that this sbx reads.
pub(super) const SCHEMA: i64 = 1;

/// Declares the tables of the schema; every key of every table may be absent.
macro_rules! tables {
    ($($(#[$meta:meta])* $name:ident { $($(#[$key_meta:meta])* $key:ident: $type:ty),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(super) struct $name { $($(#[$key_meta])* pub(super) $key: $type),+ }
    )+};
}

tables! {
    /// A whole file, or what one `--set` says.
    Layer {
        schema: Option<Field<SchemaNumber>>,
        description: Option<Field<Line>>,
        extends: List<Extended>,
        r#match: List<RealPath>,
        app_id: Option<Field<AppId>>,
        toolchains: List<Edits<Toolchain>>,
        #[serde(deserialize_with = "table")] filesystem: FilesystemTable,
        #[serde(deserialize_with = "table")] home: HomeTable,
        #[serde(deserialize_with = "table")] namespaces: NamespacesTable,
        #[serde(deserialize_with = "table")] privileges: PrivilegesTable,
        #[serde(deserialize_with = "table")] network: NetworkTable,
        #[serde(deserialize_with = "table")] limits: LimitsTable,
        #[serde(deserialize_with = "table")] seccomp: SeccompTable,
        #[serde(deserialize_with = "table")] landlock: LandlockTable,
        #[serde(deserialize_with = "table")] environment: EnvironmentTable,
        #[serde(deserialize_with = "table")] display: DisplayTable,
        #[serde(deserialize_with = "table")] audio: AudioTable,
        #[serde(deserialize_with = "table")] devices: DevicesTable,
        #[serde(deserialize_with = "table")] dbus: DbusTable,
        #[serde(deserialize_with = "table")] lifecycle: LifecycleTable,
        #[serde(deserialize_with = "table")] terminal: TerminalTable,
    }
    /// `[filesystem]`
    FilesystemTable {
        root: Option<Field<Root>>,
        layers: List<Edits<Template>>,
        writable: Option<Field<Writable>>,
        cwd: Option<Field<CwdMode>>,
        read: List<Edits<place::Read>>,
        write: List<Edits<place::Write>>,
        hide: List<Edits<place::Hide>>,
        tmpfs: List<Edits<place::Tmpfs>>,
        overlay: List<Edits<place::Overlay>>,
        protect: List<Edits<RelativePath>>,
        arguments: Option<Field<ArgumentsMode>>,
        accounts: Option<Field<bool>>,
        overlay_driver: Option<Field<OverlayDriver>>,
    }
    /// `[home]`
    HomeTable { mode: Option<Field<HomeMode>> }
    /// `[namespaces]`
    NamespacesTable {
        nested: Option<Field<Nested>>,
        hostname: Option<Field<Hostname>>,
        #[serde(deserialize_with = "table")] time: TimeTable,
    }
    /// `namespaces.time`
    TimeTable {
        boottime: Option<Field<Offset>>,
        monotonic: Option<Field<Offset>>,
    }
    /// `[privileges]`
    PrivilegesTable {
        uid: Option<Field<UidMap>>,
        capabilities: List<Edits<CapabilityName>>,
    }
    /// `[network]`
    NetworkTable {
        mode: Option<Field<NetworkMode>>,
        allow: List<Edits<Word>>,
        deny: List<Edits<Word>>,
        allow_private: List<Edits<Word>>,
        publish: List<Edits<Word>>,
        block_lan: Option<Field<bool>>,
        #[serde(deserialize_with = "table")] bandwidth: BandwidthTable,
    }
    /// `network.bandwidth`
    BandwidthTable {
        up: Option<Field<Size>>,
        down: Option<Field<Size>>,
    }
    /// `[limits]`
    LimitsTable {
        memory: Option<Field<Limited<Memory>>>,
        memory_high: Option<Field<Limited<Memory>>>,
        swap: Option<Field<Limited<Size>>>,
        cpus: Option<Field<Limited<Cpus>>>,
        cpu_weight: Option<Field<Limited<Weight>>>,
        cpuset: Option<Field<Limited<Processors>>>,
        pids: Option<Field<Limited<Count>>>,
        io: List<Edits<limits::Io>>,
        io_weight: Option<Field<Limited<Weight>>>,
        cgroups: Option<Field<Limited<Number>>>,
        cgroup_depth: Option<Field<Limited<Number>>>,
        nice: Option<Field<Nice>>,
        io_priority: Option<Field<Priority>>,
        open_files: Option<Field<Count>>,
        timeout: Option<Field<Time>>,
        delegate: Option<Field<bool>>,
        cgroup: Option<Field<Level>>,
        cgroup_parent: Option<Field<Template>>,
        level: Option<Field<Level>>,
    }
    /// `[seccomp]`
    SeccompTable {
        allow: List<Edits<Word>>,
        deny: List<Edits<Word>>,
        multiarch: Option<Field<bool>>,
    }
    /// `[landlock]`
    LandlockTable {
        level: Option<Field<Level>>,
        scope: List<Edits<LandlockScope>>,
        files: Option<Field<bool>>,
    }
    /// `[environment]`
    EnvironmentTable {
        #[serde(rename = "set")] variables: Map<VariableName, VariableValue>,
        keep: List<Edits<Pattern>>,
    }
    /// `[display]`
    DisplayTable {
        wayland: Option<Field<Wayland>>,
        x11: Option<Field<X11Mode>>,
    }
    /// `[audio]`
    AudioTable { playback: Option<Field<bool>> }
    /// `[devices]`
    DevicesTable { gpu: Option<Field<bool>> }
    /// `[dbus]`
    DbusTable { session: List<Edits<Word>> }
    /// `[lifecycle]`
    LifecycleTable { background: Option<Field<Background>> }
    /// `[terminal]`
    TerminalTable { mode: Option<Field<TerminalMode>> }
}

/// `schema`, whose number [`parse`] has checked before.
#[derive(Debug)]
pub(super) enum SchemaNumber {}

impl field::Spelling for SchemaNumber {
    type Value = ();
    const WHAT: &'static str = "the number of a schema";

    fn read(raw: field::Raw<'_>) -> Option<Result<(), String>> {
        matches!(raw, field::Raw::Integer(_)).then_some(Ok(()))
    }
}

/// Reads the text of a file, which must say what schema it is written for.
pub(super) fn parse_file(source: &Arc<Source>) -> Result<Layer, ProfileError> {
    let locate = |range| Location { source: Arc::clone(source), range };
    let layer = parse(&source.text, locate)?;
    if layer.schema.is_none() {
        return Err(ProfileError::NoSchema { location: locate(0..0) });
    }
    Ok(layer)
}

/// Reads a layer; `locate` turns a range of `text` into a place.
pub(super) fn parse(text: &str, locate: impl Fn(Range<usize>) -> Location) -> Result<Layer, ProfileError> {
    let place = |error: &toml::de::Error| locate(error.span().unwrap_or(0..0));
    let document = DeTable::parse(text).map_err(|error| ProfileError::Syntax {
        message: error.message().trim_end_matches(", expected nothing").to_owned(),
        location: place(&error),
    })?;
    // Before everything else: what another schema means by its keys is not known here.
    if let Some(value) = document.get_ref().get("schema") {
        if let DeValue::Integer(number) = value.get_ref() {
            if i64::from_str_radix(number.as_str(), number.radix()) != Ok(SCHEMA) {
                let location = locate(value.span());
                return Err(ProfileError::Schema { found: number.to_string(), location });
            }
        }
    }
    Layer::deserialize(toml::de::Deserializer::from(document))
        .map_err(|error| explain(error.message(), place(&error)))
}

/// What serde says, in the words of this program.
fn explain(message: &str, location: Location) -> ProfileError {
    let (cause, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    let value = |message| ProfileError::Value { message, location: location.clone() };
    if message.contains("$__toml_private") {
        value("a date has no place here".to_owned())
    } else if let Some(key) = cause.strip_prefix("unknown field `") {
        let key = key.strip_suffix('`').unwrap_or(key).to_owned();
        let known = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        ProfileError::UnknownKey { key, known, location }
    } else if let Some(found) = cause.strip_prefix("invalid type: ") {
        let found = match found {
            "sequence" => "a list",
            "map" => "a table",
            other => other,
        };
        value(format!("this must be {expected}, not {found}"))
    } else if let Some(key) = message.strip_prefix("missing field ") {
        value(format!("there is no {key} in this table"))
    } else {
        value(message.to_owned())
    }
}
