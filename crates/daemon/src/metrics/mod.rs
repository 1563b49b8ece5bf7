//! What monitoring systems read: numbers in Prometheus' text format.
//!
//! Times of events are times, not ages: whoever asks computes the age, which is then right however old the answer is.
//! <https://prometheus.io/docs/practices/instrumentation/#timestamps-not-time-since>

mod labels;
mod observe;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use labels::{Alone, Delivery, Done, Leads, Missing, OfOperation, OfSchedule, OfState, StoreFailure};
pub(crate) use store::MeteredStore;

/// The type of the answer.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Number = Gauge<f64, AtomicU64>;

/// All numbers of this daemon. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    /// Schedules that have series of their own.
    schedules: Mutex<BTreeSet<String>>,
    leader: Family<Leads, Number>,
    last_attempt: Family<OfSchedule, Number>,
    last_success: Family<OfSchedule, Number>,
    max_age: Family<OfSchedule, Number>,
    known_since: Family<OfSchedule, Number>,
    last_outcome: Family<Done, Number>,
    duration: Family<OfSchedule, Number>,
    stored_bytes: Family<OfSchedule, Number>,
    objects: Family<OfSchedule, Number>,
    gaps: Family<OfSchedule, Number>,
    backups: Family<Done, Counter>,
    failed_tries: Family<OfSchedule, Counter>,
    missed: Family<Missing, Counter>,
    running: Family<OfSchedule, Number>,
    catalog_backups: Family<OfState, Number>,
    catalog_read: Family<Alone, Number>,
    newest_complete: Family<Alone, Number>,
    newest_verified: Family<Alone, Number>,
    drills: Family<OfState, Counter>,
    drill_last: Family<Alone, Number>,
    drill_passed: Family<Alone, Number>,
    drill_rto: Family<Alone, Number>,
    removed: Counter,
    prune_failures: Counter,
    notifications: Family<Delivery, Counter>,
    events_lost: Counter,
    store_seconds: Family<OfOperation, Histogram, fn() -> Histogram>,
    store_failures: Family<StoreFailure, Counter>,
}

/// From a millisecond to four and a half minutes.
fn seconds() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.001, 4.0, 10))
}

impl Metrics {
    /// All numbers at the beginning. `tool` is name and version of the program.
    pub(crate) fn new(tool: &str) -> Self {
        let mut r = Registry::with_prefix("lifeboat");
        let version = tool.rsplit(' ').next().unwrap_or(tool).to_owned();
        r.register("build", "The program", Info::new([("version", version)]));
        let inner = Inner {
            leader: add(&mut r, "leader", "1 for the state that this daemon is in, 0 for the others"),
            last_attempt: add(
                &mut r,
                "backup_last_attempt_timestamp_seconds",
                "When the latest try of a backup was begun",
            ),
            last_success: add(
                &mut r,
                "backup_last_success_timestamp_seconds",
                "When the newest complete backup of the schedule was begun",
            ),
            max_age: add(
                &mut r,
                "schedule_expected_max_age_seconds",
                "The age that the schedule's newest complete backup should never have, where one is configured",
            ),
            known_since: add(
                &mut r,
                "schedule_known_since_timestamp_seconds",
                "When this daemon first heard of the schedule",
            ),
            last_outcome: add(
                &mut r,
                "backup_last_outcome",
                "1 for how the latest run of this daemon ended, 0 for the others",
            ),
            duration: add(&mut r, "backup_last_duration_seconds", "How long the latest finished backup took"),
            stored_bytes: add(
                &mut r,
                "backup_last_stored_bytes",
                "Bytes that the latest finished backup has in the store",
            ),
            objects: add(&mut r, "backup_last_objects", "Objects in the latest finished backup"),
            gaps: add(&mut r, "backup_last_gaps", "What the latest finished backup lacks, by number"),
            running: add(&mut r, "backup_running", "1 while a backup is being taken"),
            backups: add(&mut r, "backups", "Runs that came to an end, by outcome"),
            failed_tries: add(&mut r, "backup_failed_tries", "Tries of backups that failed"),
            missed: add(&mut r, "runs_missed", "Runs that were due and have no backup of their own, by reason"),
            catalog_backups: add(&mut r, "catalog_backups", "Backups in the store, as far as they can be believed"),
            catalog_read: add(&mut r, "catalog_read_timestamp_seconds", "When the catalog was read"),
            newest_complete: add(
                &mut r,
                "catalog_newest_complete_timestamp_seconds",
                "When the newest complete backup in the store was begun",
            ),
            newest_verified: add(
                &mut r,
                "catalog_newest_verified_timestamp_seconds",
                "When the newest backup that a drill has verified was begun",
            ),
            drills: add(&mut r, "drills", "Drills of this daemon, by verdict"),
            drill_last: add(&mut r, "drill_last_timestamp_seconds", "When the latest drill with a verdict was begun"),
            drill_passed: add(&mut r, "drill_last_passed", "Whether the latest drill with a verdict passed"),
            drill_rto: add(
                &mut r,
                "drill_last_recovery_seconds",
                "From the drill's beginning to every object readable, where it came as far",
            ),
            removed: add(&mut r, "retention_removed_backups", "Backups that retention removed"),
            prune_failures: add(
                &mut r,
                "retention_failures",
                "Backups that could not be removed, and runs that failed",
            ),
            notifications: add(&mut r, "notifications", "Messages to heartbeats and webhooks, by result"),
            events_lost: add(&mut r, "events_lost", "Events that came faster than they could be counted"),
            store_failures: add(&mut r, "store_failures", "Operations on the store that failed, by reason"),
            store_seconds: add_as(
                &mut r,
                "store_operation_duration_seconds",
                "How long operations on the store took: until the first byte of an object, to the end of a listing or write",
                Family::new_with_constructor(seconds as fn() -> Histogram),
            ),
            schedules: Mutex::default(),
            registry: r,
        };
        Self(Arc::new(inner))
    }

    /// The numbers now, in `OpenMetrics`' text format, which Prometheus and its like read.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    /// There is a target for messages.
    pub(crate) fn notifies(&self, target: &str) {
        for result in ["delivered", "failed"] {
            let _ = self.0.notifications.get_or_create(&Delivery { target: target.to_owned(), result });
        }
    }

    /// A message came to an end.
    pub(crate) fn notified(&self, target: &str, delivered: bool) {
        let result = if delivered { "delivered" } else { "failed" };
        self.0.notifications.get_or_create(&Delivery { target: target.to_owned(), result }).inc();
    }

    /// Events were lost.
    pub(crate) fn lost(&self, events: u64) {
        self.0.events_lost.inc_by(events);
    }

    /// The label of a schedule. Names come from custom resources too, so that only so many have series of their own.
    fn schedule(&self, name: &str) -> OfSchedule {
        let mut known = self.0.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= labels::MAX_SCHEDULES {
                return OfSchedule { schedule: labels::OTHERS.to_owned() };
            }
            known.insert(name.to_owned());
        }
        OfSchedule { schedule: name.to_owned() }
    }
}

fn add<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    add_as(registry, name, help, M::default())
}

fn add_as<M>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(name, help, metric.clone());
    metric
}
