use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::store::{beyond_end, body, check_range, no_locks};
use crate::{
    Body, Capabilities, Incomplete, Key, Listed, Listing, Object, ObjectLock, Prefix, Protection, Purged, Retention,
    Store, StoreError, Stored, Versioning,
};

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A store in memory: for tests, and as the model that the others are compared with.
pub struct MemoryStore {
    clock: Clock,
    /// Whether objects can be held against removal.
    locks: bool,
    objects: Mutex<BTreeMap<Key, Item>>,
}

#[derive(Clone)]
struct Item {
    content: Bytes,
    modified: Timestamp,
    protection: Protection,
}

impl MemoryStore {
    /// An empty store whose objects are dated by that clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, locks: false, objects: Mutex::default() }
    }

    /// The same, with Object Lock. There are no versions: what is held cannot be removed.
    pub fn with_locks(clock: Clock) -> Self {
        Self { locks: true, ..Self::new(clock) }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Item>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &Key) -> Result<Item, StoreError> {
        self.objects().get(key).cloned().ok_or_else(|| StoreError::NotFound { key: key.clone() })
    }

    async fn put(&self, key: &Key, mut body: Body, protection: Protection) -> Result<Stored, StoreError> {
        let mut content = BytesMut::new();
        while let Some(chunk) = body.next().await {
            content.extend_from_slice(&chunk.map_err(|source| StoreError::Body { key: key.clone(), source })?);
        }
        let bytes = content.len() as u64;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(StoreError::AlreadyExists { key: key.clone() });
        }
        objects.insert(key.clone(), Item { content: content.freeze(), modified: (self.clock)(), protection });
        Ok(Stored { bytes })
    }

    /// Changes what holds an object.
    fn protect(
        &self,
        key: &Key,
        operation: &'static str,
        change: impl FnOnce(&mut Protection),
    ) -> Result<(), StoreError> {
        if !self.locks {
            return Err(no_locks(operation, key.to_string()));
        }
        let mut objects = self.objects();
        let item = objects.get_mut(key).ok_or_else(|| StoreError::NotFound { key: key.clone() })?;
        change(&mut item.protection);
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.objects().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError> {
        self.put(key, body, Protection::default()).await
    }

    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError> {
        if !self.locks {
            return Err(no_locks("lock", key.to_string()));
        }
        self.put(key, body, Protection { retained_until: Some(retention.until), ..Protection::default() }).await
    }

    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        self.protect(key, "lock", |protection| {
            protection.retained_until = protection.retained_until.max(Some(retention.until));
        })
    }

    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        self.protect(key, "hold", |protection| protection.legal_hold = held)
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        let Item { content, modified, .. } = self.find(key)?;
        Ok(Object { bytes: content.len() as u64, modified, body: body(content) })
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_range(key, &range)?;
        let content = self.find(key)?.content;
        let size = content.len() as u64;
        match (usize::try_from(range.start), usize::try_from(range.end)) {
            (Ok(start), Ok(end)) if end <= content.len() => Ok(content.slice(start..end)),
            _ => Err(beyond_end(key, &range, Some(size))),
        }
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        let listed = |(key, item): (&Key, &Item)| {
            Ok(Listed { key: key.clone(), bytes: item.content.len() as u64, modified: item.modified })
        };
        let found: Vec<_> = self.objects().iter().filter(|(key, _)| prefix.contains(key)).map(listed).collect();
        stream::iter(found).boxed()
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        let objects = self.objects();
        let names = objects.keys().filter_map(|key| Some(prefix.below(key.as_str())?.split_once('/')?.0));
        let mut folders: Vec<_> = names.filter_map(|name| prefix.folder(name).ok()).collect();
        folders.dedup();
        stream::iter(folders).map(Ok).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let now = (self.clock)();
        let mut objects = self.objects();
        let held = objects.get(key).map(|item| item.protection).unwrap_or_default();
        if held.legal_hold || held.retained_until.is_some_and(|until| until > now) {
            return Err(StoreError::Locked { key: key.clone(), reason: "it is held".to_owned() });
        }
        objects.remove(key);
        Ok(())
    }

    async fn purge(&self, _: &Prefix) -> Result<Purged, StoreError> {
        Ok(Purged::default())
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        Ok(self.find(key)?.protection)
    }

    fn incomplete_uploads(&self, _: &Prefix) -> Listing<'_, Incomplete> {
        stream::empty().boxed()
    }

    async fn abort_incomplete(&self, _: &Incomplete) -> Result<(), StoreError> {
        Ok(())
    }

    async fn capabilities(&self, _: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        Ok(Capabilities {
            conditional_writes: true,
            object_lock: if self.locks {
                ObjectLock::Enabled { default: None, proven: Some(true) }
            } else {
                ObjectLock::Disabled
            },
            versioning: Versioning::Disabled,
            lifecycle: Some(Vec::new()),
            clock_skew: Some((self.clock)().duration_since(now)),
        })
    }

    fn unretained(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {}
}
