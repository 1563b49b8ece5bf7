use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::store::{beyond_end, body, check_range};
use crate::{
    Body, Capabilities, Incomplete, Key, Listed, Listing, Object, ObjectLock, Prefix, Protection, Store, StoreError,
    Stored, Versioning,
};

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A store in memory: for tests, and as the model that the others are compared with.
pub struct MemoryStore {
    clock: Clock,
    objects: Mutex<BTreeMap<Key, (Bytes, Timestamp)>>,
}

impl MemoryStore {
    /// An empty store whose objects are dated by that clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, objects: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, (Bytes, Timestamp)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &Key) -> Result<(Bytes, Timestamp), StoreError> {
        self.objects().get(key).cloned().ok_or_else(|| StoreError::NotFound { key: key.clone() })
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

    async fn put_once(&self, key: &Key, mut body: Body) -> Result<Stored, StoreError> {
        let mut content = BytesMut::new();
        while let Some(chunk) = body.next().await {
            content.extend_from_slice(&chunk.map_err(|source| StoreError::Body { key: key.clone(), source })?);
        }
        let bytes = content.len() as u64;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(StoreError::AlreadyExists { key: key.clone() });
        }
        objects.insert(key.clone(), (content.freeze(), (self.clock)()));
        Ok(Stored { bytes })
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        let (content, modified) = self.find(key)?;
        Ok(Object { bytes: content.len() as u64, modified, body: body(content) })
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_range(key, &range)?;
        let (content, _) = self.find(key)?;
        let size = content.len() as u64;
        match (usize::try_from(range.start), usize::try_from(range.end)) {
            (Ok(start), Ok(end)) if end <= content.len() => Ok(content.slice(start..end)),
            _ => Err(beyond_end(key, &range, Some(size))),
        }
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        let listed = |(key, (content, modified)): (&Key, &(Bytes, Timestamp))| {
            Ok(Listed { key: key.clone(), bytes: content.len() as u64, modified: *modified })
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
        self.objects().remove(key);
        Ok(())
    }

    async fn protection(&self, _: &Key) -> Result<Protection, StoreError> {
        Ok(Protection::default())
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
            object_lock: ObjectLock::Disabled,
            versioning: Versioning::Disabled,
            clock_skew: Some((self.clock)().duration_since(now)),
        })
    }

    async fn close(&self) {}
}
