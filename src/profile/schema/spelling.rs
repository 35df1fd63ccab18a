//! The spellings of single values.
#![forbid(unsafe_code)]

use std::time::Duration;

use caps::Capability;

use super::field::{Raw, Spelling};
use crate::diag::{nearest, quote};
use crate::profile::limits::check_cpus;
use crate::profile::value::{self, ByteSize, EnvironmentPattern, PathTemplate, parse_duration};
use crate::profile::{
    ArgumentsMode, Background, CwdMode, HomeMode, LandlockScope, Level, Nested, NetworkMode, OverlayDriver,
    RootSource, TerminalMode, Toolchain, UidMap, Wayland, WritableLayer, X11Mode,
};

/// Spellings by one word of a closed set.
macro_rules! words {
    ($($name:ty),+ $(,)?) => {$(
        impl Spelling for $name {
            type Value = Self;
            const WHAT: &'static str = "a string";

            fn read(raw: Raw<'_>) -> Option<Result<Self, String>> {
                let Raw::Text(text) = raw else { return None };
                Some(Self::from_word(text).ok_or_else(|| unknown_word(text, Self::WORDS)))
            }
        }
    )+};
}

words!(
    ArgumentsMode,
    Background,
    CwdMode,
    OverlayDriver,
    HomeMode,
    LandlockScope,
    Level,
    Nested,
    NetworkMode,
    TerminalMode,
    Toolchain,
    UidMap,
    X11Mode,
);

fn unknown_word(text: &str, words: &[&str]) -> String {
    match nearest(text, words.iter().copied()) {
        Some(word) => format!("{} is not one of {}; did you mean `{word}`?", quote(text), words.join(", ")),
        None => format!("{} is not one of {}", quote(text), words.join(", ")),
    }
}

/// Spellings by a string that a function reads.
macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident: $value:ty = $read:expr;)+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl Spelling for $name {
            type Value = $value;
            const WHAT: &'static str = "a string";

            fn read(raw: Raw<'_>) -> Option<Result<$value, String>> {
                let Raw::Text(text) = raw else { return None };
                Some($read(text))
            }
        }
    )+};
}

texts! {
    /// One line of text.
    Line: String = line;
    /// A profile's name, or a path to one; checked where it is looked for.
    Extended: String = line;
    /// The real path of a command.
    RealPath: String = real_path;
    /// A name in reverse-DNS order.
    AppId: String = app_id;
    /// An absolute path with tokens.
    Template: PathTemplate = PathTemplate::parse;
    /// A path below a directory.
    RelativePath: String = relative_path;
    /// What the root filesystem is.
    Root: RootSource = root;
    /// Where writes to the root filesystem go.
    Writable: WritableLayer = writable;
    /// The name of a layer.
    LayerName: String = layer_name;
    /// A host name.
    Hostname: String = value::parse_hostname;
    /// A capability's name.
    CapabilityName: Capability = capability;
    /// Something without blanks that is looked at later: a host, a system call, a bus policy.
    Word: String = word;
    /// A variable's name, or the beginning of some.
    Pattern: EnvironmentPattern = EnvironmentPattern::parse;
    /// A variable's name.
    VariableName: String = variable_name;
}

/// A string or an integer, for the keys that take both.
macro_rules! quantities {
    ($($(#[$meta:meta])* $name:ident: $value:ty = $what:literal, $text:expr, $integer:expr;)+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl Spelling for $name {
            type Value = $value;
            const WHAT: &'static str = $what;

            fn read(raw: Raw<'_>) -> Option<Result<$value, String>> {
                match raw {
                    Raw::Text(text) => Some($text(text)),
                    Raw::Integer(number) => {
                        Some($integer(number).ok_or_else(|| format!("{number} is out of range here")))
                    }
                    Raw::Float(_) | Raw::Boolean(_) => None,
                }
            }
        }
    )+};
}

quantities! {
    /// Bytes.
    Size: ByteSize = "a size such as \"512M\", or a number of bytes", ByteSize::parse, bytes;
    /// A length of time.
    Time: Duration = "a duration such as \"1h30m\", or a number of seconds", parse_duration, seconds;
    /// A shift of a clock, in nanoseconds.
    Offset: i64 = "a duration such as \"-30s\", or a number of seconds", offset, nanoseconds;
}

fn bytes(number: i64) -> Option<ByteSize> {
    u64::try_from(number).ok().map(ByteSize)
}

fn seconds(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().map(Duration::from_secs)
}

fn nanoseconds(number: i64) -> Option<i64> {
    number.checked_mul(1_000_000_000)
}

fn offset(text: &str) -> Result<i64, String> {
    let duration = parse_duration(text.strip_prefix('-').unwrap_or(text))?;
    let nanoseconds = i64::try_from(duration.as_nanos())
        .map_err(|_| format!("{} is further than a clock here can be shifted", quote(text)))?;
    Ok(if text.starts_with('-') { -nanoseconds } else { nanoseconds })
}

impl Spelling for bool {
    type Value = Self;
    const WHAT: &'static str = "true or false";

    fn read(raw: Raw<'_>) -> Option<Result<Self, String>> {
        if let Raw::Boolean(truth) = raw { Some(Ok(truth)) } else { None }
    }
}

impl Spelling for Wayland {
    type Value = Self;
    const WHAT: &'static str = "true, false or \"optional\"";

