use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{Digest, LockMode};
use sha2::{Digest as _, Sha256};

use crate::{Key, Prefix, StoreError};

/// Bytes on their way, in chunks of any size.
///
/// The error of a body that came out of a store is an [`io::Error`] around a [`StoreError`].
pub type Body = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Entries of a store, fetched as they are asked for.
pub type Listing<'a, T> = BoxStream<'a, Result<T, StoreError>>;

/// The longest range that [`Store::get_range`] reads, since it holds it in memory: 64 MiB.
pub const MAX_RANGE: u64 = 64 << 20;

/// A place where objects are kept under keys, each written once and never changed.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Where the store is, for messages: `s3://bucket/prefix` or a path.
    fn location(&self) -> String;

    /// Writes `key` once; [`StoreError::AlreadyExists`] if it is there.
    ///
    /// An error in the body, or dropping the future, aborts: nothing becomes visible, and the unfinished upload is
    /// removed, in the background after a drop (see [`Store::close`]). A future dropped in the very moment in which
    /// the last step is on its way may still have written the object, whole.
    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError>;

    /// As [`Store::put_once`], and nobody can remove the object until the retention ends. That it is so is looked at
    /// afterwards: a store that takes such a request and does nothing is [`StoreError::Unsupported`], and what was written
    /// is there, unheld.
    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError>;

    /// Holds an object at least until the retention ends; what is held longer, or more strictly, stays so.
    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError>;

    /// Puts an object under a legal hold, which has no end, or ends that.
    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError>;

    /// Opens an object for reading. Its body delivers exactly [`Object::bytes`] bytes, or an error.
    async fn get(&self, key: &Key) -> Result<Object, StoreError>;

    /// Reads the bytes of a range, which must lie within the object, hold at least one byte and at most [`MAX_RANGE`].
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// All objects in a folder and below it, sorted by key.
    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed>;

    /// The folders immediately in a folder that hold objects, in the order in which [`Store::list`] comes to them.
    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix>;

    /// Removes an object; removing what is not there succeeds. In a bucket with versions the old version is kept.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Removes for good, in a folder and below it, what was removed before and is kept as old versions. What is held stays,
    /// and so do old versions of what is there.
    async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError>;

    /// What holds an object against removal. It counts for the store as a whole: [`Store::delete`] hides a held object
    /// from listings where the bucket has versions, and its bytes stay.
    async fn protection(&self, key: &Key) -> Result<Protection, StoreError>;

    /// What killed writers left of their unfinished objects, and live ones are writing now, in a folder and below it.
    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete>;

    /// Removes one of [`Store::incomplete_uploads`]; removing what is not there succeeds.
    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError>;

    /// Finds out what the store can do by doing it on `probe`, a key that was never written, which is removed
    /// afterwards where that is allowed. `now` is this machine's time.
    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError>;

    /// This store without the locks that it puts on what is written: for what is to go again soon.
    fn unretained(&self) -> &dyn Store;

    /// Waits until the unfinished uploads of dropped writes are removed.
    async fn close(&self);
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How many bytes.
    pub bytes: u64,
}

/// An object that is being read.
pub struct Object {
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// Its content.
    pub body: Body,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("bytes", &self.bytes).field("modified", &self.modified).finish_non_exhaustive()
    }
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// What holds an object against removal; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protection {
    /// It is retained until then.
    pub retained_until: Option<Timestamp>,
    /// It is under a legal hold, which ends when somebody ends it.
    pub legal_hold: bool,
    /// The bucket has versions: a removal hides the object, and its bytes stay as an old version.
    pub versioned: bool,
}

/// Until when nobody can remove an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may override it.
    pub mode: LockMode,
    /// When it ends; stores count in whole seconds, and then it ends with the one that has begun.
    pub until: Timestamp,
}

/// What [`Store::purge`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Old versions that are gone, delete markers included.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Old versions that stay, since they are held.
    pub held: u64,
}

/// An object that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// What was to be written.
    pub key: Key,
    /// When it was begun, or last written to, by the store's clock.
    pub started: Timestamp,
    /// What the store calls it: an upload id or the end of a file name.
    pub(crate) id: String,
}

/// What a store can do, as found out on a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// A second write of a key was refused, as one request and in parts.
    pub conditional_writes: bool,
    /// Whether objects can be held against removal.
    pub object_lock: ObjectLock,
    /// Whether removed objects are kept as old versions.
    pub versioning: Versioning,
    /// What the bucket removes by itself; none where the store does not tell.
    pub lifecycle: Option<Vec<LifecycleRule>>,
    /// How far the store's clock is ahead of `now`; it tells it to the second at best.
    pub clock_skew: Option<SignedDuration>,
}

