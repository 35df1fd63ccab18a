//! Values with a spelling of their own: sizes, durations, path templates, environment patterns.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes: `512`, `512K`, `1.5G`, `2GiB`; the units are powers of 1,024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct ByteSize(pub u64);

/// Bytes a second, spelled like a [`ByteSize`].
pub type ByteRate = ByteSize;

impl ByteSize {
    /// Reads a size.
    ///
    /// # Errors
    /// Says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not a size; write it like 512M or 1.5G", crate::diag::quote(text));
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let shift = match unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit) {
            "" if unit != "iB" => 0,
            "K" | "k" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || number.ends_with('.') || fraction.contains('.') || fraction.len() > 6 {
            return Err(wrong());
        }
        let too_large = || format!("{} is larger than any size here can be", crate::diag::quote(text));
        let whole: u128 = whole.parse().map_err(|_| too_large())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| wrong())? };
        let scaled = whole.checked_mul(scale).and_then(|n| n.checked_add(part)).ok_or_else(too_large)?;
        let bytes = scaled.checked_mul(1 << shift).ok_or_else(too_large)?;
        if bytes % scale != 0 && shift == 0 {
            return Err(format!("{} is not a whole number of bytes", crate::diag::quote(text)));
        }
        // The kernel takes sizes as signed 64-bit numbers in places (tmpfs(5)).
        u64::try_from(bytes / scale)
            .ok()
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(too_large)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = [(40, "T"), (30, "G"), (20, "M"), (10, "K")]
            .into_iter()
            .find(|(shift, _)| self.0 >= 1 << shift && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((shift, letter)) => write!(f, "{}{letter}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A number of bytes for people: `512 MiB`, `1.5 GiB`, `312 KiB`, rounded to three figures.
pub fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..UNITS.len()).rev().find(|unit| bytes >> (10 * unit) > 0).unwrap_or(0);
    let value = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    let text = match value {
        value if unit == 0 || value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    format!("{text} {}", UNITS[unit])
}

/// Reads a duration: `90`, `90s`, `1h30m`, `250ms`, `2d`; a bare number is seconds.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{} is not a duration; write it like 30s or 1h30m", crate::diag::quote(text));
    let too_long = || format!("{} is longer than any duration here can be", crate::diag::quote(text));
    if text.is_empty() {
        return Err(wrong());
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        if number.is_empty() {
            return Err(wrong());
        }
        let millis: u64 = match unit {
            "" if rest == text => 1_000,
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| too_long())?;
        total = number.checked_mul(millis).and_then(|n| total.checked_add(n)).ok_or_else(too_long)?;
        rest = next;
    }
    Ok(Duration::from_millis(total))
}

/// Reads a host name.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_hostname(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(plain) || text.starts_with(['-', '.']) {
        return Err(format!(
            "{} is not a host name: 1 to 64 letters, digits, `.` and `-`, the first no sign",
            crate::diag::quote(text)
        ));
    }
    Ok(text.to_owned())
}

/// Reads a sandbox's name: a word on command lines, a directory's name, a part of a unit's.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_sandbox_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(plain) || text.starts_with(['-', '.']) {
        return Err(format!(
            "{} is not a sandbox's name: 1 to 64 letters, digits, `.`, `_` and `-`, the first no sign but `_`",
            crate::diag::quote(text)
        ));
    }
    Ok(text.to_owned())
}

/// A value that a profile path may name and that only the machine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// `${HOME}`
    Home,
    /// `${CWD}`
    Cwd,
    /// `${XDG_RUNTIME_DIR}`
    RuntimeDir,
    /// `${DOWNLOADS}`
    Downloads,
    /// `${UID}`
    Uid,
}

