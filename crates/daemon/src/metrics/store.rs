//! A store whose operations are timed and whose failures are counted.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_store::{
    Body, Capabilities, Incomplete, Key, Listed, Listing, Object, Prefix, Protection, Purged, Retention, Store,
    StoreError, Stored,
};

use super::Metrics;
use super::labels::{OfOperation, StoreFailure};

/// Another store, measured.
pub(crate) struct MeteredStore {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl fmt::Debug for MeteredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl MeteredStore {
    pub(crate) fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let result = work.await;
        self.metrics.operation(operation, begun, result.as_ref().err());
        result
    }

    /// A listing, timed from its first request to its end.
    fn timed_listing<'a, T: Send + 'a>(&'a self, operation: &'static str, listing: Listing<'a, T>) -> Listing<'a, T> {
        let state = (listing, None::<Instant>);
        stream::unfold(Some(state), move |state| async move {
            let (mut listing, begun) = state?;
            let begun = begun.unwrap_or_else(Instant::now);
            match listing.next().await {
                Some(Ok(entry)) => Some((Ok(entry), Some((listing, Some(begun))))),
                Some(Err(error)) => {
                    self.metrics.operation(operation, begun, Some(&error));
                    Some((Err(error), None))
                }
                None => {
                    self.metrics.operation(operation, begun, None);
                    None
                }
            }
        })
        .boxed()
    }
}

impl Metrics {
    fn operation(&self, operation: &'static str, begun: Instant, error: Option<&StoreError>) {
        self.0.store_seconds.get_or_create(&OfOperation { operation }).observe(begun.elapsed().as_secs_f64());
        let Some(reason) = error.and_then(reason) else { return };
        self.0.store_failures.get_or_create(&StoreFailure { operation, reason }).inc();
    }
}

/// Why an operation failed. That something is not there, or there already, is an answer and no failure.
fn reason(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => return None,
        StoreError::NoSuchBucket { .. } => "no_such_bucket",
        StoreError::AccessDenied { .. } => "access_denied",
        StoreError::BadCredentials { .. } => "bad_credentials",
        StoreError::Unreachable { .. } => "unreachable",
        StoreError::Locked { .. } => "locked",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::NoSpace { .. } => "no_space",
        StoreError::Timeout { .. } => "timeout",
        StoreError::Uncertain { .. } => "uncertain",
        // The content came from elsewhere, and what was asked for made no sense: neither is the store's.
        StoreError::Body { .. } | StoreError::BadRange { .. } | StoreError::BadOption { .. } => return None,
        _ => "other",
    })
}

#[async_trait]
impl Store for MeteredStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError> {
        self.timed("put", self.inner.put_once(key, body)).await
    }

    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError> {
        self.timed("put", self.inner.put_retained(key, body, retention)).await
    }

    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        self.timed("retain", self.inner.retain(key, retention)).await
    }

    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        self.timed("hold", self.inner.hold(key, held)).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        self.timed("get", self.inner.get(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.timed("get_range", self.inner.get_range(key, range)).await
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        self.timed_listing("list", self.inner.list(prefix))
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        self.timed_listing("list", self.inner.folders(prefix))
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.timed("delete", self.inner.delete(key)).await
    }

    async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError> {
        self.timed("purge", self.inner.purge(prefix)).await
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        self.timed("protection", self.inner.protection(key)).await
    }

    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        self.timed_listing("list_uploads", self.inner.incomplete_uploads(prefix))
    }

    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError> {
        self.timed("abort_upload", self.inner.abort_incomplete(upload)).await
    }

    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        self.timed("probe", self.inner.capabilities(probe, now)).await
    }

    fn unretained(&self) -> &dyn Store {
        self.inner.unretained()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
