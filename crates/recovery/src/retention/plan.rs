//! Which backups stay, and why: a pure function of what is known of them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{BackupId, BackupState, RetentionPolicy};

/// How far the date in a manifest may be from the store's. S3 refuses requests whose clock is 15 minutes off, and the
/// manifest is written last, within moments.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

/// What retention knows of a backup whose manifest can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: BackupId,
    /// When its manifest was stored, by the store's clock: the date that counts.
    pub stored: Timestamp,
    /// When it was begun, as the manifest has it.
    pub started: Timestamp,
    /// When it was complete, as the manifest has it.
    pub finished: Timestamp,
    /// Its place in the chain.
    pub sequence: u64,
    /// Whether it has all that was expected.
    pub state: BackupState,
    /// A drill has proved that it restores.
    pub verified: bool,
    /// The newest drill that says anything of it found it damaged.
    pub damaged: bool,
    /// What holds it against removal.
    pub lock: Option<Lock>,
    /// Bytes that it takes in the store.
    pub bytes: u64,
}

/// What holds a backup against removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// A retention of the store, until then.
    Until(Timestamp),
    /// A legal hold.
    LegalHold,
    /// Somebody holds it, for that reason.
    Held(Option<String>),
    /// Whether there is any could not be found out.
    Unknown(String),
}

/// Why the dates of a backup are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The store has it from a time that is still to come.
    Future,
    /// Its manifest claims another time than the store's.
    Claim,
    /// Its manifest contradicts itself.
    Contradiction,
}

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The policy has no rules.
    NoRules,
    /// `keepLast`.
    Last,
    /// `keepHourly`.
    Hourly,
    /// `keepDaily`.
    Daily,
    /// `keepWeekly`.
    Weekly,
    /// `keepMonthly`.
    Monthly,
    /// `keepYearly`.
    Yearly,
    /// `keepWithin`.
    Within,
    /// `minBackups`.
    MinBackups,
    /// `minVerified`: it is one of those.
    MinVerified,
    /// `minVerified`: there are not as many, so no complete one goes.
    AwaitsDrills,
    /// No complete one is newer.
    NewestComplete,
    /// No verified one is newer.
    NewestVerified,
    /// None at all is newer.
    Newest,
    /// The store holds it.
    Locked(Lock),
    /// Its dates are not believed, so no rule can judge it.
    Misdated(Doubt),
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The backup.
    pub backup: Known,
    /// Why it stays; it goes where there is no reason.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether it stays.
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Why its dates are not believed.
    pub fn doubt(&self) -> Option<Doubt> {
        self.reasons.iter().find_map(|reason| if let Reason::Misdated(doubt) = reason { Some(*doubt) } else { None })
    }

    /// Complete, and not found damaged.
    fn is_sound(&self) -> bool {
        self.backup.state == BackupState::Complete && !self.backup.damaged
    }
}

/// Decides about every backup, newest first.
///
/// Dates are the store's. A backup whose manifest claims another time stays and takes no other's place, so that nobody
/// can push good backups out by adding ones of invented dates. Partial and damaged ones are counted apart and take no
/// place of a complete one. `keepWithin` reckons from the newest backup and not from `now`: where no more come in, none
/// goes, and a clock that runs ahead removes nothing.
pub fn plan(backups: &[Known], policy: &RetentionPolicy, now: Timestamp) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> =
        backups.iter().map(|backup| Verdict { backup: backup.clone(), reasons: Vec::new() }).collect();
    verdicts.sort_by(|a, b| order(&b.backup).cmp(&order(&a.backup)));
    for verdict in &mut verdicts {
        verdict.reasons.extend(doubt(&verdict.backup, now).map(Reason::Misdated));
    }
    let mut dated: Vec<&mut Verdict> = verdicts.iter_mut().filter(|verdict| verdict.doubt().is_none()).collect();
    if policy.has_rules() {
        rules(&mut dated, policy, now);
        guards(&mut dated, policy);
    } else {
        hold(&mut dated, usize::MAX, &Reason::NoRules, |_| true);
    }
    for verdict in &mut verdicts {
        verdict.reasons.extend(verdict.backup.lock.clone().map(Reason::Locked));
    }
    verdicts
}

/// Backups of one moment, as stores date to the second, are in the order of the chain.
fn order(backup: &Known) -> (Timestamp, u64, &BackupId) {
    (backup.stored, backup.sequence, &backup.id)
}

