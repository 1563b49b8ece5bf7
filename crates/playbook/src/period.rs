//! Lengths of time, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time: `500ms`, `30s`, `10m`, `1h 30m`, `24h`; at most 720h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Period(#[schemars(with = "String")] Duration);

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no length of time: expected the form 500ms, 30s, 10m, 1h 30m or 24h, and at most 720h")]
pub struct PeriodError(String);

const LONGEST: Duration = Duration::from_hours(720);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let error = || PeriodError(text.chars().take(80).collect());
        let duration: SignedDuration = text.parse().map_err(|_| error())?;
        let duration = Duration::try_from(duration).map_err(|_| error())?;
        if text.starts_with(['P', '-', '+']) || duration > LONGEST { Err(error()) } else { Ok(Self(duration)) }
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_them() {
        for (text, millis, again) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("90m", 5_400_000, "1h 30m"),
            ("1h 30m", 5_400_000, "1h 30m"),
            ("24h", 86_400_000, "24h"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.duration(), Duration::from_millis(millis), "{text}");
            assert_eq!(period.to_string(), again);
            assert_eq!(again.parse::<Period>(), Ok(period));
        }
        for text in ["", "5", "PT5S", "-5s", "5s ago", "721h", "ten minutes", "1 month"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
