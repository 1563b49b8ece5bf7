//! Writing an object in parts.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::MAX_OBJECT;
use super::bucket::{Bucket, Shared};
use super::failure::{ABORT, WRITE};
use super::parts::{MAX_PARTS, Parts, Sent, part_size, permits};
use super::protection::{lock_mode, until};
use super::upload::ABSENT;
use crate::{Key, Retention, StoreError};

/// The slowest server's pace at putting parts together, in bytes a second, that is waited for.
const ASSEMBLY: u64 = 16 << 20;
/// How long an upload that is given up waits for its parts on their way. One that arrives after the abort would, with
/// some servers, bring the upload back.
const DRAIN: Duration = Duration::from_secs(5);

/// Writes an object in parts, of which the first is there already.
pub(super) async fn put_in_parts(
    bucket: &Shared,
    key: &Key,
    first: Bytes,
    parts: Parts,
    retention: Option<Retention>,
) -> Result<u64, StoreError> {
    let mut upload = Upload::begin(bucket, key, retention).await?;
    let outcome = upload.send(first, parts).await;
    match outcome {
        Ok(_) => upload.id = None,
        Err(_) => upload.given_up().await,
    }
    outcome
}

impl Bucket {
    /// Removes an unfinished upload, which may be gone already.
    pub(super) async fn abort(&self, key: &Key, id: &str) -> Result<(), StoreError> {
        let aborted =
            self.client.abort_multipart_upload().bucket(&self.name).key(self.path(key)).upload_id(id).send().await;
        match aborted.map_err(|e| self.failure(ABORT, Some(key), e)) {
            Ok(_) => Ok(()),
            Err(failure) if failure.is("NoSuchUpload") => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }
}

/// An upload in parts. Dropped unfinished, it is aborted in the background.
struct Upload {
    bucket: Shared,
    key: Key,
    /// `None` once there is nothing to abort.
    id: Option<Arc<str>>,
    /// The parts on their way.
    running: JoinSet<Result<CompletedPart, StoreError>>,
    landed: Vec<CompletedPart>,
}

impl Upload {
    async fn begin(bucket: &Shared, key: &Key, retention: Option<Retention>) -> Result<Self, StoreError> {
        let (encryption, encryption_key) = bucket.sse();
        let created = bucket
            .client
            .create_multipart_upload()
            .bucket(&bucket.name)
            .key(bucket.path(key))
            .set_checksum_algorithm(bucket.checksum())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key)
            .set_object_lock_mode(retention.map(|retention| lock_mode(retention.mode)))
            .set_object_lock_retain_until_date(retention.map(until))
            .send()
            .await
            .map_err(|e| bucket.failure(WRITE, Some(key), e))?;
        let upload = Self {
            bucket: Arc::clone(bucket),
            key: key.clone(),
            id: created.upload_id().map(Arc::from),
            running: JoinSet::new(),
            landed: Vec::new(),
        };
        upload.id().map(|_| ())?;
        Ok(upload)
    }

    fn id(&self) -> Result<Arc<str>, StoreError> {
        self.id.clone().ok_or_else(|| self.unusable("the server began an upload without an id"))
    }

    fn unusable(&self, message: &str) -> StoreError {
        StoreError::Other {
            operation: WRITE.operation,
            resource: self.bucket.url(&self.key),
            status: None,
            code: None,
            message: message.to_owned(),
        }
    }

    /// Sends all parts and completes the object.
    async fn send(&mut self, first: Bytes, mut parts: Parts) -> Result<u64, StoreError> {
        let mut part = first;
        let mut number = 1;
        while !part.is_empty() {
            if number > MAX_PARTS {
                return Err(StoreError::TooLarge { key: self.key.clone(), limit: MAX_OBJECT });
            }
            self.launch(number, part).await?;
            number += 1;
            part = loop {
                // A part that fails ends the upload even while the body has nothing to send.
                tokio::select! {
                    part = parts.next(part_size(number)) => break part?,
                    landed = self.land(), if !self.running.is_empty() => landed?,
                }
            };
        }
        while !self.running.is_empty() {
            self.land().await?;
        }
        let sent = parts.sent();
        self.complete(sent).await?;
        Ok(sent.bytes)
    }

