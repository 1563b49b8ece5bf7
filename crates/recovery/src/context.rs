//! What all of recovery is given by its caller.

use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_archive::TrustedKeys;
use lifeboat_model::ClusterName;
use lifeboat_store::Store;
use tokio_util::sync::CancellationToken;

/// Time and randomness, from outside.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// The store, the cluster's name in it, and whose signatures are trusted.
#[derive(Clone)]
pub struct Context {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The name under which the cluster's backups lie there.
    pub cluster: ClusterName,
    /// The public keys whose signatures are trusted.
    pub trusted: Arc<TrustedKeys>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Ends what is under way.
    pub cancel: CancellationToken,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("store", &self.store).field("cluster", &self.cluster).finish_non_exhaustive()
    }
}
