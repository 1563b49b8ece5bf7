//! The plan against a model written from the definitions, and what it promises whatever the policy.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{BackupId, BackupState, RetentionPolicy};
use proptest::prelude::*;

use crate::retention::{Doubt, Known, Lock, Reason, Verdict, plan};

const START: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn known(second: i64, number: i64) -> Known {
    let sequence = number.cast_unsigned();
    Known {
        id: BackupId::new(at(second - 60), sequence),
        stored: at(second),
        started: at(second - 60),
        finished: at(second - 1),
        sequence,
        state: BackupState::Complete,
        verified: false,
        damaged: false,
        lock: None,
        bytes: 1,
    }
}

fn sound(backup: &Known) -> bool {
    backup.state == BackupState::Complete && !backup.damaged
}

fn kept(verdicts: &[Verdict]) -> BTreeSet<BackupId> {
    verdicts.iter().filter(|verdict| verdict.keeps()).map(|verdict| verdict.backup.id.clone()).collect()
}

fn ids<'a>(backups: impl IntoIterator<Item = &'a Known>) -> BTreeSet<BackupId> {
    backups.into_iter().map(|backup| backup.id.clone()).collect()
}

/// The model: each rule by counting what is newer, with calendars in words.
mod reference {
    use super::*;

    pub(super) fn believed(backup: &Known, now: Timestamp) -> bool {
        let hour = SignedDuration::from_hours(1);
        let near = |a: Timestamp, b: Timestamp, by: SignedDuration| a <= b + by && b <= a + by;
        backup.stored <= now + hour
            && near(backup.finished, backup.stored, hour)
            && near(backup.id.started().unwrap(), backup.started, SignedDuration::from_secs(1))
            && backup.started <= backup.finished + hour
    }

    fn newer(a: &Known, b: &Known) -> bool {
        (a.stored, a.sequence, &a.id) > (b.stored, b.sequence, &b.id)
    }

    fn name(backup: &Known, form: &str) -> String {
        if form.is_empty() {
            return backup.id.to_string();
        }
        backup.stored.to_zoned(TimeZone::UTC).strftime(form).to_string()
    }

    /// How many periods with backups of this sort are newer than the backup's; none where it is not the newest of its own.
    fn rank(all: &[&Known], backup: &Known, form: &str) -> Option<usize> {
        let same: Vec<&&Known> = all.iter().filter(|other| sound(other) == sound(backup)).collect();
        let mine = name(backup, form);
        if same.iter().any(|other| newer(other, backup) && name(other, form) == mine) {
            return None;
        }
        let later: BTreeSet<String> =
            same.iter().filter(|other| newer(other, backup)).map(|other| name(other, form)).collect();
        Some(later.len())
    }

    fn rule_keeps(all: &[&Known], backup: &Known, count: u32, form: &str) -> bool {
        let count = usize::try_from(count).unwrap();
        let within = |backup: &Known| rank(all, backup, form).is_some_and(|rank| rank < count);
        if sound(backup) || !within(backup) {
            return within(backup);
        }
        let complete: Vec<&&Known> = all.iter().filter(|other| sound(other) && within(other)).collect();
        complete.len() < count || complete.iter().any(|other| newer(backup, other))
    }

    pub(super) fn kept(backups: &[Known], policy: &RetentionPolicy, now: Timestamp) -> BTreeSet<BackupId> {
        let all: Vec<&Known> = backups.iter().filter(|backup| believed(backup, now)).collect();
        let newest = all.iter().map(|backup| backup.stored).max();
        let rules = [
            (policy.keep_last, ""),
            (policy.keep_hourly, "%Y-%m-%d %H"),
            (policy.keep_daily, "%Y-%m-%d"),
            (policy.keep_weekly, "%G-W%V"),
            (policy.keep_monthly, "%Y-%m"),
            (policy.keep_yearly, "%Y"),
        ];
        let place = |backup: &Known, of: &dyn Fn(&Known) -> bool| {
            let ahead = all.iter().filter(|other| of(other) && newer(other, backup)).count();
            of(backup).then_some(u32::try_from(ahead).unwrap())
        };
        let proved = |backup: &Known| sound(backup) && backup.verified;
        let few = all.iter().filter(|backup| proved(backup)).count() < usize::try_from(policy.min_verified).unwrap();
        let stays = |backup: &Known| {
            !believed(backup, now)
                || backup.lock.is_some()
                || !policy.has_rules()
                || rules.iter().any(|(count, form)| rule_keeps(&all, backup, *count, form))
                || policy.keep_within.as_ref().is_some_and(|age| backup.stored >= age.before(newest.unwrap().min(now)))
                || place(backup, &|_| true) == Some(0)
                || place(backup, &sound).is_some_and(|place| place < policy.min_backups.max(1))
                || place(backup, &|other| other.verified) == Some(0)
                || place(backup, &proved).is_some_and(|place| place < policy.min_verified.max(1))
                || (few && sound(backup))
        };
        ids(backups.iter().filter(|backup| stays(backup)))
    }
}

