//! What happens in the daemon, for those who show it, count it and tell of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::{BackupId, BackupState, Gap, NamedSchedule};
use lifeboat_recovery::drill;
use tokio::sync::broadcast;

/// Events that a slow listener may be behind by before it loses the oldest.
const BUFFER: usize = 256;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum DaemonEvent {
    /// Whether this daemon is the one that takes the backups has changed.
    Leading(Leadership),
    /// The schedules are these now.
    Schedules(Arc<[NamedSchedule]>),
    /// A backup is being taken.
    BackupStarted {
        /// For what.
        run: Run,
        /// The how many-th try, from 1.
        attempt: u32,
    },
    /// A backup is in the store. A partial one counts as a failure for alerts.
    BackupFinished {
        /// For what.
        run: Run,
        /// The backup.
        backup: BackupFacts,
        /// How long the try that succeeded took.
        took: Duration,
    },
    /// A try failed.
    BackupFailed {
        /// For what.
        run: Run,
        /// The how many-th try, from 1.
        attempt: u32,
        /// Why, with its causes.
        error: String,
        /// When it is tried again; `None` ends the run without a backup.
        retry: Option<Timestamp>,
    },
    /// Runs of a schedule that were due have no backup of their own, and will not get one.
    RunMissed {
        /// The schedule.
        schedule: String,
        /// The first that was due.
        first: Timestamp,
        /// The last; the same where there is one.
        last: Timestamp,
        /// How many.
        count: u64,
        /// Why.
        reason: Missed,
    },
    /// A run was due while no daemon led, and is made up for now.
    RunLate {
        /// The run.
        run: Run,
        /// How late it is.
        by: Duration,
    },
    /// Old backups were removed.
    PruneFinished {
        /// Of the schedule whose retention it is; `None` is that of the configuration.
        schedule: Option<String>,
        /// The backups that are gone.
        removed: Vec<BackupId>,
        /// Those that should be gone and are not, each with why.
        failed: Vec<(BackupId, String)>,
    },
    /// Old backups could not be removed.
    PruneFailed {
        /// Of the schedule whose retention it is.
        schedule: Option<String>,
        /// Why.
        error: String,
    },
    /// A drill is under way.
    DrillStarted,
    /// A drill came to a verdict.
    DrillFinished(Arc<drill::Outcome>),
    /// A drill came to no verdict.
    DrillFailed {
        /// Why.
        error: String,
    },
    /// The catalog was read.
    Catalog(Arc<CatalogFacts>),
    /// The store could not be read or written, outside of a backup.
    StoreFailed {
        /// Why.
        error: String,
    },
}

impl DaemonEvent {
    fn log(&self) {
        match self {
            Self::Leading(Leadership::Leader) => tracing::info!("this daemon takes the backups"),
            Self::Leading(Leadership::Follower) => tracing::info!("this daemon takes no backups"),
            Self::Leading(Leadership::Isolated) => {
                tracing::warn!("the API server does not answer: backups go on without it for a while");
            }
            Self::Schedules(schedules) => tracing::info!(count = schedules.len(), "schedules"),
            Self::BackupStarted { run, attempt } => tracing::info!(%run, attempt, "a backup begins"),
            Self::BackupFinished { run, backup, took } => match backup.state {
                BackupState::Complete => tracing::info!(%run, backup = %backup.id, ?took, "a backup is complete"),
                BackupState::Partial => {
                    let gaps = backup.gaps.len();
                    tracing::error!(%run, backup = %backup.id, gaps, ?took, "a backup is partial");
                }
            },
            Self::BackupFailed { run, attempt, error, retry: Some(retry) } => {
                tracing::warn!(%run, attempt, error, %retry, "a backup failed, and is tried again");
            }
            Self::BackupFailed { run, attempt, error, retry: None } => {
                tracing::error!(%run, attempt, error, "a backup failed");
            }
            Self::RunMissed { schedule, first, last, count, reason } => {
                tracing::error!(schedule, %first, %last, count, ?reason, "there is no backup for what was due");
            }
            Self::RunLate { run, by } => tracing::warn!(%run, ?by, "a run is late"),
            Self::PruneFinished { schedule, removed, failed } => {
                for (backup, error) in failed {
                    tracing::error!(schedule, %backup, error, "a backup that should go cannot be removed");
                }
                tracing::info!(schedule, removed = removed.len(), "old backups removed");
            }
            Self::PruneFailed { schedule, error } => tracing::error!(schedule, error, "old backups are not removed"),
            Self::DrillStarted => tracing::info!("a drill begins"),
            Self::DrillFinished(outcome) if outcome.passed => {
                tracing::info!(drill = %outcome.id, backup = outcome.backup, "a drill has passed");
            }
            Self::DrillFinished(outcome) => {
                let codes = outcome.codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::error!(drill = %outcome.id, backup = outcome.backup, codes, "a drill has not passed");
            }
            Self::DrillFailed { error } => tracing::error!(error, "a drill came to no verdict"),
            Self::Catalog(facts) => tracing::debug!(backups = facts.backups, "the catalog was read"),
            Self::StoreFailed { error } => tracing::error!(error, "the store fails"),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Schedule(name) => write!(f, "schedule {name} at {}", self.due),
            Origin::Request(name) => write!(f, "request {name} at {}", self.due),
        }
    }
}

/// What the catalog has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogFacts {
    /// How many backups can be believed.
    pub backups: u64,
    /// How many cannot.
    pub problems: u64,
    /// When the newest complete one was begun.
    pub newest_complete: Option<Timestamp>,
    /// When the newest that a drill has verified was begun.
    pub newest_verified: Option<Timestamp>,
    /// For each schedule, when its newest complete backup was begun.
    pub newest_of: Vec<(String, Timestamp)>,
}

/// Who takes backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Somebody else, or nobody.
    Follower,
    /// This daemon.
    Leader,
    /// This daemon was the last to lead, and the API server does not answer: it goes on with backups of etcd, for a
    /// while, and removes nothing.
    Isolated,
}

/// One backup that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// Who wants it.
    pub origin: Origin,
    /// When it was due, or asked for.
    pub due: Timestamp,
}

/// Who wants a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A schedule of that name.
    Schedule(String),
    /// A request of that name, such as the name of a custom resource.
    Request(String),
}

/// What is told of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// Complete or partial.
    pub state: BackupState,
    /// Its place in the chain.
    pub sequence: u64,
    /// When it was begun.
    pub started: Timestamp,
    /// When it was done.
    pub finished: Timestamp,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// Objects captured.
    pub objects: u64,
    /// What is missing. It names things of the cluster.
    pub gaps: Arc<[Gap]>,
}

/// Why a run has no backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// No daemon led before its starting deadline.
    Deadline,
    /// A later run of the same schedule was due before it could begin, and stands for it.
    Superseded,
    /// Every try failed until its window ended.
    Failed,
    /// Its schedule was suspended, changed or removed before it could begin.
    Withdrawn,
}

/// Where events are published.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<DaemonEvent>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(BUFFER))
    }
}

impl Events {
    /// Tells those who listen.
    pub fn publish(&self, event: DaemonEvent) {
        event.log();
        // That nobody listens is no failure.
        let _ = self.0.send(event);
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<DaemonEvent> {
        self.0.subscribe()
    }
}