impl Token {
    const ALL: [(&'static str, Token); 5] = [
        ("HOME", Token::Home),
        ("CWD", Token::Cwd),
        ("XDG_RUNTIME_DIR", Token::RuntimeDir),
        ("DOWNLOADS", Token::Downloads),
        ("UID", Token::Uid),
    ];

    /// The name between the braces.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, token)| *token == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Literal(OsString),
    Token(Token),
}

/// An absolute path that may hold tokens such as `${HOME}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate(Vec<Part>);

impl PathTemplate {
    /// Reads a path of a profile: absolute, or starting with a token that is.
    ///
    /// # Errors
    /// Says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let quoted = crate::diag::quote(text);
        if text.contains('\0') {
            return Err(format!("{quoted} holds a NUL byte, which no path can"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if start > 0 {
                parts.push(Part::Literal(rest[..start].into()));
            }
            let Some(end) = rest[start..].find('}') else {
                return Err(format!("{quoted} has a `${{` without its `}}`"));
            };
            let name = &rest[start + 2..start + end];
            let Some((_, token)) = Token::ALL.iter().find(|(known, _)| *known == name) else {
                let known = Token::ALL.map(|(name, _)| format!("${{{name}}}")).join(", ");
                return Err(format!(
                    "{} is not known here; there is {known}",
                    crate::diag::quote(format!("${{{name}}}"))
                ));
            };
            parts.push(Part::Token(*token));
            rest = &rest[start + end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        match parts.first() {
            Some(Part::Literal(first)) if first.as_bytes().starts_with(b"/") => {}
            Some(Part::Token(token)) if *token != Token::Uid => {}
            _ if text.starts_with('~') => {
                return Err(format!("{quoted} is not absolute; write `${{HOME}}` for the home directory"));
            }
            _ => return Err(format!("{quoted} is not an absolute path")),
        }
        Ok(Self(parts))
    }

    /// A path as it is, bytes and all.
    pub fn literal(path: &Path) -> Self {
        Self(vec![Part::Literal(path.as_os_str().to_owned())])
    }

    /// Whether it is the same path for everybody: it holds no token.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// The path with each token replaced by what `value` says; the first token without a value otherwise.
    ///
    /// # Errors
    /// The token that has no value on this machine.
    pub fn expand<'a>(&self, value: impl Fn(Token) -> Option<&'a OsStr>) -> Result<PathBuf, Token> {
        let mut out = Vec::new();
        for part in &self.0 {
            out.extend_from_slice(match part {
                Part::Literal(text) => text.as_bytes(),
                Part::Token(token) => value(*token).ok_or(*token)?.as_bytes(),
            });
        }
        Ok(PathBuf::from(OsString::from_vec(out)))
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Literal(text) => f.write_str(&crate::diag::escape(text))?,
                Part::Token(token) => write!(f, "${{{}}}", token.name())?,
            }
        }
        Ok(())
    }
}

/// A variable's name, or the beginning of some names and a `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvironmentPattern(String);

impl EnvironmentPattern {
    /// Reads `NAME` or `PREFIX*`. A bare `*` is refused: an allow-list that allows all is none.
    ///
    /// # Errors
    /// Says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.is_empty() || name.contains(['*', '=', '\0']) {
            return Err(format!(
                "{} is not a variable name, nor the beginning of one and a `*`",
                crate::diag::quote(text)
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it covers `name`.
    pub fn matches(&self, name: &OsStr) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
            None => name.as_bytes() == self.0.as_bytes(),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1K", 1024),
            ("1.5G", 3 << 29),
            ("2GiB", 2 << 30),
            ("3 MB", 3 << 20),
            ("8T", 8 << 40),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for text in
            ["", "-1", "G", "1.5", "1..5G", "1e9", "10X", "1.G", "iB", "99999999999T", "18446744073709551616"]
        {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 1 << 20, 3 << 29, (1 << 40) + 1] {
            assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()), Ok(ByteSize(bytes)));
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("90", 90_000),
            ("0", 0),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("5min", 300_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "h", "1x", "-5s", "1h30", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn templates() {
        let expand = |text: &str| {
            PathTemplate::parse(text).unwrap().expand(|token| match token {
                Token::Home => Some(OsStr::new("/home/u")),
                Token::Uid => Some(OsStr::new("1000")),
                _ => None,
            })
        };
        assert_eq!(expand("${HOME}/.cache"), Ok("/home/u/.cache".into()));
        assert_eq!(expand("/run/user/${UID}/x"), Ok("/run/user/1000/x".into()));
        assert_eq!(expand("${DOWNLOADS}"), Err(Token::Downloads));
        for text in ["relative", "~/x", "${UID}", "${NOPE}/x", "/x/${HOME", "", "/a\0b"] {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns() {
        assert!(EnvironmentPattern::parse("LC_*").unwrap().matches(OsStr::new("LC_ALL")));
        assert!(!EnvironmentPattern::parse("LANG").unwrap().matches(OsStr::new("LANGUAGE")));
        for text in ["", "*", "A=B", "A*B"] {
            assert!(EnvironmentPattern::parse(text).is_err(), "{text}");
        }
    }
}
