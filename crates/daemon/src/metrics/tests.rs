//! Metrics as events change them, and the rules of Prometheus on what is rendered then, evaluated by Prometheus' own tool.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{BackupId, BackupState, Gap, NamedSchedule, parse_yaml};
use lifeboat_store::{Fault, FaultyStore, MemoryStore, Operation, Store, StoreError, body, nth};
use lifeboat_tests::cluster::testbed_bin;
use tempfile::TempDir;

use super::labels::MAX_SCHEDULES;
use super::{MeteredStore, Metrics};
use crate::event::{BackupFacts, CatalogFacts, DaemonEvent, Leadership, Missed, Origin, Run};

fn now() -> Timestamp {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

fn schedules(names: &[&str]) -> DaemonEvent {
    let schedules: Vec<NamedSchedule> = names
        .iter()
        .map(|name| {
            let text = format!("name: {name}\nspec: {{schedule: '0 3 * * *', expectedMaxAge: 26h}}");
            parse_yaml("schedule.yaml", &text).unwrap()
        })
        .collect();
    DaemonEvent::Schedules(schedules.into())
}

fn nightly() -> Run {
    Run { origin: Origin::Schedule("nightly".to_owned()), due: now() }
}

fn finished(state: BackupState) -> DaemonEvent {
    let gaps: &[Gap] = match state {
        BackupState::Complete => &[],
        BackupState::Partial => &[Gap { resource: "secrets".to_owned(), reason: "forbidden".to_owned() }],
    };
    let backup = BackupFacts {
        id: BackupId::new(now(), 7),
        state,
        sequence: 3,
        started: now(),
        finished: now(),
        stored_bytes: 123_456,
        objects: 650,
        gaps: gaps.into(),
    };
    DaemonEvent::BackupFinished { run: nightly(), backup, took: Duration::from_millis(2500) }
}

fn failed(retry: Option<Timestamp>) -> DaemonEvent {
    DaemonEvent::BackupFailed { run: nightly(), attempt: 1, error: "the store is away".to_owned(), retry }
}

fn catalog(problems: u64) -> DaemonEvent {
    DaemonEvent::Catalog(Arc::new(CatalogFacts {
        backups: 9,
        problems,
        newest_complete: Some(now()),
        newest_verified: Some(now()),
        newest_of: vec![("nightly".to_owned(), now()), ("gone".to_owned(), now())],
    }))
}

/// A daemon that has read the catalog and leads, after some events more.
fn metrics(events: &[DaemonEvent]) -> Metrics {
    let metrics = Metrics::new("lifeboat 0.1.0");
    let begin = [schedules(&["nightly"]), DaemonEvent::Leading(Leadership::Leader), catalog(0)];
    for event in begin.iter().chain(events) {
        metrics.observe(event, now());
    }
    metrics
}

/// Samples by their series, of a text as `/metrics` gives it.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.trim_end_matches("{}").to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn what_a_backup_leaves() {
    let metrics = metrics(&[
        DaemonEvent::BackupStarted { run: nightly(), attempt: 1 },
        failed(Some(now())),
        DaemonEvent::BackupStarted { run: nightly(), attempt: 2 },
        finished(BackupState::Complete),
    ]);
    let samples = samples(&metrics.render());
    let moment = now().as_duration().as_secs_f64();
    for (series, value) in [
        ("lifeboat_build_info{version=\"0.1.0\"}", 1.0),
        ("lifeboat_leader{state=\"leader\"}", 1.0),
        ("lifeboat_leader{state=\"follower\"}", 0.0),
        ("lifeboat_backup_last_attempt_timestamp_seconds{schedule=\"nightly\"}", moment),
        ("lifeboat_backup_last_success_timestamp_seconds{schedule=\"nightly\"}", moment),
        ("lifeboat_schedule_expected_max_age_seconds{schedule=\"nightly\"}", 26.0 * 3600.0),
        ("lifeboat_backup_last_duration_seconds{schedule=\"nightly\"}", 2.5),
        ("lifeboat_backup_last_stored_bytes{schedule=\"nightly\"}", 123_456.0),
        ("lifeboat_backup_last_objects{schedule=\"nightly\"}", 650.0),
        ("lifeboat_backup_last_gaps{schedule=\"nightly\"}", 0.0),
        ("lifeboat_backup_running{schedule=\"nightly\"}", 0.0),
        ("lifeboat_backups_total{schedule=\"nightly\",outcome=\"complete\"}", 1.0),
        ("lifeboat_backups_total{schedule=\"nightly\",outcome=\"failed\"}", 0.0),
        ("lifeboat_backup_failed_tries_total{schedule=\"nightly\"}", 1.0),
        ("lifeboat_catalog_backups{state=\"listed\"}", 9.0),
        ("lifeboat_catalog_newest_verified_timestamp_seconds", moment),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{}", metrics.render());
    }
    assert!(!metrics.render().contains("gone"), "a schedule that is no more");
}

