//! Which of several daemons works: a Lease of the cluster, whose generation fences off who held it before.
//!
//! The work ends ahead of the lease, so that it has stopped before somebody else may begin. When the API server does not
//! answer, nobody can take the lease, or nobody whom we could hear of: the last leader goes on with what harms nobody,
//! and the store does not take its backups any more once a later leader has made itself known there.

use std::time::Duration;

use jiff::SignedDuration;
use lifeboat_kubernetes::{Cluster, Error as KubernetesError, LeaseLock, LeaseOptions};
use lifeboat_model::LeaderElection;
use lifeboat_recovery::{Context, Error as RecoveryError, backup, chain};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::event::{DaemonEvent, Events};

/// Whether this daemon works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Office {
    /// It does not.
    None,
    /// It does. Without a generation there is nobody else.
    Held(Option<u64>),
    /// It held the lease under that generation, and the API server does not answer.
    Isolated(u64),
}

impl Office {
    pub(crate) fn fence(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Held(fence) => fence,
            Self::Isolated(fence) => Some(fence),
        }
    }
}

/// Takes and keeps the lease.
pub(crate) struct Leader {
    /// Notices soon that the API server keeps silent.
    pub(crate) cluster: Cluster,
    /// Gives a slow one its time.
    pub(crate) patient: Cluster,
    pub(crate) context: Context,
    pub(crate) election: LeaderElection,
    /// Who this daemon is.
    pub(crate) identity: String,
    pub(crate) events: Events,
    pub(crate) office: watch::Sender<Office>,
}

/// Why the lease was not taken, or is not held any more.
enum Without {
    /// Somebody else has it, or it cannot be had.
    Lease,
    /// The API server does not answer.
    Server,
}

impl Leader {
    /// Runs until the token is cancelled, which is to be done when all work has ended. Then the lease is free at once.
    pub(crate) async fn run(self, released: CancellationToken) {
        let work = async {
            loop {
                if let Ok(lock) = self.take().await {
                    self.hold(lock, &released).await;
                }
                if released.run_until_cancelled(sleep(self.pause())).await.is_none() {
                    return;
                }
            }
        };
        // Holding the lease ends by itself, so that it can be given up: one that is just being taken is taken first. What
        // is not given up in that time has expired.
        tokio::select! {
            () = work => {}
            () = async { released.cancelled().await; sleep(self.lasts() * 2).await } => {}
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(self.election.lease_seconds.into())
    }

    fn pause(&self) -> Duration {
        self.lasts() / 4
    }

    async fn take(&self) -> Result<LeaseLock, Without> {
        let options = LeaseOptions {
            namespace: self.election.namespace.clone(),
            name: self.election.name.clone(),
            holder: self.identity.clone(),
            duration: self.lasts(),
            field_manager: "lifeboat".to_owned(),
        };
        self.cluster.take_lease(options).await.map_err(|error| match &error {
            KubernetesError::Held { holder, .. } => {
                tracing::debug!(holder, "somebody else leads");
                Without::Lease
            }
            error if error.is_transient() => {
                tracing::warn!(error = chain(error), "the lease cannot be taken, since the API server does not answer");
                Without::Server
            }
            error => {
                tracing::error!(error = chain(error), "the lease cannot be taken");
                Without::Lease
            }
        })
    }

    /// Leads, as often as the lease can be had again before somebody else has it.
    async fn hold(&self, mut lock: LeaseLock, released: &CancellationToken) {
        loop {
            let held = self.assume_and_keep(&mut lock, released).await;
            let lost = Instant::now();
            let again = if released.is_cancelled() {
                None
            } else {
                self.office.send_replace(Office::None);
                let again = self.recover(held, lock.generation(), lost, released).await;
                self.office.send_replace(Office::None);
                again
            };
            match again {
                Some(again) => lock = again,
                // It may be ours still, since the work ends ahead of it.
                None if released.is_cancelled() => return self.give_up(lock).await,
                None => return,
            }
        }
    }

    async fn give_up(&self, lock: LeaseLock) {
        match lock.step_down(&self.patient).await {
            Ok(()) | Err(KubernetesError::LeaseLost { .. }) => {}
            Err(error) => tracing::warn!(error = chain(&error), "the lease is not given up, and expires"),
        }
    }

    /// Gives how the office ended: whether it was had.
    async fn assume_and_keep(&self, lock: &mut LeaseLock, released: &CancellationToken) -> bool {
        let margin = self.lasts() / 3;
        if let Err(error) = self.assume(lock, margin, released).await {
            tracing::warn!(error = chain(&error), "the lease was lost before anything was begun");
            return false;
        }
        if released.is_cancelled() {
            return false;
        }
        let generation = lock.generation();
        tracing::info!(generation, "leading");
        self.office.send_replace(Office::Held(Some(generation)));
        if let Some(error) = released.run_until_cancelled(lock.keep_ahead(margin)).await {
            tracing::warn!(error = chain(&error), "not leading any more");
        }
        true
    }

    /// Makes it known in the store that there is a new leader. Until then nothing is begun.
    async fn assume(
        &self,
        lock: &mut LeaseLock,
        margin: Duration,
        released: &CancellationToken,
    ) -> Result<(), KubernetesError> {
        let mut wait = Duration::from_secs(1);
        loop {
            let generation = lock.generation();
            let known = tokio::select! {
                lost = lock.keep_ahead(margin) => return Err(lost),
                () = released.cancelled() => return Ok(()),
                known = backup::take_over(&self.context, generation) => known,
            };
            match known {
                Ok(()) => return Ok(()),
                // The lease was deleted, or came back with an older etcd. It is ours, and so is the next generation.
                Err(RecoveryError::Refused(reason)) => {
                    tracing::warn!(reason, "the lease has forgotten its generation");
                    lock.raise_above(generation.saturating_mul(2)).await?;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "the store does not learn of the new leader yet");
                    self.events.publish(DaemonEvent::StoreFailed { error });
                    tokio::select! {
                        lost = lock.keep_ahead(margin) => return Err(lost),
                        () = released.cancelled() => return Ok(()),
                        () = sleep(wait) => {}
                    }
                    wait = (wait * 2).min(Duration::from_secs(30));
                }
            }
        }
    }

    /// The lease was lost: takes it again if nobody else has it. As long as that cannot be found out, who has led goes
    /// on without the API server, but not for ever.
    async fn recover(&self, held: bool, fence: u64, lost: Instant, released: &CancellationToken) -> Option<LeaseLock> {
        let now = self.context.clock.now();
        let limit = now.duration_since(self.election.isolated_for.before(now));
        let limit = Duration::try_from(limit.max(SignedDuration::ZERO)).unwrap_or_default();
        loop {
            // It is not broken off: what was taken has to be given up.
            match self.take().await {
                Ok(lock) => return Some(lock),
                Err(Without::Lease) => return None,
                Err(Without::Server) if held && lost.elapsed() < limit => {
                    self.office.send_if_modified(|office| {
                        let isolated = Office::Isolated(fence);
                        std::mem::replace(office, isolated) != isolated
                    });
                }
                Err(Without::Server) => return None,
            }
            released.run_until_cancelled(sleep(self.pause())).await?;
        }
    }
}
