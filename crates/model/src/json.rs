//! Reading JSON documents that may be hostile.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// The largest manifest, cluster record or coverage that is read, in bytes of JSON.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// A JSON document that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Larger than the bound for its kind.
    #[error("the document is {bytes} bytes long, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Not JSON, not of the expected shape, or with a key given twice.
    #[error("not a valid document")]
    Invalid(#[from] serde_json::Error),
    /// Written by a version of Lifeboat whose format this one does not know.
    #[error("format {found} is not known to this version, which reads format {known}: use a newer lifeboat")]
    UnknownFormat {
        /// The format that the document names.
        found: String,
        /// The format that this version reads.
        known: String,
    },
}

/// Parses one JSON document of at most `limit` bytes.
///
/// # Errors
/// When it is larger, is no JSON, has a key twice in any object (so that no two readers can see different
/// documents under one signature), or does not fit `T`.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DocumentError> {
    if bytes.len() > limit {
        return Err(DocumentError::TooLarge { bytes: bytes.len(), limit });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.deserialize_any(UniqueKeys)?;
    deserializer.end()?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Visits a whole document and fails on the first key that an object has twice.
struct UniqueKeys;

impl<'de> de::DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(UniqueKeys)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(UniqueKeys)?;
            if let Some(key) = seen.replace(key) {
                return Err(de::Error::custom(format_args!("the key '{key}' is given twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth() {
        let parse = |text: &str| parse_json::<serde_json::Value>(text.as_bytes(), 1000);
        assert!(parse(r#"{"a":[{"b":1,"c":2}],"d":null}"#).is_ok());
        assert!(parse(r#"{"a":1,"a":1}"#).is_err());
        assert!(parse(r#"{"x":[{"a":1,"\u0061":1}]}"#).is_err());
        assert!(parse("{} {}").is_err());
    }

    #[test]
    fn a_document_over_the_bound_is_refused_unread() {
        let error = parse_json::<serde_json::Value>(&[b'['; 101], 100).unwrap_err();
        assert_eq!(error.to_string(), "the document is 101 bytes long, more than the 100 allowed");
    }
}
