use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::ObjectLock;

use crate::{
    Body, Capabilities, Clock, Incomplete, Key, Listed, Listing, Object, Prefix, Protection, Purged, Retention, Store,
    StoreError, Stored,
};

/// Another store that puts a lock on everything that is written.
pub struct RetainedStore<S> {
    inner: S,
    lock: ObjectLock,
    clock: Clock,
}

impl<S: Store> RetainedStore<S> {
    /// Wraps a store. Locks are reckoned from that clock. A lock that the store was wrapped for before gives way.
    pub fn new(inner: S, lock: ObjectLock, clock: Clock) -> Self {
        Self { inner, lock, clock }
    }
}

impl<S: fmt::Debug> fmt::Debug for RetainedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetainedStore").field("inner", &self.inner).field("lock", &self.lock).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Store> Store for RetainedStore<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError> {
        let retention = Retention { mode: self.lock.mode, until: self.lock.retain.after((self.clock)()) };
        self.inner.put_retained(key, body, retention).await
    }

    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError> {
        self.inner.put_retained(key, body, retention).await
    }

    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        self.inner.retain(key, retention).await
    }

    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        self.inner.hold(key, held).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        self.inner.list(prefix)
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        self.inner.folders(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError> {
        self.inner.purge(prefix).await
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        self.inner.protection(key).await
    }

    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        self.inner.incomplete_uploads(prefix)
    }

    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError> {
        self.inner.abort_incomplete(upload).await
    }

    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        self.inner.capabilities(probe, now).await
    }

    fn unretained(&self) -> &dyn Store {
        self.inner.unretained()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
