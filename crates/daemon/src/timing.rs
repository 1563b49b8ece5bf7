//! When a schedule is due.

use chrono::{DateTime, Utc};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{Age, CronExpression};

use crate::error::Error;

/// Changes of a time zone's offset that are looked past. Rare expressions, as of the 29th of February, lie years ahead.
const TRANSITIONS: usize = 400;
/// Due times are counted up to this many.
const MOST_COUNTED: u64 = 10_000;

/// A cron expression in its time zone.
///
/// Daylight saving is as in the `CronJobs` of Kubernetes: a time of the day that is skipped is not due on that day, and one
/// that comes twice is due twice. <https://github.com/robfig/cron/blob/v3.0.1/spec.go>
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// It is due when any of them is.
    alternatives: Vec<cron::Schedule>,
    zone: TimeZone,
}

/// Due times one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DueTimes {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// The one before the last, where there are more than one.
    pub(crate) before_last: Option<Timestamp>,
    /// How many; more than [`MOST_COUNTED`] are not counted.
    pub(crate) count: u64,
}

impl Timing {
    /// Prepares an expression, and finds out whether it is ever due after `now`.
    pub(crate) fn new(expression: &CronExpression, zone: Option<&str>, now: Timestamp) -> Result<Self, Error> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| Error::Config(format!("there is no time zone '{name}'")))?,
        };
        let translated = translated(expression);
        let alternatives: Result<Vec<cron::Schedule>, _> = translated.iter().map(|text| text.parse()).collect();
        let alternatives = alternatives.map_err(|error| Error::Config(format!("'{expression}': {error}")))?;
        let timing = Self { alternatives, zone };
        match timing.after(now) {
            Some(_) => Ok(timing),
            None => Err(Error::Config(format!("'{expression}' is never due"))),
        }
    }

    /// The first due time after that moment.
    pub(crate) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        // Between two changes of the offset, local time and time go side by side.
        let mut changes = self.zone.following(moment);
        let mut offset = self.zone.to_offset(moment).seconds();
        let mut passed = moment.as_second();
        for _ in 0..TRANSITIONS {
            let change = changes.next();
            let wall = self.wall_after(passed + i64::from(offset))?;
            let due = Timestamp::from_second(wall - i64::from(offset)).ok()?;
            match change {
                Some(change) if due >= change.timestamp() => {
                    offset = change.offset().seconds();
                    passed = change.timestamp().as_second() - 1;
                }
                _ => return Some(due),
            }
        }
        None
    }

    /// The first local time after another, both in seconds as if it were UTC.
    fn wall_after(&self, wall: i64) -> Option<i64> {
        let wall = DateTime::<Utc>::from_timestamp(wall, 0)?;
        let next = self.alternatives.iter().filter_map(|schedule| schedule.after(&wall).next());
        next.min().map(|next| next.timestamp())
    }

    /// All due times after one moment and up to another.
    pub(crate) fn within(&self, after: Timestamp, until: Timestamp) -> Option<DueTimes> {
        let first = self.after(after).filter(|due| *due <= until)?;
        let mut times = DueTimes { first, last: first, before_last: None, count: 1 };
        while let Some(next) = self.after(times.last).filter(|due| *due <= until) {
            if times.count == MOST_COUNTED {
                let (before_last, last) = self.latest(times.last, until);
                return Some(DueTimes { last, before_last: Some(before_last), ..times });
            }
            times = DueTimes { last: next, before_last: Some(times.last), count: times.count + 1, ..times };
        }
        Some(times)
    }

    /// The last two due times up to a moment, where `known` is one and there are more.
    fn latest(&self, known: Timestamp, until: Timestamp) -> (Timestamp, Timestamp) {
        let mut back = SignedDuration::from_hours(1);
        let mut before = known;
        while let Some(from) = until.checked_sub(back).ok().filter(|from| *from > known) {
            // Two of them have to lie in what is looked through.
            if let Some(due) = self.after(from).filter(|due| self.after(*due).is_some_and(|next| next <= until)) {
                before = due;
                break;
            }
            back = back.saturating_mul(2);
        }
        let mut last = before;
        while let Some(next) = self.after(last).filter(|due| *due <= until) {
            (before, last) = (last, next);
        }
        (before, last)
    }
}

/// The expression as the crate `cron` takes it: with seconds, and weekdays from 1, which is Sunday. It wants both days to
/// fit, where cron wants either if both are bounded; that takes two expressions.
fn translated(expression: &CronExpression) -> Vec<String> {
    let [minute, hour, day, month, weekday] = expression.fields();
    let list = |field: &lifeboat_model::CronField, shift: u32| {
        field.values().map(|value| (value + shift).to_string()).collect::<Vec<_>>().join(",")
    };
    let times = |day: &str, weekday: &str| {
        format!("0 {} {} {day} {} {weekday}", list(minute, 0), list(hour, 0), list(month, 0))
    };
    let (days, weekdays) = (list(day, 0), list(weekday, 1));
    if day.is_star() || weekday.is_star() {
        vec![times(&days, &weekdays)]
    } else {
        vec![times(&days, "*"), times("*", &weekdays)]
    }
}

