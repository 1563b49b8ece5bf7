//! A bucket of S3, or of a server that speaks its protocol, as a store.

mod bucket;
mod download;
mod failure;
mod lifecycle;
mod listing;
mod multipart;
mod options;
mod parts;
mod probe;
mod protection;
mod upload;
mod versions;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use self::bucket::{Bucket, Shared};
pub use self::options::{Checksums, Credentials, S3Options, ServerSideEncryption, Timeouts};
use crate::{
    Body, Capabilities, Incomplete, Key, Listed, Listing, Object, Prefix, Protection, Purged, Retention, Store,
    StoreError, Stored,
};

/// The most bytes of an object, by the number and the sizes of its parts: 156.25 GiB.
const MAX_OBJECT: u64 = (4_000 + 2 * 4_000 + 4 * 2_000) * (8 << 20);

/// A store in a bucket of S3.
///
/// An object is written by one request or, from 8 MiB on, in parts, on the condition that it does not exist
/// (`If-None-Match: *`). A server that ignores that condition is found out by [`Store::capabilities`].
#[derive(Debug)]
pub struct S3Store {
    bucket: Shared,
}

impl S3Store {
    /// Prepares a store. Credentials are looked for, the bucket is not asked yet.
    pub async fn connect(options: S3Options) -> Result<Self, StoreError> {
        Ok(Self { bucket: Arc::new(Bucket::connect(options).await?) })
    }
}

#[async_trait]
impl Store for S3Store {
    fn location(&self) -> String {
        let prefix = self.bucket.prefix.as_str();
        format!("s3://{}{}{prefix}", self.bucket.name, if prefix.is_empty() { "" } else { "/" })
    }

    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError> {
        let bytes = upload::put_once(&self.bucket, key, body, None).await?;
        self.bucket.prove_encrypted(key).await?;
        Ok(Stored { bytes })
    }

    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError> {
        self.bucket.must_lock(key).await?;
        let bytes = upload::put_once(&self.bucket, key, body, Some(retention)).await?;
        self.bucket.prove_encrypted(key).await?;
        self.bucket.prove_retained(key, retention).await?;
        Ok(Stored { bytes })
    }

    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        self.bucket.retain(key, retention).await
    }

    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        self.bucket.hold(key, held).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        download::get(&self.bucket, key).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        download::get_range(&self.bucket, key, range).await
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        self.bucket.list(prefix)
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        self.bucket.folders(prefix)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.bucket.delete(key).await
    }

    async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError> {
        self.bucket.purge(prefix).await
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        self.bucket.protection(key).await
    }

    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        self.bucket.uploads(prefix)
    }

    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError> {
        self.bucket.abort(&upload.key, &upload.id).await
    }

    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        probe::capabilities(&self.bucket, probe, now).await
    }

    fn unretained(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {
        self.bucket.tasks.wait().await;
    }
}

impl Bucket {
    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.client.delete_object().bucket(&self.name).key(self.path(key)).send().await;
        match deleted.map_err(|e| self.failure(failure::DELETE, Some(key), e)) {
            Ok(_) => Ok(()),
            Err(failure) if failure.is("NoSuchKey") => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }
}
