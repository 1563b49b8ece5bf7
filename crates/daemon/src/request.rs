//! What others ask of the daemon.

use std::sync::Arc;

use lifeboat_archive::Identities;
use lifeboat_model::{BackupId, DrillTargets, ResourcesConfig, Tier};
use lifeboat_recovery::{BackupRef, drill};
use tokio::sync::oneshot;

use crate::event::BackupFacts;

/// Something that the leader is asked to do, after what it has been asked before. A daemon that does not lead refuses.
#[derive(Debug)]
pub enum Request {
    /// A backup.
    Backup(BackupRequest),
    /// A drill.
    Drill(DrillRequest),
}

/// A backup that is asked for. It is tried once; whoever asked may ask again.
#[derive(Debug)]
pub struct BackupRequest {
    /// Who asks, for events and logs.
    pub name: String,
    /// The schedule whose settings it follows, which is then named as the reason for the backup.
    pub schedule: Option<String>,
    /// Capture etcd, where it is configured.
    pub etcd: bool,
    /// Capture the objects of the API.
    pub objects: bool,
    /// Which objects; as in the configuration where absent.
    pub resources: Option<ResourcesConfig>,
    /// Told the id before anything is written to the store, by somebody who has to know it if the daemon is killed.
    pub begun: Option<oneshot::Sender<Begun>>,
    /// What came of it, or why there is no backup. When the daemon ends or loses its leadership, the sender is dropped.
    pub reply: oneshot::Sender<Result<BackupFacts, String>>,
}

/// A backup that is about to be taken, by [`recovery::backup::create_as`](lifeboat_recovery::backup::create_as).
#[derive(Debug)]
pub struct Begun {
    /// Its id.
    pub id: BackupId,
    /// It is taken when this is answered. Where it is dropped, the request has failed and nothing is written.
    pub noted: oneshot::Sender<()>,
}

/// A drill that is asked for.
#[derive(Debug)]
pub struct DrillRequest {
    /// Which backup.
    pub backup: BackupRef,
    /// How deep.
    pub tier: Tier,
    /// What opens the backup; what the daemon was given for drills where absent.
    pub identities: Option<Arc<Identities>>,
    /// What is asked of it.
    pub targets: DrillTargets,
    /// What came of it, or why it came to no verdict.
    pub reply: oneshot::Sender<Result<drill::Outcome, String>>,
}
