//! JSON for what the kernel calls strings and Unicode doesn't: text where it is UTF-8, else `{"hex": "…"}`.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

/// What is written so.
pub(crate) struct Bytes<'a>(pub(crate) &'a OsStr);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let hex: String = self.0.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &hex)?;
                map.end()
            }
        }
    }
}

/// What is read back.
pub(crate) struct Read(pub(crate) OsString);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("neither text nor bytes in hexadecimal");
        let hex = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => return Ok(Self(text.into())),
            mut value => match value.get_mut("hex").map(serde_json::Value::take) {
                Some(serde_json::Value::String(hex)) => hex,
                _ => return Err(wrong()),
            },
        };
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8]| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        bytes.map(|bytes| Self(OsString::from_vec(bytes))).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        for bytes in [&b""[..], b"a%\\\"\n\0", "é".as_bytes(), b"a\xff\n", &[0xf0, 0x9f]] {
            let json = serde_json::to_string(&Bytes(OsStr::from_bytes(bytes))).unwrap();
            assert!(!json.contains('\n'), "{json}");
            assert_eq!(serde_json::from_str::<Read>(&json).unwrap().0.as_bytes(), bytes, "{json}");
        }
        for wrong in
            ["1", "null", "{}", r#"{"hex":1}"#, r#"{"hex":"f"}"#, r#"{"hex":"fg"}"#, r#"{"hex":"+f"}"#]
        {
            assert!(serde_json::from_str::<Read>(wrong).is_err(), "{wrong}");
        }
    }
}
