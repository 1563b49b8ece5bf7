//! Cron expressions of five fields, as the `CronJob`s of Kubernetes take them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// No expression that means anything is longer.
const MAX_BYTES: usize = 256;

/// When something is due: minute, hour, day of the month, month and day of the week, or one of `@hourly`, `@daily`
/// (`@midnight`), `@weekly`, `@monthly` and `@yearly` (`@annually`).
///
/// The form is that of `robfig/cron` 3.0.1, by which Kubernetes reads the schedules of `CronJob`s: numbers, names of months
/// and weekdays, lists, ranges, steps, and `*` or `?` for every value. Sunday is 0, and 7 is no weekday.
/// <https://github.com/robfig/cron/blob/v3.0.1/parser.go>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: String,
    fields: [CronField; 5],
}

/// The values that one field allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronField {
    bits: u64,
    /// It says `*` or `?`, and so nothing.
    star: bool,
}

impl CronField {
    /// The values, in order.
    pub fn values(self) -> impl Iterator<Item = u32> {
        (0..60).filter(move |value| self.bits >> value & 1 == 1)
    }

    /// Whether the field sets no bound: it is `*` or `?`, or has one of these in its list.
    pub fn is_star(self) -> bool {
        self.star
    }
}

/// A text that is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// A part of a field cannot be understood.
    #[error("'{expression}': {field}, at character {position}: {problem}")]
    Field {
        /// The whole expression.
        expression: String,
        /// The field.
        field: &'static str,
        /// Where the part begins, from 1.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The expression as a whole.
    #[error("'{expression}': {problem}")]
    Whole {
        /// The whole expression.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a field may hold.
struct Bounds {
    field: &'static str,
    min: u32,
    max: u32,
    /// Names of the values, from `min` on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Bounds; 5] = [
    Bounds { field: "minute", min: 0, max: 59, names: &[] },
    Bounds { field: "hour", min: 0, max: 23, names: &[] },
    Bounds { field: "day of the month", min: 1, max: 31, names: &[] },
    Bounds { field: "month", min: 1, max: 12, names: &MONTHS },
    Bounds { field: "day of the week", min: 0, max: 6, names: &WEEKDAYS },
];

impl CronExpression {
    /// The fields: minute, hour, day of the month, month, day of the week.
    pub fn fields(&self) -> &[CronField; 5] {
        &self.fields
    }
}

impl FromStr for CronExpression {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let whole = |problem: &str| CronError::Whole {
            expression: text.chars().take(80).collect(),
            problem: problem.to_owned(),
        };
        if text.len() > MAX_BYTES {
            return Err(whole("is too long for a cron expression"));
        }
        let spelt = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => {
                return Err(whole("expected one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"));
            }
            other if other.contains("TZ=") => return Err(whole("the time zone has a setting of its own, timeZone")),
            _ => text,
        };
        let words: Vec<&str> = spelt.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = words.as_slice() else {
            let problem = format!(
                "has {} fields, expected 5: minute, hour, day of the month, month, day of the week",
                words.len()
            );
            return Err(whole(&problem));
        };
        let mut fields = [CronField { bits: 0, star: false }; 5];
        for ((place, word), bounds) in fields.iter_mut().zip([minute, hour, day, month, weekday]).zip(&FIELDS) {
            *place = bounds.parse(spelt, word)?;
        }
        Ok(Self { text: text.to_owned(), fields })
    }
}

impl Bounds {
    fn parse(&self, expression: &str, word: &str) -> Result<CronField, CronError> {
        let mut field = CronField { bits: 0, star: false };
        for part in word.split(',') {
            let part_field = self.part(part).map_err(|problem| CronError::Field {
                expression: expression.to_owned(),
                field: self.field,
                position: position(expression, part),
                problem,
            })?;
            field.bits |= part_field.bits;
            field.star |= part_field.star;
        }
        Ok(field)
    }

    /// `*`, `?`, `N` or `N-M`, each with or without `/STEP`. `N/STEP` goes on to the last value.
    fn part(&self, part: &str) -> Result<CronField, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step_by = step.map_or(Ok(1), |step| match number(step) {
            Some(0) | None => Err(format!("'{step}' is no step: expected a number from 1")),
            Some(step) => Ok(step),
        })?;
        let (from, to, star) = match range.split_once('-') {
            None if range == "*" || range == "?" => (self.min, self.max, step_by == 1),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.max } else { value }, false)
            }
            Some((from, to)) => (self.value(from)?, self.value(to)?, false),
        };
        if from > to {
            return Err(format!("the range '{range}' ends before it begins"));
        }
        let bits = (from..=to).step_by(usize::try_from(step_by).unwrap_or(usize::MAX)).fold(0, |bits, v| bits | 1 << v);
        Ok(CronField { bits, star })
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let named = named.and_then(|place| u32::try_from(place).ok()).map(|place| place + self.min);
        let or_name = if self.names.is_empty() { "" } else { ", or a name of three letters" };
        match named.or_else(|| number(text)) {
            Some(value) if (self.min..=self.max).contains(&value) => Ok(value),
            _ => Err(format!("'{text}' is not from {} to {}{or_name}", self.min, self.max)),
        }
    }
}

