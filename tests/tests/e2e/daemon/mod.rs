//! The daemon as a process, on a real control plane and a real bucket, while one thing after the other fails.

mod cut;
mod kills;
mod outages;
mod slow;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{Manifest, Reason};
use serde_json::Value;

/// One chain: each place once, no earlier leader after a later one, and each backup knows the one before it.
fn assert_one_chain(chain: &[Manifest]) {
    for pair in chain.windows(2) {
        let [before, after] = pair else { continue };
        assert!(before.sequence < after.sequence, "a place was given twice: {before:?} {after:?}");
        assert!(before.fence <= after.fence, "an earlier leader came after a later one: {before:?} {after:?}");
        assert_eq!(after.previous.as_ref().map(|previous| &previous.id), Some(&before.id), "{after:?}");
    }
}

/// Each minute in which a schedule of every minute was due has a backup that was begun in it, or was told to have none.
fn assert_no_silent_gap(schedule: &str, chain: &[Manifest], logs: &[Value], until: Timestamp) {
    let ours = |manifest: &&Manifest| matches!(&manifest.reason, Reason::Schedule(name) if name == schedule);
    let starts: Vec<Timestamp> = chain.iter().filter(ours).map(|manifest| manifest.started).collect();
    let minute = SignedDuration::from_mins(1);
    let time = |line: &Value, field: &str| -> Timestamp { line["fields"][field].as_str().unwrap().parse().unwrap() };
    let missed: Vec<(Timestamp, Timestamp)> = logs
        .iter()
        .filter(|line| line["fields"]["message"] == "there is no backup for what was due")
        .filter(|line| line["fields"]["schedule"] == schedule)
        .map(|line| (time(line, "first"), time(line, "last")))
        .collect();
    let first = *starts.iter().min().unwrap_or_else(|| panic!("'{schedule}' has no backup at all"));
    let mut due = Timestamp::from_second(first.as_second() / 60 * 60 + 60).unwrap();
    while due + minute < until {
        let has_backup = starts.iter().any(|start| (due..due + minute).contains(start));
        let is_told = missed.iter().any(|(first, last)| (*first..=*last).contains(&due));
        assert!(has_backup || is_told, "a silent gap of '{schedule}' at {due}: {starts:?} {missed:?}");
        due += minute;
    }
}