    fn read(raw: Raw<'_>) -> Option<Result<Self, String>> {
        match raw {
            Raw::Boolean(true) => Some(Ok(Self::On)),
            Raw::Boolean(false) => Some(Ok(Self::Off)),
            Raw::Text("optional") => Some(Ok(Self::Optional)),
            Raw::Text(_) | Raw::Integer(_) | Raw::Float(_) => None,
        }
    }
}

/// How many of something, at least one.
#[derive(Debug)]
pub(crate) enum Count {}

impl Spelling for Count {
    type Value = u64;
    const WHAT: &'static str = "a number";

    fn read(raw: Raw<'_>) -> Option<Result<u64, String>> {
        let Raw::Integer(number) = raw else { return None };
        let count = u64::try_from(number).ok().filter(|count| *count >= 1);
        Some(count.ok_or_else(|| format!("{number} is too small; 1 is the least")))
    }
}

/// How many processors, in part or whole.
#[derive(Debug)]
pub(crate) enum Cpus {}

impl Spelling for Cpus {
    type Value = f64;
    const WHAT: &'static str = "a number";

    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 processors")]
    fn read(raw: Raw<'_>) -> Option<Result<f64, String>> {
        let number = match raw {
            Raw::Float(number) => number,
            Raw::Integer(number) => number as f64,
            Raw::Text(_) | Raw::Boolean(_) => return None,
        };
        Some(check_cpus(number))
    }
}

/// What a variable is set to; nothing for `false`, which takes a lower layer's away.
#[derive(Debug)]
pub(crate) enum VariableValue {}

impl Spelling for VariableValue {
    type Value = Option<String>;
    const WHAT: &'static str = "a string, or false to remove it";

    fn read(raw: Raw<'_>) -> Option<Result<Self::Value, String>> {
        match raw {
            Raw::Boolean(false) => Some(Ok(None)),
            Raw::Text(text) if text.contains('\0') => {
                Some(Err(format!("{} holds a NUL byte, which no variable can", quote(text))))
            }
            Raw::Text(text) => Some(Ok(Some(text.to_owned()))),
            Raw::Boolean(true) | Raw::Integer(_) | Raw::Float(_) => None,
        }
    }
}

fn line(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err("this must be one line of text, without control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{} must be one word, without blanks or control characters", quote(text)));
    }
    Ok(text.to_owned())
}

fn real_path(text: &str) -> Result<String, String> {
    let usual = |part: &str| !part.is_empty() && part != "." && part != "..";
    match text.strip_prefix('/') {
        Some(rest) if rest.split('/').all(usual) && !text.contains("${") && !text.contains('\0') => {
            Ok(text.to_owned())
        }
        _ => Err(format!("{} is not the real absolute path of a command", quote(text))),
    }
}

fn relative_path(text: &str) -> Result<String, String> {
    let usual = |part: &str| !part.is_empty() && part != "." && part != "..";
    if text.contains('\0') || !text.split('/').all(usual) {
        return Err(format!("{} is not a path below a directory, like `.git/hooks`", quote(text)));
    }
    Ok(text.to_owned())
}

fn app_id(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let element = |part: &str| !part.is_empty() && part.bytes().all(plain);
    if text.len() > 255 || text.split('.').count() < 3 || !text.split('.').all(element) {
        return Err(format!("{} is not an application id, like `org.example.Editor`", quote(text)));
    }
    Ok(text.to_owned())
}

fn variable_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err(format!("{} is not a variable's name", quote(text)));
    }
    Ok(text.to_owned())
}

fn capability(text: &str) -> Result<Capability, String> {
    let name = caps::to_canonical(text);
    name.parse().map_err(|_| {
        let names: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
        match nearest(&name, names.iter().map(String::as_str)) {
            Some(known) => format!("{} is not a capability; did you mean `{known}`?", quote(text)),
            None => format!("{} is not a capability", quote(text)),
        }
    })
}

fn root(text: &str) -> Result<RootSource, String> {
    match (text, text.strip_prefix("image:")) {
        ("host", _) => Ok(RootSource::Host),
        ("empty", _) => Ok(RootSource::Empty),
        (_, Some(name)) => word(name).map(RootSource::Image),
        _ if text.starts_with(['/', '$', '~']) => PathTemplate::parse(text).map(RootSource::Directory),
        _ => Err(format!("{} is not `host`, `empty`, an absolute path or `image:NAME`", quote(text))),
    }
}

fn writable(text: &str) -> Result<WritableLayer, String> {
    match (text, text.strip_prefix("layer:")) {
        ("tmpfs", _) => Ok(WritableLayer::Tmpfs),
        ("none", _) => Ok(WritableLayer::None),
        (_, Some(name)) => layer_name(name).map(WritableLayer::Named),
        _ if text.starts_with(['/', '$', '~']) => PathTemplate::parse(text).map(WritableLayer::Directory),
        _ => Err(format!("{} is not `tmpfs`, `none`, `layer:NAME` or an absolute path", quote(text))),
    }
}

/// It becomes the name of a directory.
fn layer_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=100).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with(['-', '.']) {
        return Err(format!("{} is not a layer's name: letters, digits, `.`, `_` and `-`", quote(name)));
    }
    Ok(name.to_owned())
}