/// Digits only: signs are no part of the form.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Where a part of a text begins, in characters from 1.
fn position(whole: &str, part: &str) -> usize {
    let bytes = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    whole.get(..bytes).map_or(0, |before| before.chars().count()) + 1
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl From<CronExpression> for String {
    fn from(expression: CronExpression) -> Self {
        expression.text
    }
}

impl TryFrom<String> for CronExpression {
    type Error = CronError;

    fn try_from(text: String) -> Result<Self, CronError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, field: usize) -> Vec<u32> {
        text.parse::<CronExpression>().unwrap().fields()[field].values().collect()
    }

    #[test]
    fn every_form_of_a_field() {
        assert_eq!(values("5 * * * *", 0), [5]);
        assert_eq!(values("1,3,5-7 * * * *", 0), [1, 3, 5, 6, 7]);
        assert_eq!(values("*/20 * * * *", 0), [0, 20, 40]);
        assert_eq!(values("50/4 * * * *", 0), [50, 54, 58]);
        assert_eq!(values("10-20/5 * * * *", 0), [10, 15, 20]);
        assert_eq!(values("* 9-17/4 * * *", 1), [9, 13, 17]);
        assert_eq!(values("* * ? JAN-mar,Dec *", 3), [1, 2, 3, 12]);
        assert_eq!(values("* * * * MON-Fri", 4), [1, 2, 3, 4, 5]);
        assert_eq!(values("*/4294967295 * * * *", 0), [0]);
        assert_eq!(values("  0   0 1 1 * ", 2), [1]);
        assert_eq!(values("@weekly", 4), [0]);
        assert_eq!(values("@hourly", 0), [0]);
    }

    #[test]
    fn a_star_with_a_step_is_a_bound() {
        let stars = |text: &str| text.parse::<CronExpression>().unwrap().fields().map(CronField::is_star);
        assert_eq!(stars("* ? */2 */1 *,1"), [true, true, false, true, true]);
        assert_eq!(stars("@daily"), [false, false, true, true, true]);
    }

    #[test]
    fn errors_name_the_field_and_the_position() {
        let error = |text: &str| text.parse::<CronExpression>().unwrap_err().to_string();
        insta::assert_snapshot!(error("61 * * * *"), @"'61 * * * *': minute, at character 1: '61' is not from 0 to 59");
        insta::assert_snapshot!(error("0 3,24 * * *"), @"'0 3,24 * * *': hour, at character 5: '24' is not from 0 to 23");
        insta::assert_snapshot!(error("0 0 0 * *"), @"'0 0 0 * *': day of the month, at character 5: '0' is not from 1 to 31");
        insta::assert_snapshot!(error("0 0 * foo *"), @"'0 0 * foo *': month, at character 7: 'foo' is not from 1 to 12, or a name of three letters");
        insta::assert_snapshot!(error("0 0 * * 7"), @"'0 0 * * 7': day of the week, at character 9: '7' is not from 0 to 6, or a name of three letters");
        insta::assert_snapshot!(error("9-5 * * * *"), @"'9-5 * * * *': minute, at character 1: the range '9-5' ends before it begins");
        insta::assert_snapshot!(error("*/0 * * * *"), @"'*/0 * * * *': minute, at character 1: '0' is no step: expected a number from 1");
        insta::assert_snapshot!(error("1-2-3 * * * *"), @"'1-2-3 * * * *': minute, at character 1: '2-3' is not from 0 to 59");
        insta::assert_snapshot!(error("+5 * * * *"), @"'+5 * * * *': minute, at character 1: '+5' is not from 0 to 59");
        insta::assert_snapshot!(error("0 0 * *"), @"'0 0 * *': has 4 fields, expected 5: minute, hour, day of the month, month, day of the week");
        insta::assert_snapshot!(error("@every 5m"), @"'@every 5m': expected one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually");
        insta::assert_snapshot!(error("TZ=UTC 0 0 * * *"), @"'TZ=UTC 0 0 * * *': the time zone has a setting of its own, timeZone");
        assert!("*".repeat(300).parse::<CronExpression>().is_err());
    }
}