/// By how much a run begins later than it is due: less than `most` and than the time to the next one, and the same for
/// everybody who asks.
pub(crate) fn jitter(schedule: &str, due: Timestamp, most: &Age, next: Option<Timestamp>) -> SignedDuration {
    let room = |until: Timestamp| until.duration_since(due).as_millis() - 1000;
    let most = due.duration_since(most.before(due)).as_millis();
    let most = next.map_or(most, |next| most.min(room(next)));
    let Ok(most) = u64::try_from(most) else { return SignedDuration::ZERO };
    let draw = spread(schedule, due) % most.saturating_add(1);
    SignedDuration::from_millis(i64::try_from(draw).unwrap_or_default())
}

/// A number that follows from its arguments, in this and every other version of the program: FNV-1a, its bits mixed.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
pub(crate) fn spread(schedule: &str, due: Timestamp) -> u64 {
    let seconds = due.as_second().to_le_bytes();
    let hash = schedule
        .bytes()
        .chain(seconds)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use croner::Cron;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn timing(expression: &str, zone: &str) -> Timing {
        Timing::new(&expression.parse().unwrap(), Some(zone), at("2000-01-01T00:00:00Z")).unwrap()
    }

    fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let timing = timing(expression, zone);
        let times = std::iter::successors(timing.after(at(after)), |due| timing.after(*due));
        times.take(count).map(|due| due.to_zoned(timing.zone.clone()).to_string()).collect()
    }

    /// As `TestNext` of robfig/cron has it, by which Kubernetes goes: an hour that is skipped has no runs.
    /// <https://github.com/robfig/cron/blob/v3.0.1/spec_test.go>
    #[test]
    fn an_hour_that_is_skipped_has_no_due_times() {
        let zone = "America/New_York";
        assert_eq!(
            next("30 2 11 3 ?", zone, "2012-03-11T00:00:00-05:00", 1),
            ["2013-03-11T02:30:00-04:00[America/New_York]"]
        );
        assert_eq!(
            next("0 * * * *", zone, "2012-03-11T00:00:00-05:00", 3),
            [
                "2012-03-11T01:00:00-05:00[America/New_York]",
                "2012-03-11T03:00:00-04:00[America/New_York]",
                "2012-03-11T04:00:00-04:00[America/New_York]",
            ]
        );
        assert_eq!(
            next("0 2 * * *", zone, "2012-03-11T00:00:00-05:00", 1),
            ["2012-03-12T02:00:00-04:00[America/New_York]"]
        );
    }

    /// From the same tests: an hour that comes twice has its runs twice.
    #[test]
    fn an_hour_that_comes_twice_has_its_due_times_twice() {
        let zone = "America/New_York";
        assert_eq!(
            next("30 2 4 11 ?", zone, "2012-11-04T00:00:00-04:00", 1),
            ["2012-11-04T02:30:00-05:00[America/New_York]"]
        );
        assert_eq!(
            next("0 1 * * ?", zone, "2012-11-04T00:00:00-04:00", 3),
            [
                "2012-11-04T01:00:00-04:00[America/New_York]",
                "2012-11-04T01:00:00-05:00[America/New_York]",
                "2012-11-05T01:00:00-05:00[America/New_York]",
            ]
        );
        assert_eq!(
            next("45 1 * * *", zone, "2012-11-04T01:45:00-04:00", 1),
            ["2012-11-04T01:45:00-05:00[America/New_York]"]
        );
    }

    #[test]
    fn offsets_of_parts_of_an_hour() {
        // Lord Howe moves its clocks by half an hour.
        assert_eq!(
            next("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
            ["2026-10-05T02:15:00+11:00[Australia/Lord_Howe]", "2026-10-06T02:15:00+11:00[Australia/Lord_Howe]",]
        );
        assert_eq!(
            next("0 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", 1),
            ["2026-01-02T00:00:00+05:45[Asia/Kathmandu]"]
        );
    }

    #[test]
    fn either_day_is_enough_where_both_are_bounded() {
        assert_eq!(
            next("0 0 13 * FRI", "UTC", "2026-11-01T00:00:00Z", 3),
            ["2026-11-06T00:00:00+00:00[UTC]", "2026-11-13T00:00:00+00:00[UTC]", "2026-11-20T00:00:00+00:00[UTC]",]
        );
        assert_eq!(
            next("0 0 */15 * *", "UTC", "2026-11-01T00:00:00Z", 2),
            ["2026-11-16T00:00:00+00:00[UTC]", "2026-12-01T00:00:00+00:00[UTC]",]
        );
    }

    #[test]
    fn what_is_never_due_and_what_is_nowhere_is_refused() {
        let new = |expression: &str, zone: Option<&str>| {
            let made = Timing::new(&expression.parse().unwrap(), zone, at("2026-11-21T00:00:00Z"));
            made.map(|timing| timing.after(at("2026-11-21T00:00:00Z")).unwrap().to_string())
        };
        assert_eq!(new("0 0 31 2 *", None).unwrap_err().to_string(), "'0 0 31 2 *' is never due");
        assert_eq!(
            new("@daily", Some("Europe/Berlyn")).unwrap_err().to_string(),
            "there is no time zone 'Europe/Berlyn'"
        );
        assert_eq!(new("0 0 29 2 *", Some("Europe/Berlin")).unwrap(), "2028-02-28T23:00:00Z");
    }

    #[test]
    fn due_times_of_a_long_while_are_found_without_counting_them_all() {
        let timing = timing("* * * * *", "Europe/Berlin");
        let times = timing.within(at("2025-01-01T00:00:30Z"), at("2026-01-01T00:00:30Z")).unwrap();
        assert_eq!(
            times,
            DueTimes {
                first: at("2025-01-01T00:01:00Z"),
                last: at("2026-01-01T00:00:00Z"),
                before_last: Some(at("2025-12-31T23:59:00Z")),
                count: MOST_COUNTED
            }
        );
        assert_eq!(timing.within(at("2025-01-01T00:00:30Z"), at("2025-01-01T00:00:40Z")), None);
    }

    #[test]
    fn jitter_is_the_same_for_everybody_and_stays_within_its_bounds() {
        let most: Age = "5m".parse().unwrap();
        let due = at("2026-11-21T03:00:00Z");
        assert_eq!(jitter("nightly", due, &most, None).as_millis(), 67_361);
        assert_ne!(jitter("weekly", due, &most, None), jitter("nightly", due, &most, None));
        let next = at("2026-11-21T03:00:10Z");
        for minute in 0..1000 {
            let due = due + SignedDuration::from_mins(minute);
            assert!(jitter("nightly", due, &most, None) <= SignedDuration::from_mins(5));
            assert!(
                due + jitter("nightly", due, &most, Some(due + SignedDuration::from_secs(10)))
                    < due + SignedDuration::from_secs(10)
            );
        }
        assert_eq!(jitter("nightly", due, &most, Some(next - SignedDuration::from_secs(20))), SignedDuration::ZERO);
    }

    /// A field as a list of values and ranges with and without steps.
    fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
        let part = prop_oneof![
            3 => Just("*".to_owned()),
            3 => (min..=max).prop_map(|value| value.to_string()),
            1 => (min..=max, 1..20_u32).prop_map(move |(from, step)| format!("{from}-{max}/{step}")),
            1 => (1..20_u32).prop_map(|step| format!("*/{step}")),
            2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        ];
        // The other library takes no star beside anything else.
        let alone = |part: &String| part.starts_with('*');
        prop::collection::vec(part, 1..3).prop_map(move |parts| match parts.iter().find(|part| alone(part)) {
            Some(star) => star.clone(),
            None => parts.join(","),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Another library finds the same times. It takes `*/2` of a day for no bound, and 7 for Sunday, where Kubernetes
        /// does not: of such days only one is bounded here.
        #[test]
        fn another_library_finds_the_same_times(
            minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12),
            weekday in prop_oneof![3 => Just("*".to_owned()), 2 => (0..6_u32).prop_map(|d| d.to_string()), 1 => Just("MON-FRI".to_owned())],
            start in 1_577_836_800_i64..1_893_456_000,
        ) {
            let day = if weekday == "*" || day.bytes().all(|b| b.is_ascii_digit()) { day } else { "*".to_owned() };
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let start = Timestamp::from_second(start).unwrap();
            let other = Cron::from_str(&text).unwrap();
            let Ok(ours) = Timing::new(&text.parse().unwrap(), None, start) else {
                prop_assert!(other.find_next_occurrence(&start.to_zoned(TimeZone::UTC), false).is_err());
                return Ok(());
            };
            let mut moment = start;
            for _ in 0..20 {
                let expected = other.find_next_occurrence(&moment.to_zoned(TimeZone::UTC), false).unwrap().timestamp();
                moment = ours.after(moment).unwrap();
                prop_assert_eq!(moment, expected, "{}", text);
            }
        }

        /// Each due time fits the expression by the local clock, and none between two does.
        #[test]
        fn due_times_are_those_whose_local_time_fits(
            minute in field(0, 59), hour in field(0, 23), start in 1_577_836_800_i64..1_893_456_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
        ) {
            let expression: CronExpression = format!("{minute} {hour} * * *").parse().unwrap();
            let start = Timestamp::from_second(start - start % 60).unwrap();
            let timing = Timing::new(&expression, Some(zone), start).unwrap();
            let fits = |moment: Timestamp| {
                let local = moment.to_zoned(timing.zone.clone());
                let [minutes, hours, ..] = expression.fields();
                minutes.values().any(|m| i64::from(m) == i64::from(local.minute()))
                    && hours.values().any(|h| i64::from(h) == i64::from(local.hour()))
            };
            let mut expected = start + SignedDuration::from_mins(1);
            while !fits(expected) {
                expected += SignedDuration::from_mins(1);
            }
            prop_assert_eq!(timing.after(start), Some(expected));
        }
    }
}
