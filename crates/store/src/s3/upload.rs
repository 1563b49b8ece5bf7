//! Writing an object once.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::bucket::{Bucket, Shared};
use super::failure::WRITE;
use super::parts::{FIRST_PART, Parts, Sent};
use super::protection::{lock_mode, until};
use super::{download, multipart};
use crate::{Body, Key, Retention, StoreError};

/// The condition that makes a write the only one.
pub(super) const ABSENT: &str = "*";

/// Writes an object, in one request or in parts, and tells how many bytes it has.
pub(super) async fn put_once(
    bucket: &Shared,
    key: &Key,
    body: Body,
    retention: Option<Retention>,
) -> Result<u64, StoreError> {
    let mut parts = Parts::new(key, body, &bucket.buffers);
    let first = parts.next(FIRST_PART).await?;
    if first.len() < FIRST_PART {
        let sent = parts.sent();
        bucket.put_whole(key, first, sent, retention).await?;
        return Ok(sent.bytes);
    }
    multipart::put_in_parts(bucket, key, first, parts, retention).await
}

impl Bucket {
    async fn put_whole(
        &self,
        key: &Key,
        content: Bytes,
        sent: Sent,
        retention: Option<Retention>,
    ) -> Result<(), StoreError> {
        let (encryption, encryption_key) = self.sse();
        self.once(key, sent, || {
            self.client
                .put_object()
                .bucket(&self.name)
                .key(self.path(key))
                .if_none_match(ABSENT)
                .set_checksum_algorithm(self.checksum_of(retention))
                .set_server_side_encryption(encryption.clone())
                .set_ssekms_key_id(encryption_key.clone())
                .set_object_lock_mode(retention.map(|retention| lock_mode(retention.mode)))
                .set_object_lock_retain_until_date(retention.map(until))
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
    pub(super) async fn once<T, E, A>(&self, key: &Key, sent: Sent, attempt: impl Fn() -> A) -> Result<(), StoreError>
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
}
