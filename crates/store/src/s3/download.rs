//! Reading objects, and going on where a connection broke.

use std::io;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, DateTime};
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_model::Digest;
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use super::bucket::{Bucket, Shared};
use super::failure::{Failure, READ, causes};
use super::parts::Sent;
use crate::store::{beyond_end, check_range, read_error};
use crate::{Key, Object, StoreError};

/// Opens an object.
pub(super) async fn get(bucket: &Shared, key: &Key) -> Result<Object, StoreError> {
    let output = bucket.fetch(key, None, None).await?;
    let bytes = length(&output).ok_or_else(|| corrupt(key, "the server does not tell its size"))?;
    let modified =
        timestamp(output.last_modified()).ok_or_else(|| corrupt(key, "the server does not tell its date"))?;
    let download = Download {
        bucket: Shared::clone(bucket),
        key: key.clone(),
        tag: output.e_tag().map(str::to_owned),
        bytes,
        offset: 0,
        stream: output.body,
        delays: delays(bucket),
    };
    let body = stream::try_unfold(download, |mut download| async move {
        Ok(download.next().await?.map(|chunk| (chunk, download)))
    });
    Ok(Object { bytes, modified, body: body.map_err(|e: StoreError| io::Error::other(e)).boxed() })
}

/// Reads a range.
pub(super) async fn get_range(bucket: &Bucket, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
    let length = check_range(key, &range)?;
    let wanted = format!("bytes={}-{}", range.start, range.end - 1);
    let mut tries = delays(bucket);
    loop {
        let output = bucket.fetch(key, Some(wanted.clone()), None).await.map_err(|failure| {
            if failure.status == Some(416) { beyond_end(key, &range, None) } else { failure.error }
        })?;
        let size = output.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        match (placed(&output), size) {
            // The server cuts a range that ends after the object does.
            (Some(got), _) if got == range => {}
            (Some(_), Some(size)) if size < range.end => return Err(beyond_end(key, &range, Some(size))),
            _ => return Err(corrupt(key, "the server answers with another range than it was asked for")),
        }
        let reading = collect(output.body, length);
        let error = match timeout(bucket.timeouts.request_of(length as u64), reading).await {
            Ok(Ok(content)) => return Ok(content),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no more came in time".to_owned(),
        };
        let Some(delay) = tries.next() else { return Err(bucket.broken(key, &error)) };
        sleep(delay).await;
    }
}

/// Whether the store's object is what was sent.
pub(super) async fn holds(bucket: &Bucket, key: &Key, sent: Sent) -> Result<bool, StoreError> {
    let output = bucket.fetch(key, None, None).await?;
    if length(&output) != Some(sent.bytes) {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    let mut body = output.body;
    while let Some(chunk) = body.next().await {
        hasher.update(chunk.map_err(|e| read_error(key, e.into()))?);
    }
    Ok(Digest::from(hasher) == sent.digest)
}

impl Bucket {
    /// Asks for an object or a range of it; `tag`: only if it is still that one.
    async fn fetch(&self, key: &Key, range: Option<String>, tag: Option<String>) -> Result<GetObjectOutput, Failure> {
        let mut settings = self.request_of(0);
        if range.is_some() {
            // Some servers send the checksum of the whole object with a range of it.
            settings = settings.response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        self.client
            .get_object()
            .bucket(&self.name)
            .key(self.path(key))
            .set_range(range)
            .set_if_match(tag)
            .customize()
            .config_override(settings)
            .send()
            .await
            .map_err(|e| self.failure(READ, Some(key), e))
    }
}

impl Bucket {
    /// The error of an answer that breaks off again and again.
    fn broken(&self, key: &Key, reason: &str) -> StoreError {
        let source = format!("reading '{}' broke off: {reason}", self.url(key)).into();
        StoreError::Unreachable { endpoint: self.endpoint.clone(), source }
    }
}

/// An object that is being read.
struct Download {
    bucket: Shared,
    key: Key,
    tag: Option<String>,
    bytes: u64,
    offset: u64,
    stream: ByteStream,
    /// The delays before the repetitions that are left; full again whenever bytes come.
    delays: ExponentialBackoff,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let reason = match self.stream.next().await {
                Some(Ok(chunk)) => {
                    self.offset += chunk.len() as u64;
                    if self.offset > self.bytes {
                        return Err(corrupt(&self.key, "the server sends more than its size"));
                    }
                    if chunk.is_empty() {
                        continue;
                    }
                    self.delays = delays(&self.bucket);
                    return Ok(Some(chunk));
                }
                None if self.offset == self.bytes => return Ok(None),
                None => "it ended too early".to_owned(),
                // All bytes came and then an error: their checksum is wrong.
                Some(Err(e)) if self.offset == self.bytes => return Err(corrupt(&self.key, &describe(&e))),
                Some(Err(e)) => describe(&e),
            };
            self.resume(reason).await?;
        }
    }

    /// Asks for the rest of the object.
    async fn resume(&mut self, mut reason: String) -> Result<(), StoreError> {
        loop {
            let Some(delay) = self.delays.next() else {
                let reason = format!("at byte {} of {}: {reason}", self.offset, self.bytes);
                return Err(self.bucket.broken(&self.key, &reason));
            };
            tracing::debug!(key = %self.key, offset = self.offset, reason, ?delay, "a download broke and is resumed");
            sleep(delay).await;
            let range = format!("bytes={}-", self.offset);
            match self.bucket.fetch(&self.key, Some(range), self.tag.clone()).await {
                Ok(output) if placed(&output) == Some(self.offset..self.bytes) => {
                    self.stream = output.body;
                    return Ok(());
                }
                Ok(_) => return Err(corrupt(&self.key, "the server does not go on where it stopped")),
                Err(failure) if failure.precondition() => return Err(corrupt(&self.key, "it was replaced")),
                Err(failure) if failure.transient => reason = failure.error.to_string(),
                Err(failure) => return Err(failure.error),
            }
        }
    }
}

fn delays(bucket: &Bucket) -> ExponentialBackoff {
    let times = usize::try_from(bucket.timeouts.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(times)
        .with_jitter()
        .build()
}

async fn collect(mut body: ByteStream, length: usize) -> io::Result<Bytes> {
    let mut content = BytesMut::with_capacity(length);
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if chunk.len() > length - content.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more came than was asked for"));
        }
        content.extend_from_slice(&chunk);
    }
    if content.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(content.freeze())
}

/// Which bytes of the object an answer holds.
fn placed(output: &GetObjectOutput) -> Option<Range<u64>> {
    let (range, _) = output.content_range()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?)
}

fn length(output: &GetObjectOutput) -> Option<u64> {
    u64::try_from(output.content_length()?).ok()
}

fn corrupt(key: &Key, reason: &str) -> StoreError {
    StoreError::Corrupt { key: key.clone(), reason: reason.to_owned() }
}

fn describe(error: &ByteStreamError) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The server's date.
pub(super) fn timestamp(date: Option<&DateTime>) -> Option<Timestamp> {
    let date = date?;
    Timestamp::new(date.secs(), i32::try_from(date.subsec_nanos()).ok()?).ok()
}