    /// Sends a part on its way as soon as the bucket's window has room for it.
    async fn launch(&mut self, number: u16, part: Bytes) -> Result<(), StoreError> {
        let id = self.id()?;
        let mut room = pin!(Arc::clone(&self.bucket.window).acquire_many_owned(permits(part.len())));
        let room = loop {
            tokio::select! {
                room = &mut room => break room,
                landed = self.land(), if !self.running.is_empty() => landed?,
            }
        };
        let Ok(room) = room else { return Err(self.unusable("the store is closed")) };
        let (bucket, key) = (Arc::clone(&self.bucket), self.key.clone());
        self.running.spawn(async move {
            let sent = send_part(&bucket, &key, &id, number, part).await;
            drop(room);
            sent
        });
        Ok(())
    }

    /// Waits for a part to be stored. Nothing is lost when the future is dropped.
    async fn land(&mut self) -> Result<(), StoreError> {
        match self.running.join_next().await {
            None => Ok(()),
            Some(Ok(landed)) => {
                self.landed.push(landed?);
                Ok(())
            }
            // Parts are stopped only with the upload itself; so this is a panic, which is passed on.
            Some(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Some(Err(_)) => std::future::pending().await,
        }
    }

    async fn complete(&mut self, sent: Sent) -> Result<(), StoreError> {
        let id = self.id()?;
        let mut parts = std::mem::take(&mut self.landed);
        parts.sort_unstable_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let bucket = &self.bucket;
        // The server reads and writes all bytes again.
        let bytes = sent.bytes / (ASSEMBLY / bucket.timeouts.slowest.clamp(1, ASSEMBLY));
        bucket
            .once(&self.key, sent, || {
                bucket
                    .client
                    .complete_multipart_upload()
                    .bucket(&bucket.name)
                    .key(bucket.path(&self.key))
                    .upload_id(&*id)
                    .if_none_match(ABSENT)
                    .multipart_upload(parts.clone())
                    .customize()
                    .config_override(bucket.request_of(bytes).retry_config(RetryConfig::disabled()))
                    .send()
            })
            .await
    }

    async fn given_up(mut self) {
        if let Some(task) = self.abort_in_background() {
            // It ends by itself whether somebody waits for it or not.
            let _ = task.await;
        }
    }

    fn abort_in_background(&mut self) -> Option<JoinHandle<()>> {
        let id = self.id.take()?;
        let Ok(runtime) = Handle::try_current() else {
            tracing::warn!(key = %self.key, "an unfinished upload is left: the runtime is gone");
            return None;
        };
        let (bucket, key) = (Arc::clone(&self.bucket), self.key.clone());
        let mut running = std::mem::take(&mut self.running);
        let abort = async move {
            let drained = timeout(DRAIN, async { while running.join_next().await.is_some() {} }).await;
            if drained.is_err() {
                running.shutdown().await;
            }
            if let Err(error) = bucket.abort(&key, &id).await {
                tracing::warn!(%key, %error, "an unfinished upload is left");
            }
        };
        Some(self.bucket.tasks.spawn_on(abort, &runtime))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.abort_in_background();
    }
}

async fn send_part(
    bucket: &Bucket,
    key: &Key,
    id: &str,
    number: u16,
    part: Bytes,
) -> Result<CompletedPart, StoreError> {
    let bytes = part.len() as u64;
    let sent = bucket
        .client
        .upload_part()
        .bucket(&bucket.name)
        .key(bucket.path(key))
        .upload_id(id)
        .part_number(i32::from(number))
        .set_checksum_algorithm(bucket.checksum())
        .body(ByteStream::new(SdkBody::from(part.clone())))
        .customize()
        .config_override(bucket.request_of(bytes))
        .send()
        .await
        .map_err(|e| bucket.failure(WRITE, Some(key), e))?;
    bucket.buffers.give(part);
    Ok(CompletedPart::builder()
        .part_number(i32::from(number))
        .set_e_tag(sent.e_tag)
        .set_checksum_crc32(sent.checksum_crc32)
        .build())
}
