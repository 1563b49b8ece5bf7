//! What each event changes.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::{BackupState, NamedSchedule};

use super::labels::{Done, Leads, Missing, OTHERS, OfSchedule, OfState, REQUESTED};
use super::{Metrics, Number};
use crate::event::{BackupFacts, CatalogFacts, DaemonEvent, Leadership, Missed, Origin, Run};

/// How a run ended, as the label has it.
const OUTCOMES: [&str; 3] = ["complete", "partial", "failed"];
const MISSED: [&str; 4] = ["deadline", "superseded", "failed", "withdrawn"];
const LEADERSHIP: [&str; 3] = ["leader", "follower", "isolated"];

impl Metrics {
    /// Takes an event into account.
    pub(crate) fn observe(&self, event: &DaemonEvent, now: Timestamp) {
        let inner = &self.0;
        match event {
            DaemonEvent::Leading(leadership) => self.leading(*leadership),
            DaemonEvent::Schedules(schedules) => self.schedules(schedules, now),
            DaemonEvent::BackupStarted { run, .. } => {
                let label = self.origin(run);
                inner.last_attempt.get_or_create(&label).set(unix(now));
                inner.running.get_or_create(&label).set(1.0);
            }
            DaemonEvent::BackupFinished { run, backup, took } => self.finished(run, backup, *took),
            DaemonEvent::BackupFailed { run, retry, .. } => self.failed(run, retry.is_none()),
            DaemonEvent::RunMissed { schedule, count, reason, .. } => {
                let schedule = self.schedule(schedule).schedule;
                inner.missed.get_or_create(&Missing { schedule, reason: missed(*reason) }).inc_by(*count);
            }
            DaemonEvent::PruneFinished { removed, failed, .. } => {
                inner.removed.inc_by(removed.len() as u64);
                inner.prune_failures.inc_by(failed.len() as u64);
            }
            DaemonEvent::PruneFailed { .. } => {
                inner.prune_failures.inc();
            }
            DaemonEvent::DrillFinished(outcome) => {
                inner.drills.get_or_create(&OfState { state: if outcome.passed { "passed" } else { "failed" } }).inc();
                inner.drill_last.get_or_create(&[]).set(unix(outcome.started));
                inner.drill_passed.get_or_create(&[]).set(f64::from(u8::from(outcome.passed)));
                if let Some(seconds) = outcome.rto_seconds {
                    inner.drill_rto.get_or_create(&[]).set(seconds);
                } else {
                    inner.drill_rto.clear();
                }
            }
            DaemonEvent::DrillFailed { .. } => {
                inner.drills.get_or_create(&OfState { state: "no_verdict" }).inc();
            }
            DaemonEvent::Catalog(facts) => self.catalog(facts, now),
            DaemonEvent::StoreFailed { .. } | DaemonEvent::RunLate { .. } | DaemonEvent::DrillStarted => {}
        }
    }

    fn leading(&self, leadership: Leadership) {
        let now = match leadership {
            Leadership::Leader => "leader",
            Leadership::Follower => "follower",
            Leadership::Isolated => "isolated",
        };
        for state in LEADERSHIP {
            self.0.leader.get_or_create(&Leads { state }).set(f64::from(u8::from(state == now)));
        }
    }

    /// Forgets the series of schedules that are gone.
    fn schedules(&self, schedules: &[NamedSchedule], now: Timestamp) {
        let names: BTreeSet<&str> = schedules.iter().map(|schedule| schedule.name.as_str()).collect();
        let gone: Vec<String> = {
            let mut known = self.0.schedules.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = known.iter().filter(|name| !names.contains(name.as_str())).cloned().collect();
            known.retain(|name| names.contains(name.as_str()));
            gone
        };
        for schedule in gone {
            self.forget(&schedule);
        }
        self.0.max_age.remove(&OfSchedule { schedule: OTHERS.to_owned() });
        for schedule in schedules {
            let label = self.schedule(&schedule.name);
            // Counters are there from the beginning, so that their first step is seen.
            for outcome in OUTCOMES {
                let _ = self.0.backups.get_or_create(&Done { schedule: label.schedule.clone(), outcome });
            }
            for reason in MISSED {
                let _ = self.0.missed.get_or_create(&Missing { schedule: label.schedule.clone(), reason });
            }
            let _ = self.0.failed_tries.get_or_create(&label);
            if self.0.known_since.get(&label).is_none() {
                self.0.known_since.get_or_create(&label).set(unix(now));
            }
            match &schedule.spec.expected_max_age {
                Some(age) if !schedule.spec.suspend && label.schedule != OTHERS => {
                    let seconds = now.duration_since(age.before(now)).as_secs_f64();
                    self.0.max_age.get_or_create(&label).set(seconds);
                }
                _ => {
                    self.0.max_age.remove(&label);
                }
            }
        }
    }

