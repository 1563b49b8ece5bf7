//! What is news: the first failure of its kind, and its end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::BackupState;

use crate::event::{DaemonEvent, Missed, Origin};

/// A failure that is tried again is told from this try on: what is over by then was a hiccup.
const PATIENT_TRIES: u32 = 3;

/// What a dead man's switch is to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Work begins.
    Start,
    /// It was done.
    Success,
    /// It failed.
    Fail,
}

/// What a run's event means to its schedule's dead man's switch.
pub(super) fn sign_of_life(event: &DaemonEvent) -> Option<(&Origin, Sign)> {
    match event {
        DaemonEvent::BackupStarted { run, attempt: 1 } => Some((&run.origin, Sign::Start)),
        DaemonEvent::BackupFinished { run, backup, .. } => Some((
            &run.origin,
            match backup.state {
                BackupState::Complete => Sign::Success,
                BackupState::Partial => Sign::Fail,
            },
        )),
        DaemonEvent::BackupFailed { run, attempt, retry, .. } if is_told(*attempt, *retry) => {
            Some((&run.origin, Sign::Fail))
        }
        _ => None,
    }
}

fn is_told(attempt: u32, retry: Option<Timestamp>) -> bool {
    retry.is_none() || attempt == PATIENT_TRIES
}

/// What a failure is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The backups of a schedule.
    Backups(String),
    /// Retention, of a schedule or of the configuration.
    Retention(Option<String>),
    /// Drills.
    Drills,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is a backup, and it lacks something.
    Partial,
    /// It was tried, and there is nothing.
    Failed,
    /// It was not even tried.
    Missed,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) subject: Subject,
    /// The schedule that it is about.
    pub(super) schedule: Option<String>,
    /// The backup that it is about.
    pub(super) backup: Option<String>,
    pub(super) state: State,
    /// More about it, with causes.
    pub(super) detail: String,
}

/// Failure or recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Failing(Kind),
    /// It works again.
    Recovered {
        /// When it was seen to fail first.
        since: Timestamp,
    },
}

/// What fails now, and was told.
#[derive(Debug, Default)]
pub(super) struct Judge(BTreeMap<Subject, (Kind, Timestamp)>);

impl Judge {
    /// Forgets the schedules that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|subject, _| match subject {
            Subject::Backups(schedule) | Subject::Retention(Some(schedule)) => is_there(schedule),
            Subject::Retention(None) | Subject::Drills => true,
        });
    }

    /// What is to be told of an event.
    pub(super) fn judge(&mut self, event: &DaemonEvent, now: Timestamp) -> Option<News> {
        match event {
            DaemonEvent::BackupFinished { run, backup, .. } => {
                let subject = backups(&run.origin)?;
                let id = Some(backup.id.to_string());
                match backup.state {
                    BackupState::Complete => self.recovered(subject, id, now),
                    BackupState::Partial => {
                        let gaps: Vec<_> =
                            backup.gaps.iter().map(|gap| format!("{}: {}", gap.resource, gap.reason)).collect();
                        self.failing(subject, Kind::Partial, id, gaps.join("; "), now)
                    }
                }
            }
            DaemonEvent::BackupFailed { run, attempt, error, retry } if is_told(*attempt, *retry) => {
                self.failing(backups(&run.origin)?, Kind::Failed, None, error.clone(), now)
            }
            DaemonEvent::RunMissed { schedule, first, count, reason: Missed::Deadline, .. } => {
                let detail = format!("{count} due since {first}: no daemon led before the starting deadline");
                self.failing(Subject::Backups(schedule.clone()), Kind::Missed, None, detail, now)
            }
            DaemonEvent::PruneFinished { schedule, failed, .. } => {
                let subject = Subject::Retention(schedule.clone());
                let Some((backup, reason)) = failed.first() else { return self.recovered(subject, None, now) };
                let detail = format!("{} not removed, the first {backup}: {reason}", failed.len());
                self.failing(subject, Kind::Partial, None, detail, now)
            }
            DaemonEvent::PruneFailed { schedule, error } => {
                self.failing(Subject::Retention(schedule.clone()), Kind::Failed, None, error.clone(), now)
            }
            DaemonEvent::DrillFinished(outcome) => {
                let backup = Some(outcome.backup.clone());
                if outcome.passed {
                    return self.recovered(Subject::Drills, backup, now);
                }
                let codes: Vec<String> = outcome.codes.iter().map(ToString::to_string).collect();
                let verdict = if outcome.restores { "a target was not met" } else { "the backup does not restore" };
                let detail = format!("drill {}: {verdict}: {}", outcome.id, codes.join(", "));
                self.failing(Subject::Drills, Kind::Failed, backup, detail, now)
            }
            DaemonEvent::DrillFailed { error } => self.failing(Subject::Drills, Kind::Failed, None, error.clone(), now),
            _ => None,
        }
    }

    fn failing(
        &mut self,
        subject: Subject,
        kind: Kind,
        backup: Option<String>,
        detail: String,
        now: Timestamp,
    ) -> Option<News> {
        let known = self.0.get(&subject).copied();
        if known.is_some_and(|(known, _)| known == kind) {
            return None;
        }
        let since = known.map_or(now, |(_, since)| since);
        self.0.insert(subject.clone(), (kind, since));
        Some(News { schedule: subject.schedule(), subject, backup, state: State::Failing(kind), detail })
    }

    fn recovered(&mut self, subject: Subject, backup: Option<String>, now: Timestamp) -> Option<News> {
        let (_, since) = self.0.remove(&subject)?;
        let lasted = now.duration_since(since).as_secs();
        let detail = format!("after {lasted} s");
        Some(News { schedule: subject.schedule(), subject, backup, state: State::Recovered { since }, detail })
    }
}

impl Subject {
    fn schedule(&self) -> Option<String> {
        match self {
            Self::Backups(schedule) => Some(schedule.clone()),
            Self::Retention(schedule) => schedule.clone(),
            Self::Drills => None,
        }
    }
}

/// Whoever asks for a single backup is told by what asked.
fn backups(origin: &Origin) -> Option<Subject> {
    match origin {
        Origin::Schedule(schedule) => Some(Subject::Backups(schedule.clone())),
        Origin::Request(_) => None,
    }
}