/// Object Lock of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectLock {
    /// It is on.
    Enabled {
        /// What is put on each object that says nothing else.
        default: Option<DefaultRetention>,
        /// The store refused to remove a version that was held. `None`: not tried, or not allowed to try.
        proven: Option<bool>,
    },
    /// It is off, or this kind of store has none.
    Disabled,
    /// The store does not tell.
    Unknown,
}

/// A bucket's default retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRetention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// How long, in the unit that the bucket's configuration uses.
    pub period: RetentionPeriod,
}

/// How long a default retention holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionPeriod {
    /// Days.
    Days(u32),
    /// Years.
    Years(u32),
}

/// A rule by which a bucket removes some of a store's objects by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// What it is called.
    pub id: String,
    /// It removes objects, or hides them where there are versions: so many days after they were written, or on a date.
    pub expires: Option<Expiry>,
    /// It ends old versions, so many days after they became old.
    pub noncurrent_days: Option<u32>,
    /// It removes unfinished uploads, so many days after they were begun.
    pub abort_days: Option<u32>,
}

/// When a lifecycle rule removes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// So many days after it was written.
    Days(u32),
    /// Then.
    On(Timestamp),
}

/// Versioning of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It is on.
    Enabled,
    /// It was on.
    Suspended,
    /// It was never on, or this kind of store has none.
    Disabled,
    /// The store does not tell.
    Unknown,
}

/// The error of a store that knows nothing of locks.
pub(crate) fn no_locks(operation: &'static str, resource: String) -> StoreError {
    StoreError::Unsupported { operation, resource, reason: "it knows no Object Lock".to_owned() }
}

/// A body of bytes that are in memory already.
pub fn body(bytes: impl Into<Bytes>) -> Body {
    let bytes = bytes.into();
    stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed()
}

/// Reads an object to its end and tells its size and digest, holding one chunk of it at a time.
pub async fn digest(store: &dyn Store, key: &Key) -> Result<(u64, Digest), StoreError> {
    let mut object = store.get(key).await?;
    let mut hasher = Sha256::new();
    while let Some(chunk) = object.body.next().await {
        hasher.update(chunk.map_err(|e| read_error(key, e))?);
    }
    Ok((object.bytes, Digest::from(hasher)))
}

/// The store's own error out of a body's.
pub(crate) fn read_error(key: &Key, error: io::Error) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => error,
        Err(error) => StoreError::Corrupt { key: key.clone(), reason: error.to_string() },
    }
}

/// Refuses ranges that no store reads, before asking it; the length otherwise.
pub(crate) fn check_range(key: &Key, range: &Range<u64>) -> Result<usize, StoreError> {
    let bad = |reason: &str| StoreError::BadRange { key: key.clone(), range: range.clone(), reason: reason.to_owned() };
    match range.end.checked_sub(range.start) {
        None | Some(0) => Err(bad("the range is empty")),
        Some(length) if length > MAX_RANGE => Err(bad("the range is longer than 64 MiB")),
        Some(length) => usize::try_from(length).map_err(|_| bad("the range is longer than memory")),
    }
}

/// The error of a range that ends after the object does.
pub(crate) fn beyond_end(key: &Key, range: &Range<u64>, size: Option<u64>) -> StoreError {
    let reason = size.map_or_else(|| "it is shorter".to_owned(), |size| format!("it has {size} bytes"));
    StoreError::BadRange { key: key.clone(), range: range.clone(), reason }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    fn location(&self) -> String {
        (**self).location()
    }

    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError> {
        (**self).put_once(key, body).await
    }

    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError> {
        (**self).put_retained(key, body, retention).await
    }

    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        (**self).retain(key, retention).await
    }

    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        (**self).hold(key, held).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        (**self).get(key).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        (**self).get_range(key, range).await
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        (**self).list(prefix)
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        (**self).folders(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        (**self).delete(key).await
    }

    async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError> {
        (**self).purge(prefix).await
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        (**self).protection(key).await
    }

    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        (**self).incomplete_uploads(prefix)
    }

    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError> {
        (**self).abort_incomplete(upload).await
    }

    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        (**self).capabilities(probe, now).await
    }

    fn unretained(&self) -> &dyn Store {
        (**self).unretained()
    }

    async fn close(&self) {
        (**self).close().await;
    }
}