fn doubt(backup: &Known, now: Timestamp) -> Option<Doubt> {
    let apart = |a: Timestamp, b: Timestamp| a.duration_since(b).abs();
    let of_its_id = backup.id.started().is_some_and(|id| apart(id, backup.started) <= SignedDuration::from_secs(1));
    if backup.stored.duration_since(now) > TOLERANCE {
        Some(Doubt::Future)
    } else if apart(backup.finished, backup.stored) > TOLERANCE {
        Some(Doubt::Claim)
    } else if !of_its_id || backup.started.duration_since(backup.finished) > TOLERANCE {
        Some(Doubt::Contradiction)
    } else {
        None
    }
}

/// The hour, day, week, month or year of a date, as a number that grows with it.
type Period = fn(Timestamp) -> i64;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn week(stored: Timestamp) -> i64 {
    // The first day of the epoch was a Thursday.
    (stored.as_second().div_euclid(DAY) + 3).div_euclid(7)
}

fn month(stored: Timestamp) -> i64 {
    let date = stored.to_zoned(TimeZone::UTC).date();
    i64::from(date.year()) * 12 + i64::from(date.month())
}

fn year(stored: Timestamp) -> i64 {
    i64::from(stored.to_zoned(TimeZone::UTC).date().year())
}

fn rules(dated: &mut [&mut Verdict], policy: &RetentionPolicy, now: Timestamp) {
    let periods: [(u32, Reason, Period); 5] = [
        (policy.keep_hourly, Reason::Hourly, |stored| stored.as_second().div_euclid(HOUR)),
        (policy.keep_daily, Reason::Daily, |stored| stored.as_second().div_euclid(DAY)),
        (policy.keep_weekly, Reason::Weekly, week),
        (policy.keep_monthly, Reason::Monthly, month),
        (policy.keep_yearly, Reason::Yearly, year),
    ];
    keep(dated, policy.keep_last, &Reason::Last, None);
    for (count, reason, period) in periods {
        keep(dated, count, &reason, Some(period));
    }
    if let (Some(age), Some(newest)) = (&policy.keep_within, dated.first().map(|verdict| verdict.backup.stored)) {
        let horizon = age.before(newest.min(now));
        let within = dated.iter_mut().take_while(|verdict| verdict.backup.stored >= horizon);
        for verdict in within {
            verdict.reasons.push(Reason::Within);
        }
    }
}

/// Keeps the newest of each period, for so many periods; without a period each backup is one of its own. Complete ones
/// are counted first. Of the others as many stay, but none from before the last complete one that the rule keeps.
fn keep(dated: &mut [&mut Verdict], count: u32, reason: &Reason, period: Option<Period>) {
    if count == 0 {
        return;
    }
    let mut end = dated.len();
    for sound in [true, false] {
        let mut left = count;
        let mut last = None;
        for (place, verdict) in dated.iter_mut().enumerate().take(end) {
            let this = period.map(|period| period(verdict.backup.stored));
            if left == 0 || verdict.is_sound() != sound || (this.is_some() && this == last) {
                continue;
            }
            verdict.reasons.push(reason.clone());
            last = this;
            left -= 1;
            if sound && left == 0 {
                end = place;
            }
        }
    }
}

/// What stays whatever the rules say; noted where no rule keeps it.
fn guards(dated: &mut [&mut Verdict], policy: &RetentionPolicy) {
    let proved = |verdict: &Verdict| verdict.is_sound() && verdict.backup.verified;
    let enough = dated.iter().filter(|verdict| proved(verdict)).count() >= at_most(policy.min_verified);
    hold(dated, 1, &Reason::NewestComplete, Verdict::is_sound);
    hold(dated, 1, &Reason::NewestVerified, |verdict| verdict.backup.verified);
    hold(dated, 1, &Reason::NewestVerified, proved);
    hold(dated, at_most(policy.min_backups), &Reason::MinBackups, Verdict::is_sound);
    hold(dated, at_most(policy.min_verified), &Reason::MinVerified, proved);
    if !enough {
        hold(dated, usize::MAX, &Reason::AwaitsDrills, Verdict::is_sound);
    }
    // The next backup goes on from it: its number in the chain must not be given twice.
    hold(dated, 1, &Reason::Newest, |_| true);
}

fn hold(dated: &mut [&mut Verdict], count: usize, reason: &Reason, of: impl Fn(&Verdict) -> bool) {
    for verdict in dated.iter_mut().filter(|verdict| of(verdict)).take(count) {
        if verdict.reasons.is_empty() {
            verdict.reasons.push(reason.clone());
        }
    }
}

fn at_most(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
