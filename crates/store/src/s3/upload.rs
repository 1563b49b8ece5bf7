//! Writing an object once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::bucket::{Bucket, Shared};
use super::failure::{ABORT, WRITE};
use super::parts::{FIRST_PART, MAX_PARTS, Parts, Sent, WINDOW, part_size};
use super::{MAX_OBJECT, download};
use crate::{Body, Key, StoreError};

/// The condition that makes a write the only one.
const ABSENT: &str = "*";
/// The slowest server's pace at putting parts together, in bytes a second, that is waited for.
const ASSEMBLY: u64 = 16 << 20;

/// Writes an object, in one request or in parts, and tells how many bytes it has.
pub(super) async fn put_once(bucket: &Shared, tasks: &TaskTracker, key: &Key, body: Body) -> Result<u64, StoreError> {
    let mut parts = Parts::new(key, body);
    let first = parts.next(FIRST_PART).await?;
    if first.len() < FIRST_PART {
        let sent = parts.sent();
        bucket.put_whole(key, first, sent).await?;
        return Ok(sent.bytes);
    }
    put_in_parts(bucket, tasks, key, first, parts).await
}

/// Writes an object in parts, of which the first is there already.
pub(super) async fn put_in_parts(
    bucket: &Shared,
    tasks: &TaskTracker,
    key: &Key,
    first: Bytes,
    parts: Parts,
) -> Result<u64, StoreError> {
    let mut upload = Upload::begin(bucket, tasks, key).await?;
    let outcome = upload.send(first, parts).await;
    match outcome {
        Ok(_) => upload.id = None,
        Err(_) => upload.abort().await,
    }
    outcome
}

impl Bucket {
    async fn put_whole(&self, key: &Key, content: Bytes, sent: Sent) -> Result<(), StoreError> {
        self.once(key, sent, || {
            self.client
                .put_object()
                .bucket(&self.name)
                .key(self.path(key))
                .if_none_match(ABSENT)
                .set_checksum_algorithm(self.checksum())
                .body(ByteStream::new(SdkBody::from(content.clone())))
                .customize()
                .config_override(self.request_of(sent.bytes).retry_config(RetryConfig::disabled()))
                .send()
        })
        .await
    }

    /// Repeats a conditional write until it is known whether it took effect.
    ///
    /// A write whose answer was lost may have taken effect, and its repetition is then refused because of itself. So
    /// after such a loss a refusal says nothing; what counts is whether the store holds what was sent.
    async fn once<T, E, A>(&self, key: &Key, sent: Sent, attempt: impl Fn() -> A) -> Result<(), StoreError>
    where
        A: Future<Output = Result<T, SdkError<E>>>,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let times = usize::try_from(self.timeouts.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(20))
            .with_max_times(times)
            .with_jitter()
            .build();
        let deadline = Instant::now() + self.timeouts.total.max(self.timeouts.request_of(sent.bytes));
        let mut uncertain = false;
        loop {
            let Err(error) = attempt().await else { return Ok(()) };
            let failure = self.failure(WRITE, Some(key), error);
            uncertain |= failure.uncertain;
            if failure.transient
                && let Some(delay) = delays.next()
                && Instant::now() + delay < deadline
            {
                tracing::debug!(%key, error = %failure.error, ?delay, "a write failed and is repeated");
                sleep(delay).await;
                continue;
            }
            return if uncertain { self.settle(key, sent, failure.error).await } else { Err(failure.error) };
        }
    }

    /// Decides, after a write whose effect is not known, by what the store holds.
    async fn settle(&self, key: &Key, sent: Sent, error: StoreError) -> Result<(), StoreError> {
        match download::holds(self, key, sent).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::AlreadyExists { key: key.clone() }),
            Err(StoreError::NotFound { .. }) => Err(error),
            Err(unknown) => {
                tracing::warn!(%key, error = %unknown, "it cannot be found out whether a write took effect");
                Err(StoreError::Uncertain { key: key.clone(), source: Box::new(error) })
            }
        }
    }

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
    tasks: TaskTracker,
    key: Key,
    /// `None` once there is nothing to abort.
    id: Option<Arc<str>>,
}

