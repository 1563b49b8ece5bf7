//! Minor versions of etcd, which is what its formats depend on.

use std::fmt;
use std::str::FromStr;

/// A major and a minor version, such as 3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor {
    /// The 3 of 3.6.
    pub major: u32,
    /// The 6 of 3.6.
    pub minor: u32,
}

/// The text does not begin with two numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a version such as 3.6.16")]
pub struct MinorError(String);

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Minor {
    type Err = MinorError;

    /// Reads `3.6`, `3.6.16` and `3.6.0-rc.1`.
    fn from_str(text: &str) -> Result<Self, MinorError> {
        let mut parts = text.split('.').map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => Err(MinorError(text.chars().take(80).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_etcd_writes_them() {
        for text in ["3.6", "3.6.16", "3.6.0-rc.1"] {
            assert_eq!(text.parse(), Ok(Minor { major: 3, minor: 6 }), "{text}");
        }
        for text in ["", "3", "v3.6", "3.x", "three.six", "99999999999.1"] {
            assert!(text.parse::<Minor>().is_err(), "{text}");
        }
        assert!(Minor { major: 3, minor: 10 } > Minor { major: 3, minor: 7 });
    }
}
