//! Backups on schedules: one leader, its schedules, its runs, and what is told of them.
//!
//! [`run`] is the daemon. It takes leadership by a Lease, asks a pure scheduler what is due, lets a runner take backups,
//! prune and drill, and publishes each [`DaemonEvent`]. Metrics, health, notifications and the controllers of custom
//! resources read those events, set schedules by a watch channel, and ask for backups by a queue of [`Request`]s.
//!
//! What each module is for: `run` joins everything; `leader` holds the lease; `scheduler` decides, without clock or I/O;
//! `runner` does; `event` and `request` are what the others hear and say.

mod alerts;
mod controllers;
mod error;
mod event;
mod health;
mod leader;
mod main_loop;
mod metrics;
mod notify;
mod request;
mod resources;
mod responder;
mod run;
mod runner;
mod scheduler;
mod timing;
mod watch;

pub use alerts::{
    AlertsError, AlertsOptions, Authentication, ReceiverMode, ReceiverSpec, ReceiverTls, ReceiversDocument, Start,
    StartError, Starter, receive,
};
pub use error::Error;
pub use event::{BackupFacts, CatalogFacts, DaemonEvent, Events, Leadership, Missed, Origin, Run};
pub use request::{BackupRequest, Begun, DrillRequest, Request};
pub use resources::{
    Backup, BackupDocument, Drill, DrillDocument, PERMISSIONS, Permission, Playbook, PlaybookApproval,
    PlaybookApprovalResource, PlaybookJournal, PlaybookJournalResource, PlaybookResource, PlaybookRun,
    PlaybookRunResource, RESPONDER_PERMISSIONS, Restore, RestoreDocument, Schedule, ScheduleDocument, definitions,
};
pub use responder::{ClusterJournals, ResponderOptions, respond};
pub use run::{DaemonOptions, DrillOptions, run};