fn backup() -> impl Strategy<Value = (i64, u8, bool, bool, i64, bool)> {
    // Days apart, hours apart, and seconds apart.
    let second = prop_oneof![
        (0_i64..900).prop_map(|day| day * 86_400),
        (0_i64..96).prop_map(|hour| hour * 3_600),
        0_i64..20,
        0_i64..70_000_000
    ];
    let claims = prop_oneof![8 => Just(0_i64), 1 => -100_000_000_i64..100_000_000];
    (second, 0_u8..4, any::<bool>(), proptest::bool::weighted(0.1), claims, proptest::bool::weighted(0.1))
}

prop_compose! {
    fn backups(most: usize)(drawn in proptest::collection::vec(backup(), 0..most)) -> Vec<Known> {
        let made = drawn.into_iter().enumerate().map(|(place, (second, partial, verified, damaged, off, locked))| {
            let mut backup = known(START + second, i64::try_from(place).unwrap() + 1);
            if partial == 0 {
                backup.state = BackupState::Partial;
            }
            backup.verified = verified && !damaged;
            backup.damaged = damaged;
            backup.finished = at(START + second - 1 + off);
            backup.lock = locked.then_some(Lock::LegalHold);
            backup
        });
        made.collect()
    }
}

prop_compose! {
    fn policies()(
        counts in proptest::array::uniform6(prop_oneof![3 => Just(0_u32), 2 => 1_u32..6]),
        within in proptest::option::weighted(0.2, prop_oneof![Just("36h"), Just("40d"), Just("2mo"), Just("1y")]),
        floor in 1_u32..4,
        proved in 0_u32..4,
    ) -> RetentionPolicy {
        let [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly] = counts;
        RetentionPolicy {
            keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly,
            keep_within: within.map(|text| text.parse().unwrap()),
            min_backups: floor,
            min_verified: proved,
            ..RetentionPolicy::default()
        }
    }
}

