//! The steps of playbooks that act on Kubernetes: evidence, containment, revocation.
//!
//! [`add_actions`] offers them to a registry. Each is an [`Action`](lifeboat_playbook::Action): it plans with dry runs
//! and access reviews, writes with a precondition on the UID that the plan saw, looks at what came of it by other calls,
//! and takes its writes back. What cannot be observed is told as not observed.

mod api;
mod backups;
mod container;
mod credentials;
mod evidence;
mod fields;
mod image;
mod namespace;
mod node;
mod outside;
mod planning;
mod pod;
mod policy;
mod resources;
mod secret;
mod switch;
mod target;
mod workload;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use lifeboat_playbook::{Journals, Registry, RegistryError};

pub use api::Connection;
pub use backups::{Backups, NoBackups, Sources, Workplace};
pub use evidence::EvidenceFolder;
pub use outside::Outside;
pub use secret::Random;

/// What a proof waits for a controller; the step's own time-out may be shorter.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the actions are given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster. It is connected to when a step needs it first.
    pub connection: Connection,
    /// What is configured of backups.
    pub backups: Arc<dyn Backups>,
    /// Where journals are kept, for sealing them.
    pub journals: Arc<dyn Journals>,
    /// Where evidence is put.
    pub evidence: EvidenceFolder,
    /// What may be done outside of the cluster.
    pub outside: Outside,
    /// What new secrets are made of: fills bytes with what nobody can guess.
    pub random: Random,
    /// Whether an input may name a file of this machine. Not where others than its user choose the inputs.
    pub local_files: bool,
}

/// Offers the actions of this crate.
///
/// # Errors
/// When one cannot be offered, which is a mistake of its author.
pub fn add_actions(registry: &mut Registry, settings: &Settings) -> Result<(), RegistryError> {
    let connection = || settings.connection.clone();
    registry.add(target::Resolve::new(connection()))?;
    registry.add(target::Wait::new(connection()))?;
    registry.add(evidence::Objects::new(connection(), settings.evidence.clone()))?;
    registry.add(evidence::Logs::new(connection(), settings.evidence.clone()))?;
    registry.add(backups::Create::new(connection(), Arc::clone(&settings.backups)))?;
    registry.add(backups::Drill::new(Arc::clone(&settings.backups)))?;
    registry.add(backups::Restore::new(connection(), Arc::clone(&settings.backups), settings.evidence.clone()))?;
    registry.add(evidence::Seal::new(
        connection(),
        Arc::clone(&settings.backups),
        settings.evidence.clone(),
        Arc::clone(&settings.journals),
    ))?;
    registry.add(evidence::Live::new(connection(), settings.evidence.clone()))?;
    registry.add(image::Hunt::new(connection()))?;
    registry.add(namespace::Lockdown::new(connection()))?;
    registry.add(pod::Isolate::new(connection()))?;
    registry.add(pod::Delete::new(connection()))?;
    registry.add(credentials::RevokeAccount::new(connection()))?;
    registry.add(credentials::RevokeRbac::new(connection()))?;
    registry.add(secret::Rotate::new(connection(), settings.random, settings.local_files))?;
    registry.add(node::Cordon::new(connection()))?;
    registry.add(node::Protect::new(connection()))?;
    registry.add(node::Taint::new(connection()))?;
    registry.add(node::Drain::new(connection()))?;
    registry.add(workload::Scale::new(connection()))?;
    registry.add(workload::Restart::new(connection()))?;
    registry.add(workload::UndoRollout::new(connection()))?;
    registry.add(workload::SuspendCronJob::new(connection()))?;
    registry.add(workload::SuspendJob::new(connection()))?;
    registry.add(outside::Notify::new(settings.outside.clone()))?;
    registry.add(outside::Http::new(settings.outside.clone()))?;
    registry.add(outside::Exec::new(settings.outside.clone()))?;
    Ok(())
}
