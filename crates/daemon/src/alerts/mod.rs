//! Alerts in: an address for each tool, a spool, and what is started.
//!
//! A request is accepted when it is on the disk, and not before. From there on it is done once, whatever becomes of the
//! process: what waits is read again at the start, an event that is done is remembered, and the id of a run follows from the
//! event, so that the run of one that was under way is gone on with.

mod auth;
mod document;
mod seen;
mod server;
mod spool;
mod tls;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use lifeboat_model::Digest;
use lifeboat_playbook::{AlertError, Clock, Event, Mapping, Playbook};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use document::{Authentication, ReceiverMode, ReceiverSpec, ReceiverTls, ReceiversDocument};

use seen::Seen;
use spool::Spool;

/// Why alerts cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The receivers make no sense.
    #[error("{}", .0.join("; "))]
    Document(Vec<String>),
    /// A mapping makes no sense.
    #[error("the receiver '{receiver}'")]
    Mapping {
        /// Its name.
        receiver: String,
        /// Why.
        #[source]
        source: AlertError,
    },
    /// A certificate or key cannot be used.
    #[error("'{}' cannot be used for TLS", file.display())]
    Tls {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The folder of what waits cannot be used.
    #[error("the folder '{}' cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A task that runs as long as alerts are received has ended.
    #[error("a task ended that never should")]
    Ended,
}

/// What is to be started for an event.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The playbook.
    pub playbook: &'a Playbook,
    /// Its trigger.
    pub trigger: &'a str,
    /// Its inputs.
    pub inputs: Map<String, Value>,
    /// The event.
    pub event: &'a Event,
    /// When it was received.
    pub received: Timestamp,
    /// The same for this playbook and event, and for no others: who starts again with the same key and time goes on with
    /// the same run.
    pub key: Digest,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It might work later.
    #[error("{0}")]
    Transient(String),
    /// It will not.
    #[error("{0}")]
    Refused(String),
}

/// Starts runs: with journals of its own, or by asking somebody else.
#[async_trait]
pub trait Starter: Send + Sync {
    /// Starts the run of an event, or goes on with it if it was started before, and waits for its end; in words what
    /// became of it.
    ///
    /// # Errors
    /// When nothing was started, or it cannot be gone on with.
    async fn start(&self, start: Start<'_>, cancel: &CancellationToken) -> Result<String, StartError>;
}

/// What alerts are received with.
pub struct AlertsOptions {
    /// The receivers.
    pub document: ReceiversDocument,
    /// The address.
    pub listener: TcpListener,
    /// The folder of what waits.
    pub folder: PathBuf,
    /// The playbooks whose triggers are tried.
    pub playbooks: Vec<Playbook>,
    /// Who starts runs; without one, nothing may have the mode `run`.
    pub starter: Option<Arc<dyn Starter>>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
}

/// A receiver that was checked.
struct Receiver {
    spec: ReceiverSpec,
    mapping: Option<Mapping>,
    bucket: server::Bucket,
}

/// What server and work share.
struct Shared {
    receivers: Vec<Receiver>,
    playbooks: Vec<Playbook>,
    starter: Option<Arc<dyn Starter>>,
    clock: Arc<dyn Clock>,
    spool: Spool,
    seen: Seen,
}

impl Shared {
    fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.spec.name == name)
    }
}

/// Receives alerts until the token is cancelled. What was accepted and is not done then waits for the next start.
///
/// # Errors
/// When the document makes no sense, or certificate or folder cannot be used.
pub async fn receive(options: AlertsOptions, shutdown: CancellationToken) -> Result<(), AlertsError> {
    let AlertsOptions { document, listener, folder, playbooks, starter, clock } = options;
    let failed = |source| AlertsError::Folder { folder: folder.clone(), source };
    let mut faults = document.faults(listener.local_addr().map_err(failed)?.ip());
    let runs = document.receivers.iter().any(|receiver| receiver.mode == ReceiverMode::Run);
    if runs && starter.is_none() {
        faults.push("nothing is there to start runs with".to_owned());
    }
    if !faults.is_empty() {
        return Err(AlertsError::Document(faults));
    }
    let tls = document.tls.map(tls::Tls::new).transpose()?;
    let receivers = document.receivers.into_iter().map(|spec| {
        let wrong = |source| AlertsError::Mapping { receiver: spec.name.clone(), source };
        let mapping = spec.mapping.as_ref().map(Mapping::compile).transpose().map_err(wrong)?;
        Ok(Receiver { bucket: server::Bucket::new(spec.per_second), mapping, spec })
    });
    let receivers = receivers.collect::<Result<Vec<_>, AlertsError>>()?;
    let (spool, waiting) = Spool::open(&folder.join("waiting")).map_err(failed)?;
    let seen = Seen::open(&folder.join("done")).map_err(failed)?;
    if !waiting.is_empty() {
        tracing::info!(requests = waiting.len(), "accepted before and not done");
    }
    let shared = Arc::new(Shared { receivers, playbooks, starter, clock, spool, seen });
    let (to_work, names) = mpsc::unbounded_channel();
    for name in waiting {
        // The other end is right here.
        let _ = to_work.send(name);
    }
    let ended = shutdown.child_token();
    let working = tokio::spawn(work::work(Arc::clone(&shared), names, ended.clone()));
    server::serve(listener, tls, shared, to_work, shutdown).await;
    ended.cancel();
    working.await.map_err(|_| AlertsError::Ended)
}

#[cfg(test)]
mod tests;
