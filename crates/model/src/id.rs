//! Names that appear in keys of the store.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Crockford's base 32, lower case: no letters that are mistaken for digits when read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const STAMP: &str = "%Y%m%dT%H%M%SZ";
const RANDOM_LENGTH: usize = 6;

/// Identifies a backup: `20261121T044500Z-k3f9qz`, the UTC time of its start and six random characters.
/// Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

/// A name that cannot be part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not of the form of a backup id.
    #[error("'{0}' is not a backup id: expected the form 20261121T044500Z-k3f9qz")]
    Backup(String),
    /// Not usable as a cluster's name.
    #[error(
        "'{0}' cannot name a cluster: expected 1 to 63 lower-case letters, digits, '-' or '.', beginning and ending with a letter or digit"
    )]
    Cluster(String),
}

impl BackupId {
    /// The id of a backup that starts at `now`; `random` makes it unique within that second.
    pub fn new(now: Timestamp, random: u64) -> Self {
        let mut id = now.strftime(STAMP).to_string();
        id.push('-');
        id.extend((0..RANDOM_LENGTH).map(|place| {
            let digit = (random >> (5 * place)) & 31;
            ALPHABET.get(usize::try_from(digit).unwrap_or_default()).map_or('0', |byte| char::from(*byte))
        }));
        Self(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the backup says it was started.
    pub fn started(&self) -> Option<Timestamp> {
        let (stamp, _) = self.0.split_once('-')?;
        jiff::fmt::strtime::parse(STAMP, stamp).ok()?.to_datetime().ok()?.in_tz("UTC").ok().map(|z| z.timestamp())
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

impl TryFrom<String> for BackupId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        let valid = match text.split_once('-') {
            Some((stamp, random)) => {
                stamp.len() == "20261121T044500Z".len()
                    && random.len() == RANDOM_LENGTH
                    && random.bytes().all(|byte| ALPHABET.contains(&byte))
            }
            None => false,
        };
        if !valid {
            return Err(IdError::Backup(text.chars().take(80).collect()));
        }
        let id = Self(text);
        if id.started().is_some() { Ok(id) } else { Err(IdError::Backup(id.0)) }
    }
}

impl FromStr for BackupId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

/// The name under which a cluster's backups lie in a store. A DNS-1123 name, so that it is one safe path segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(#[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"))] String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl TryFrom<String> for ClusterName {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        let valid = text.len() <= 63 && inner && edge(text.bytes().next()) && edge(text.bytes().last());
        if valid { Ok(Self(text)) } else { Err(IdError::Cluster(text.chars().take(80).collect())) }
    }
}

impl FromStr for ClusterName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_sorts_by_time_and_reads_back() {
        let early = BackupId::new("2026-11-21T04:45:00Z".parse().unwrap(), u64::MAX);
        let late = BackupId::new("2026-11-21T04:45:01Z".parse().unwrap(), 0);
        assert_eq!(early.as_str(), "20261121T044500Z-zzzzzz");
        assert!(early < late);
        assert_eq!(early.started(), Some("2026-11-21T04:45:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in
            ["", "latest", "20261121T044500Z-k3f9q", "20261121T044500Z-k3f9qu", "20261321T044500Z-k3f9qz", "../x"]
        {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
    }

    #[test]
    fn cluster_names_are_safe_segments() {
        assert!("prod-eu-1".parse::<ClusterName>().is_ok());
        for text in ["", ".", "..", "a/b", "A", "-a", "a-", &"a".repeat(64)] {
            assert!(text.parse::<ClusterName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_made_id_is_valid(seconds in 0_i64..4_102_444_800, random: u64) {
            let id = BackupId::new(Timestamp::from_second(seconds).unwrap(), random);
            prop_assert_eq!(id.as_str().parse::<BackupId>().unwrap(), id.clone());
            prop_assert_eq!(id.started().unwrap().as_second(), seconds);
        }
    }
}
