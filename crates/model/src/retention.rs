//! Which backups are kept: the policy, as the configuration has it.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, SpanFieldwise, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which backups are kept. A backup that one of the rules keeps stays; without a rule all stay.
///
/// Grandfather, father, son, as restic has it: of each hour, day, week, month or year in which there are backups the
/// newest is kept, for so many of the newest of them. <https://restic.readthedocs.io/en/stable/060_forget.html>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetentionPolicy {
    /// Keep so many of the newest.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_last: u32,
    /// Keep the newest of each of so many hours.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_hourly: u32,
    /// Keep the newest of each of so many days, of UTC.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_daily: u32,
    /// Keep the newest of each of so many weeks, from Monday on.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_weekly: u32,
    /// Keep the newest of each of so many months.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_monthly: u32,
    /// Keep the newest of each of so many years.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_yearly: u32,
    /// Keep all that are at most so much older than the newest: `36h`, `14d`, `8w`, `6mo`, `1y 6mo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<Age>,
    /// Whatever the rules say, keep at least so many complete ones.
    #[schemars(range(min = 1))]
    pub min_backups: u32,
    /// Remove no complete backup that would leave fewer than so many which a drill has verified. While there are not as
    /// many, no complete one is removed.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_verified: u32,
    /// What a backup that was never finished has left is removed after so long, from `1h` on: longer than any backup takes.
    pub unfinished_after: Age,
    /// A backup that is removed is not listed any more at once, and its bytes go at the first prune that is so much later; at
    /// once where absent. Until then whoever reads it can go on, and it can be brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_after: Option<Age>,
    /// In a bucket with versions, end the old versions of what is removed, too: there is no way back then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub purge_versions: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "of the shape that serde asks for")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            keep_last: 0,
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_within: None,
            min_backups: 1,
            min_verified: 0,
            unfinished_after: Age(Span::new().days(1).fieldwise()),
            remove_after: None,
            purge_versions: false,
        }
    }
}

impl RetentionPolicy {
    /// Whether there is any rule by which a backup may go.
    pub fn has_rules(&self) -> bool {
        let counts =
            [self.keep_last, self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly];
        counts.iter().any(|count| *count > 0) || self.keep_within.is_some()
    }

    /// What is wrong with it, a sentence for each fault.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.min_backups == 0 {
            faults.push("retention.minBackups: at least 1 stays".to_owned());
        }
        let now = Timestamp::UNIX_EPOCH;
        if self.unfinished_after.before(now) > Age(Span::new().hours(1).fieldwise()).before(now) {
            faults.push(format!("retention.unfinishedAfter: {} is less than 1h", self.unfinished_after));
        }
        faults
    }
}

/// A length of time, in units of the calendar: `36h`, `14d`, `6mo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Age(#[schemars(with = "String")] SpanFieldwise);

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no length of time: expected the form 36h, 14d, 8w, 6mo or 1y")]
pub struct AgeError(String);

impl Age {
    /// So many hours.
    pub fn hours(hours: u32) -> Self {
        Self(Span::new().hours(i64::from(hours.max(1))).fieldwise())
    }

    /// The moment that lies so long before another one, in UTC; the earliest there is where it would lie before that.
    pub fn before(&self, moment: Timestamp) -> Timestamp {
        let earlier = moment.to_zoned(TimeZone::UTC).checked_sub(self.0.0);
        earlier.map_or(Timestamp::MIN, |earlier| earlier.timestamp())
    }

    /// The moment that lies so long after another one, in UTC; the latest there is where it would lie after that.
    pub fn after(&self, moment: Timestamp) -> Timestamp {
        let later = moment.to_zoned(TimeZone::UTC).checked_add(self.0.0);
        later.map_or(Timestamp::MAX, |later| later.timestamp())
    }
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        match text.parse::<Span>() {
            Ok(span) if span.is_positive() => Ok(Self(span.fieldwise())),
            _ => Err(AgeError(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0.0)
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
    }
}

impl TryFrom<String> for Age {
    type Error = AgeError;

    fn try_from(text: String) -> Result<Self, AgeError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_reach_back_by_the_calendar() {
        let moment: Timestamp = "2026-03-31T12:00:00Z".parse().unwrap();
        for (text, before) in [
            ("36h", "2026-03-30T00:00:00Z"),
            ("14d", "2026-03-17T12:00:00Z"),
            ("8w", "2026-02-03T12:00:00Z"),
            ("1mo", "2026-02-28T12:00:00Z"),
            ("1y 6mo", "2024-09-30T12:00:00Z"),
        ] {
            let age: Age = text.parse().unwrap();
            assert_eq!(age.before(moment), before.parse().unwrap(), "{text}");
            assert_eq!(age.to_string().parse::<Age>().unwrap(), age, "{text}");
        }
        assert_eq!("19000y".parse::<Age>().unwrap().before(moment), Timestamp::MIN);
        assert_eq!("19000y".parse::<Age>().unwrap().after(moment), Timestamp::MAX);
        assert_eq!("1mo".parse::<Age>().unwrap().after(moment), "2026-04-30T12:00:00Z".parse().unwrap());
    }

    #[test]
    fn what_is_no_age_is_refused() {
        for text in ["", "0d", "-3d", "3", "soon", "3 d ago", "1d -1h"] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_of_nothing_has_no_rules() {
        let policy = RetentionPolicy::default();
        assert!(!policy.has_rules());
        assert_eq!(policy.faults(), Vec::<String>::new());
        assert!(RetentionPolicy { keep_yearly: 1, ..policy.clone() }.has_rules());
        let bad = RetentionPolicy { min_backups: 0, unfinished_after: "59m".parse().unwrap(), ..policy };
        assert_eq!(bad.faults().len(), 2);
    }
}