    fn forget(&self, schedule: &str) {
        let inner = &self.0;
        let label = OfSchedule { schedule: schedule.to_owned() };
        for family in self.gauges() {
            family.remove(&label);
        }
        inner.failed_tries.remove(&label);
        for outcome in OUTCOMES {
            let label = Done { schedule: schedule.to_owned(), outcome };
            inner.backups.remove(&label);
            inner.last_outcome.remove(&label);
        }
        for reason in MISSED {
            inner.missed.remove(&Missing { schedule: schedule.to_owned(), reason });
        }
    }

    /// Every gauge of single schedules.
    fn gauges(&self) -> [&prometheus_client::metrics::family::Family<OfSchedule, Number>; 9] {
        let inner = &self.0;
        [
            &inner.last_attempt,
            &inner.last_success,
            &inner.max_age,
            &inner.known_since,
            &inner.duration,
            &inner.stored_bytes,
            &inner.objects,
            &inner.gaps,
            &inner.running,
        ]
    }

    fn finished(&self, run: &Run, backup: &BackupFacts, took: Duration) {
        let inner = &self.0;
        let label = self.origin(run);
        inner.running.get_or_create(&label).set(0.0);
        inner.duration.get_or_create(&label).set(took.as_secs_f64());
        inner.stored_bytes.get_or_create(&label).set(number(backup.stored_bytes));
        inner.objects.get_or_create(&label).set(number(backup.objects));
        inner.gaps.get_or_create(&label).set(number(backup.gaps.len() as u64));
        let outcome = match backup.state {
            BackupState::Complete => {
                later(&inner.last_success.get_or_create(&label), backup.started);
                later(&inner.newest_complete.get_or_create(&[]), backup.started);
                "complete"
            }
            BackupState::Partial => "partial",
        };
        self.ended(label.schedule, outcome);
    }

    fn ended(&self, schedule: String, ended: &'static str) {
        for outcome in OUTCOMES {
            let label = Done { schedule: schedule.clone(), outcome };
            self.0.last_outcome.get_or_create(&label).set(f64::from(u8::from(outcome == ended)));
        }
        self.0.backups.get_or_create(&Done { schedule, outcome: ended }).inc();
    }

    fn failed(&self, run: &Run, ended: bool) {
        let label = self.origin(run);
        self.0.failed_tries.get_or_create(&label).inc();
        self.0.running.get_or_create(&label).set(0.0);
        if ended {
            self.ended(label.schedule, "failed");
        }
    }

    fn catalog(&self, facts: &CatalogFacts, now: Timestamp) {
        let inner = &self.0;
        inner.catalog_read.get_or_create(&[]).set(unix(now));
        inner.catalog_backups.get_or_create(&OfState { state: "listed" }).set(number(facts.backups));
        inner.catalog_backups.get_or_create(&OfState { state: "problem" }).set(number(facts.problems));
        for (family, newest) in
            [(&inner.newest_complete, facts.newest_complete), (&inner.newest_verified, facts.newest_verified)]
        {
            match newest {
                Some(newest) => {
                    family.get_or_create(&[]).set(unix(newest));
                }
                None => family.clear(),
            }
        }
        let known = inner.schedules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The store has backups of schedules that are no more.
        for (schedule, newest) in facts.newest_of.iter().filter(|(schedule, _)| known.contains(schedule)) {
            inner.last_success.get_or_create(&OfSchedule { schedule: schedule.clone() }).set(unix(*newest));
        }
    }

    fn origin(&self, run: &Run) -> OfSchedule {
        match &run.origin {
            Origin::Schedule(name) => self.schedule(name),
            Origin::Request(_) => OfSchedule { schedule: REQUESTED.to_owned() },
        }
    }
}

fn missed(reason: Missed) -> &'static str {
    match reason {
        Missed::Deadline => "deadline",
        Missed::Superseded => "superseded",
        Missed::Failed => "failed",
        Missed::Withdrawn => "withdrawn",
    }
}

fn later(gauge: &Number, moment: Timestamp) {
    gauge.set(gauge.get().max(unix(moment)));
}

fn unix(moment: Timestamp) -> f64 {
    moment.as_duration().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn number(count: u64) -> f64 {
    count as f64
}