impl Upload {
    async fn begin(bucket: &Shared, tasks: &TaskTracker, key: &Key) -> Result<Self, StoreError> {
        let created = bucket
            .client
            .create_multipart_upload()
            .bucket(&bucket.name)
            .key(bucket.path(key))
            .set_checksum_algorithm(bucket.checksum())
            .send()
            .await
            .map_err(|e| bucket.failure(WRITE, Some(key), e))?;
        let id = created.upload_id().map(Arc::from);
        if id.is_none() {
            return Err(unusable(bucket, key, "the server began an upload without an id"));
        }
        Ok(Self { bucket: Arc::clone(bucket), tasks: tasks.clone(), key: key.clone(), id })
    }

    /// Sends all parts and completes the object.
    async fn send(&self, first: Bytes, mut parts: Parts) -> Result<u64, StoreError> {
        let Some(id) = self.id.clone() else { return Err(unusable(&self.bucket, &self.key, "the upload is over")) };
        let mut flight = Flight::default();
        let mut part = first;
        let mut number = 1;
        while !part.is_empty() {
            if number > MAX_PARTS {
                return Err(StoreError::TooLarge { key: self.key.clone(), limit: MAX_OBJECT });
            }
            while flight.bytes + part.len() > WINDOW {
                flight.land().await?;
            }
            flight.start(Arc::clone(&self.bucket), self.key.clone(), Arc::clone(&id), number, part);
            number += 1;
            part = loop {
                // A part that fails ends the upload even while the body has nothing to send.
                tokio::select! {
                    part = parts.next(part_size(number)) => break part?,
                    landed = flight.land(), if !flight.running.is_empty() => landed?,
                }
            };
        }
        while !flight.running.is_empty() {
            flight.land().await?;
        }
        let sent = parts.sent();
        self.complete(&id, flight.landed, sent).await?;
        Ok(sent.bytes)
    }

    async fn complete(&self, id: &str, mut parts: Vec<CompletedPart>, sent: Sent) -> Result<(), StoreError> {
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
                    .upload_id(id)
                    .if_none_match(ABSENT)
                    .multipart_upload(parts.clone())
                    .customize()
                    .config_override(bucket.request_of(bytes).retry_config(RetryConfig::disabled()))
                    .send()
            })
            .await
    }

    async fn abort(mut self) {
        if let Some(id) = self.id.clone() {
            abort_or_warn(&self.bucket, &self.key, &id).await;
            self.id = None;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            tracing::warn!(key = %self.key, "an unfinished upload is left: the runtime is gone");
            return;
        };
        let (bucket, key) = (Arc::clone(&self.bucket), self.key.clone());
        self.tasks.spawn_on(async move { abort_or_warn(&bucket, &key, &id).await }, &runtime);
    }
}

async fn abort_or_warn(bucket: &Bucket, key: &Key, id: &str) {
    if let Err(error) = bucket.abort(key, id).await {
        tracing::warn!(%key, %error, "an unfinished upload is left");
    }
}

fn unusable(bucket: &Bucket, key: &Key, message: &str) -> StoreError {
    StoreError::Other {
        operation: WRITE.operation,
        resource: bucket.url(key),
        status: None,
        code: None,
        message: message.to_owned(),
    }
}

/// The parts on their way; dropping it stops them.
#[derive(Default)]
struct Flight {
    running: JoinSet<Result<(usize, CompletedPart), StoreError>>,
    bytes: usize,
    landed: Vec<CompletedPart>,
}

impl Flight {
    fn start(&mut self, bucket: Shared, key: Key, id: Arc<str>, number: u16, part: Bytes) {
        self.bytes += part.len();
        self.running.spawn(async move {
            let length = part.len();
            let done = send_part(&bucket, &key, &id, number, part).await?;
            Ok((length, done))
        });
    }

    /// Waits for a part to be stored; keeps waiting for the others when the future is dropped.
    async fn land(&mut self) -> Result<(), StoreError> {
        match self.running.join_next().await {
            None => Ok(()),
            Some(Ok(landed)) => {
                let (length, part) = landed?;
                self.bytes -= length;
                self.landed.push(part);
                Ok(())
            }
            // Parts are stopped only with the upload itself; so this is a panic, which is passed on.
            Some(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Some(Err(_)) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

async fn send_part(
    bucket: &Bucket,
    key: &Key,
    id: &str,
    number: u16,
    part: Bytes,
) -> Result<CompletedPart, StoreError> {
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
        .config_override(bucket.request_of(part.len() as u64))
        .send()
        .await
        .map_err(|e| bucket.failure(WRITE, Some(key), e))?;
    Ok(CompletedPart::builder()
        .part_number(i32::from(number))
        .set_e_tag(sent.e_tag)
        .set_checksum_crc32(sent.checksum_crc32)
        .build())
}