#[test]
fn series_go_with_their_schedule_and_are_bounded() {
    let metrics = metrics(&[finished(BackupState::Partial)]);
    assert!(metrics.render().contains("nightly"));
    metrics.observe(&schedules(&[]), now());
    assert!(!metrics.render().contains("nightly"), "{}", metrics.render());

    let names: Vec<String> = (0..MAX_SCHEDULES + 50).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    metrics.observe(&schedules(&names), now());
    let text = metrics.render();
    let count = text.lines().filter(|line| line.starts_with("lifeboat_backup_failed_tries_total{")).count();
    assert_eq!(count, MAX_SCHEDULES + 1);
    assert!(text.contains("schedule=\"_others\""));
}

#[tokio::test]
async fn a_store_is_timed_and_its_failures_are_counted() {
    let metrics = metrics(&[]);
    let memory = MemoryStore::new(Arc::new(now));
    let away = || Fault::Fail(StoreError::Timeout { operation: "write", resource: "x".to_owned() });
    let store = FaultyStore::new(memory, nth(Operation::PutOnce, 2, away));
    let store = MeteredStore::new(Arc::new(store), metrics.clone());
    store.put_once(&"a".parse().unwrap(), body("x")).await.unwrap();
    store.put_once(&"b".parse().unwrap(), body("x")).await.unwrap_err();
    store.get(&"b".parse().unwrap()).await.unwrap_err();
    let listed: Vec<_> = futures::TryStreamExt::try_collect(store.list(&"".parse().unwrap())).await.unwrap();
    assert_eq!(listed.len(), 1);
    let samples = samples(&metrics.render());
    assert!((samples["lifeboat_store_operation_duration_seconds_count{operation=\"put\"}"] - 2.0).abs() < f64::EPSILON);
    assert!(
        (samples["lifeboat_store_operation_duration_seconds_count{operation=\"list\"}"] - 1.0).abs() < f64::EPSILON
    );
    assert!(
        (samples["lifeboat_store_failures_total{operation=\"put\",reason=\"timeout\"}"] - 1.0).abs() < f64::EPSILON
    );
    assert!(!samples.keys().any(|series| series.contains("failures_total{operation=\"get\"")), "that is an answer");
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/lifeboat/files/rules.yaml").canonicalize().unwrap()
}

fn promtool(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut command = Command::new(testbed_bin().join("promtool"));
    command.args(arguments).stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {text}\n{input}");
    text
}

/// A series with the labels that a scrape adds.
fn scraped(series: &str) -> String {
    let added = "instance=\"10.0.0.1:8080\",job=\"lifeboat\"";
    match series.split_once('{') {
        Some((name, labels)) => format!("{name}{{{added},{labels}"),
        None => format!("{series}{{{added}}}"),
    }
}

/// The alerts that fire where scrapes gave `before` for a while, `after` from then on, so long after that. Prometheus'
/// tool begins at the epoch, so that times are moved.
fn firing(before: &str, after: &str, later: SignedDuration) -> Vec<String> {
    const SCRAPES: i64 = 40;
    // Rates need scrapes every minute; ages do not.
    let minutes = if later > SignedDuration::from_hours(2) { 30 } else { 1 };
    let begin = now() - SignedDuration::from_mins(SCRAPES * minutes);
    let moved = |series: &str, value: f64| {
        if series.contains("_timestamp_seconds") { value - begin.as_duration().as_secs_f64() } else { value }
    };
    let (before, after) = (samples(before), samples(after));
    let mut series = String::new();
    let times = later.as_mins() / minutes + 1;
    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
        let values = |samples: &BTreeMap<String, f64>, times: i64| match samples.get(name) {
            Some(value) => format!("{}x{times}", moved(name, *value)),
            None => format!("_x{times}"),
        };
        let (old, new) = (values(&before, SCRAPES), values(&after, times));
        writeln!(series, "      - {{series: '{}', values: '{old} {new}'}}", scraped(name)).unwrap();
    }
    let at = SCRAPES * minutes + later.as_mins();
    let mut fired = Vec::new();
    let folder = TempDir::new().unwrap();
    // The tool says of each alert whether it is as expected: asked for none of each, it names those that fire.
    let rules = rules();
    let names: Vec<String> = std::fs::read_to_string(&rules)
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("- alert: ")?.to_owned()))
        .collect();
    let (rules, every) = (rules.display(), format!("{minutes}m"));
    let mut test = format!("rule_files: [{rules}]\nevaluation_interval: {every}\ntests:\n  - interval: {every}\n");
    if !series.is_empty() {
        test.push_str("    input_series:\n");
        test.push_str(&series);
    }
    test.push_str("    alert_rule_test:\n");
    for name in &names {
        writeln!(test, "      - {{eval_time: {at}m, alertname: {name}, exp_alerts: []}}").unwrap();
    }
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, &test).unwrap();
    let output = Command::new(testbed_bin().join("promtool")).args(["test", "rules"]).arg(&file).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for name in names {
        if said.contains(&format!("alertname: {name},")) {
            fired.push(name);
        }
    }
    assert_eq!(output.status.success(), fired.is_empty(), "{said}\n{test}");
    fired
}