/// Now is sometimes before the newest, as where a clock is behind.
fn now() -> impl Strategy<Value = Timestamp> {
    prop_oneof![5 => Just(at(START + 90_000_000)), 1 => (0_i64..90_000_000).prop_map(|second| at(START + second))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn it_is_what_the_definitions_say(backups in backups(30), policy in policies(), now in now()) {
        prop_assert_eq!(kept(&plan(&backups, &policy, now)), reference::kept(&backups, &policy, now));
    }

    #[test]
    fn the_last_good_ones_stay(backups in backups(20), policy in policies(), now in now()) {
        let verdicts = plan(&backups, &policy, now);
        prop_assert_eq!(verdicts.len(), backups.len());
        let stays = kept(&verdicts);
        let newest = |of: &dyn Fn(&Known) -> bool| {
            let dated = backups.iter().filter(|backup| reference::believed(backup, now) && of(backup));
            dated.max_by_key(|backup| (backup.stored, backup.sequence)).map(|backup| backup.id.clone())
        };
        for last in [newest(&sound), newest(&|b| b.verified), newest(&|b| b.verified && sound(b)), newest(&|_| true)] {
            prop_assert!(last.is_none_or(|id| stays.contains(&id)));
        }
        prop_assert!(ids(backups.iter().filter(|b| b.lock.is_some())).is_subset(&stays));
        prop_assert!(ids(backups.iter().filter(|b| !reference::believed(b, now))).is_subset(&stays));
        prop_assert!(backups.is_empty() || !stays.is_empty());
        let proved = |set: &BTreeSet<BackupId>| backups.iter().filter(|b| sound(b) && b.verified && set.contains(&b.id)).count();
        let before = proved(&ids(&backups));
        prop_assert!(proved(&stays) >= before.min(usize::try_from(policy.min_verified).unwrap()));
    }

    /// What is planned once is done: a second plan removes nothing more, and the order of what is given is nothing.
    #[test]
    fn once_is_enough(backups in backups(20), policy in policies(), now in now()) {
        let first = plan(&backups, &policy, now);
        let left: Vec<Known> = first.iter().filter(|v| v.keeps()).map(|v| v.backup.clone()).collect();
        prop_assert_eq!(kept(&plan(&left, &policy, now)), ids(&left));
        let turned: Vec<Known> = backups.iter().rev().cloned().collect();
        prop_assert_eq!(plan(&turned, &policy, now), first);
    }

    /// Adding a backup: a misdated one changes nothing for others, one that is not sound removes no sound one, an older one
    /// removes none that is newer, and a sound one takes one place of each rule at most.
    #[test]
    fn a_backup_more_takes_at_most_its_own_places(
        backups in backups(20), policy in policies(), second in 0_i64..70_000_000, sort in 0_u8..4, off in 7_200_i64..99_000_000,
    ) {
        let now = at(START + 90_000_000);
        let mut more = known(START + second, 1_000);
        match sort {
            0 => more.finished = at(START + second - off),
            1 => more.finished = at(START + second + off),
            2 => more.state = BackupState::Partial,
            _ => {}
        }
        let before = kept(&plan(&backups, &policy, now));
        let with: Vec<Known> = backups.iter().cloned().chain([more.clone()]).collect();
        let after = kept(&plan(&with, &policy, now));
        let gone: Vec<&Known> = backups.iter().filter(|b| before.contains(&b.id) && !after.contains(&b.id)).collect();
        match sort {
            0 | 1 => prop_assert!(gone.is_empty() && after.contains(&more.id), "{gone:?}"),
            2 if policy.keep_within.is_none() => prop_assert!(gone.iter().all(|b| !sound(b)), "{gone:?}"),
            _ => {}
        }
        prop_assert!(gone.iter().all(|b| b.stored <= more.stored), "{gone:?}");
        if policy.keep_within.is_none() {
            // Six rules, minBackups, minVerified and the newest.
            prop_assert!(gone.iter().filter(|b| sound(b)).count() <= 9, "{gone:?}");
        }
    }

    /// A clock that is set wrong does not remove what a right one keeps.
    #[test]
    fn no_clock_removes_more(backups in backups(20), policy in policies(), wrong in 0_i64..400_000_000) {
        let right = at(START + 90_000_000);
        let ahead = kept(&plan(&backups, &policy, right + SignedDuration::from_secs(wrong)));
        prop_assert_eq!(kept(&plan(&backups, &policy, right)), ahead);
    }
}

#[test]
fn grandfather_father_and_son() {
    // Every six hours for two years.
    let end = START + 2 * 365 * 86_400;
    let backups: Vec<Known> = (0..4 * 730).map(|n| known(end - n * 21_600, 10_000 - n)).collect();
    let policy = RetentionPolicy {
        keep_daily: 7,
        keep_weekly: 5,
        keep_monthly: 12,
        keep_yearly: 3,
        ..RetentionPolicy::default()
    };
    let verdicts = plan(&backups, &policy, at(end));
    let of = |reason: &Reason| verdicts.iter().filter(|verdict| verdict.reasons.contains(reason)).count();
    let counts = [Reason::Daily, Reason::Weekly, Reason::Monthly, Reason::Yearly].map(|reason| of(&reason));
    assert_eq!(counts, [7, 5, 12, 3]);
    assert!(kept(&verdicts).len() <= 27);
    assert_eq!(verdicts[0].reasons, [Reason::Daily, Reason::Weekly, Reason::Monthly, Reason::Yearly]);
}

#[test]
fn invented_dates_push_nothing_out() {
    let now = at(START + 100 * 86_400);
    let policy = RetentionPolicy { keep_last: 3, keep_daily: 3, ..RetentionPolicy::default() };
    let good: Vec<Known> = (0..3).map(|day| known(START + day * 86_400, day + 1)).collect();
    let mut all = good.clone();
    for n in 0..50 {
        // Stored today, and said to be of other days, past and to come.
        let mut forged = known(START + 99 * 86_400 + n, 100 + n);
        let claimed = START + (n - 25) * 86_400;
        (forged.started, forged.finished) = (at(claimed - 60), at(claimed));
        forged.id = BackupId::new(forged.started, n.cast_unsigned());
        all.push(forged);
    }
    let verdicts = plan(&all, &policy, now);
    assert!(ids(&good).is_subset(&kept(&verdicts)));
    assert_eq!(verdicts.iter().filter(|verdict| verdict.doubt() == Some(Doubt::Claim)).count(), 50);
    // An id that says something else than the manifest, and one from the future of the store.
    let mut odd = known(START + 86_400, 7);
    odd.id = BackupId::new(at(START), 7);
    let late = known(START + 200 * 86_400, 8);
    let verdicts = plan(&[odd, late], &policy, now);
    assert_eq!(
        verdicts.iter().map(Verdict::doubt).collect::<Vec<_>>(),
        [Some(Doubt::Future), Some(Doubt::Contradiction)]
    );
}

#[test]
fn few_drills_hold_everything_back() {
    let now = at(START + 10 * 86_400);
    let mut backups: Vec<Known> = (0..6).map(|n| known(START + n * 3_600, n + 1)).collect();
    backups[1].verified = true;
    let policy = RetentionPolicy { keep_last: 1, min_verified: 2, ..RetentionPolicy::default() };
    assert_eq!(kept(&plan(&backups, &policy, now)).len(), 6);
    backups[3].verified = true;
    assert_eq!(kept(&plan(&backups, &policy, now)), ids([&backups[1], &backups[3], &backups[5]]));
    // One that a drill found damaged is no good one, however new.
    backups[5].damaged = true;
    assert_eq!(kept(&plan(&backups, &policy, now)), ids([&backups[1], &backups[3], &backups[4], &backups[5]]));
}