#[test]
fn nothing_fires_while_all_is_well() {
    let well = metrics(&[finished(BackupState::Complete)]).render();
    promtool(&["check", "rules", rules().to_str().unwrap()], "");
    assert_eq!(firing(&well, &well, SignedDuration::from_hours(1)), Vec::<String>::new());
    let restarted = metrics(&[]).render();
    assert_eq!(firing(&well, &restarted, SignedDuration::from_hours(1)), Vec::<String>::new());
}

#[test]
fn each_alert_fires_for_its_reason() {
    let minutes = SignedDuration::from_mins;
    let well = metrics(&[finished(BackupState::Complete)]).render();
    let then = |events: &[DaemonEvent]| metrics(&[&[finished(BackupState::Complete)], events].concat()).render();
    let seen = |after: &str, later| firing(&well, after, later);
    assert_eq!(seen("", minutes(30)), ["LifeboatDown"]);
    assert_eq!(seen(&well, minutes(27 * 60)), ["LifeboatBackupTooOld"]);
    assert_eq!(seen(&well, minutes(36 * 24 * 60)), ["LifeboatBackupTooOld", "LifeboatUnverified"]);
    assert_eq!(seen(&then(&[DaemonEvent::Leading(Leadership::Follower)]), minutes(30)), ["LifeboatNoLeader"]);
    assert_eq!(seen(&then(&[DaemonEvent::Leading(Leadership::Isolated)]), minutes(30)), ["LifeboatIsolated"]);
    assert_eq!(seen(&then(&[failed(None)]), minutes(10)), ["LifeboatBackupFailing"]);
    assert_eq!(seen(&then(&[failed(Some(now()))]), minutes(10)), Vec::<String>::new(), "it is tried again");
    assert_eq!(seen(&then(&[finished(BackupState::Partial)]), minutes(10)), ["LifeboatBackupPartial"]);
    assert_eq!(seen(&then(&[catalog(1)]), minutes(10)), ["LifeboatCatalogProblems"]);
    let missed = |reason| {
        let schedule = "nightly".to_owned();
        DaemonEvent::RunMissed { schedule, first: now(), last: now(), count: 1, reason }
    };
    assert_eq!(seen(&then(&[missed(Missed::Deadline)]), minutes(10)), ["LifeboatRunsMissed"]);
    assert_eq!(seen(&then(&[missed(Missed::Withdrawn)]), minutes(10)), Vec::<String>::new());
    let prune = DaemonEvent::PruneFailed { schedule: None, error: "x".to_owned() };
    assert_eq!(seen(&then(&[prune]), minutes(10)), ["LifeboatRetentionFailing"]);

    let telling = metrics(&[finished(BackupState::Complete)]);
    telling.notifies("oncall");
    let before = telling.render();
    telling.notified("oncall", false);
    assert_eq!(firing(&before, &telling.render(), minutes(10)), ["LifeboatNotificationsFailing"]);

    let drilled = metrics(&[finished(BackupState::Complete)]);
    drilled.0.drill_passed.get_or_create(&[]).set(0.0);
    assert_eq!(seen(&drilled.render(), minutes(10)), ["LifeboatDrillFailing"]);
}

#[test]
fn a_schedule_that_never_had_a_backup_is_seen() {
    let metrics = Metrics::new("lifeboat 0.1.0");
    metrics.observe(&schedules(&["nightly"]), now());
    metrics.observe(&DaemonEvent::Leading(Leadership::Leader), now());
    let text = metrics.render();
    assert_eq!(firing(&text, &text, SignedDuration::from_hours(25)), Vec::<String>::new());
    assert_eq!(firing(&text, &text, SignedDuration::from_hours(27)), ["LifeboatNoBackupYet"]);
}

#[test]
fn prometheus_reads_it_and_has_nothing_to_say_against_names() {
    let metrics = metrics(&[finished(BackupState::Complete), missing_store()]);
    // The tool reads the older text format: without an end, without the type of infos, and with counters' whole names.
    let text = metrics.render().replace("# EOF\n", "").replace("lifeboat_build info", "lifeboat_build_info gauge");
    let mut older = text.replace("# HELP lifeboat_build ", "# HELP lifeboat_build_info ");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|line| line.strip_suffix(" counter")) {
            older = older.replace(&format!(" {name} "), &format!(" {name}_total "));
        }
    }
    promtool(&["check", "metrics"], &older);
}

fn missing_store() -> DaemonEvent {
    DaemonEvent::StoreFailed { error: "away".to_owned() }
}
