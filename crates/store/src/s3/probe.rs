//! Finding out what a bucket can do, by doing it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockMode};
use bytes::Bytes;
use jiff::Timestamp;

use super::bucket::{Bucket, Shared};
use super::failure::{DELETE, Failure, Request, WRITE};
use super::parts::{FIRST_PART, Parts};
use super::{multipart, upload};
use crate::store::body;
use crate::{Capabilities, DefaultRetention, Key, ObjectLock, RetentionPeriod, StoreError, Versioning};

const READ_LOCK: Request = Request { operation: "read the lock of", permission: "s3:GetBucketObjectLockConfiguration" };
const READ_VERSIONING: Request = Request { operation: "read the versioning of", permission: "s3:GetBucketVersioning" };
/// How long the version is held that proves the lock.
const HOLD: Duration = Duration::from_secs(30);

pub(super) async fn capabilities(bucket: &Shared, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
    upload::put_once(bucket, probe, body("probe"), None).await?;
    let found = examine(bucket, probe, now).await;
    let removed = bucket.delete(probe).await;
    let found = found?;
    match removed {
        // A store that lets nobody remove anything is a fine one for backups.
        Ok(()) | Err(StoreError::Locked { .. } | StoreError::AccessDenied { .. }) => Ok(found),
        Err(e) => Err(e),
    }
}

async fn examine(bucket: &Shared, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
    let whole = refused(upload::put_once(bucket, probe, body("again"), None).await)?;
    let mut parts = Parts::new(probe, body("again"), &bucket.buffers);
    let first = parts.next(FIRST_PART).await?;
    let in_parts = refused(multipart::put_in_parts(bucket, probe, first, parts, None).await)?;
    let (versioning, date) = bucket.versioning().await?;
    let object_lock = bucket.object_lock(probe, date.unwrap_or(now)).await?;
    Ok(Capabilities {
        conditional_writes: whole && in_parts,
        object_lock,
        versioning,
        lifecycle: bucket.lifecycle().await?,
        clock_skew: date.map(|date| date.duration_since(now)),
    })
}

/// Whether a second write was refused.
fn refused(second: Result<u64, StoreError>) -> Result<bool, StoreError> {
    match second {
        Ok(_) => Ok(false),
        Err(StoreError::AlreadyExists { .. }) => Ok(true),
        Err(e) => Err(e),
    }
}

impl Bucket {
    /// Whether removed objects are kept, and the server's time.
    async fn versioning(&self) -> Result<(Versioning, Option<Timestamp>), StoreError> {
        let date = DateHeader::default();
        let request = self.client.get_bucket_versioning().bucket(&self.name).customize().interceptor(date.clone());
        let versioning = match request.send().await.map_err(|e| self.failure(READ_VERSIONING, None, e)) {
            Ok(answer) => match answer.status() {
                Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
                Some(BucketVersioningStatus::Suspended) => Versioning::Suspended,
                Some(_) => Versioning::Unknown,
                None => Versioning::Disabled,
            },
            Err(failure) => untold(failure, Versioning::Unknown)?,
        };
        Ok((versioning, date.get()))
    }

    /// What the bucket says of its Object Lock.
    pub(super) async fn lock_configuration(&self) -> Result<Told<ObjectLockConfiguration>, StoreError> {
        let answer = self.client.get_object_lock_configuration().bucket(&self.name).send().await;
        let configuration = match answer.map_err(|e| self.failure(READ_LOCK, None, e)) {
            Ok(answer) => answer.object_lock_configuration,
            Err(failure) if failure.is("ObjectLockConfigurationNotFoundError") => return Ok(Told::IsNot),
            Err(failure) => return untold(failure, Told::Nothing),
        };
        Ok(match configuration {
            Some(found) if found.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled) => Told::Is(found),
            Some(_) => Told::IsNot,
            None => Told::Nothing,
        })
    }

    async fn object_lock(&self, probe: &Key, now: Timestamp) -> Result<ObjectLock, StoreError> {
        let configuration = match self.lock_configuration().await? {
            Told::Is(configuration) => configuration,
            Told::IsNot => return Ok(ObjectLock::Disabled),
            Told::Nothing => return Ok(ObjectLock::Unknown),
        };
        let default = configuration.rule().and_then(|rule| rule.default_retention()).and_then(|retention| {
            let days = retention.days().and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0);
            let years = retention.years().and_then(|years| u32::try_from(years).ok()).filter(|years| *years > 0);
            let period = days.map(RetentionPeriod::Days).or(years.map(RetentionPeriod::Years))?;
            Some(DefaultRetention { mode: retention.mode()?.as_str().to_owned(), period })
        });
        Ok(ObjectLock::Enabled { default, proven: self.prove_lock(probe, now).await? })
    }

    /// Writes a version that is held for a moment, and tries to remove it.
    async fn prove_lock(&self, probe: &Key, now: Timestamp) -> Result<Option<bool>, StoreError> {
        let until = now.as_second() + HOLD.as_secs().cast_signed();
        let held = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(self.path(probe))
            .body(Bytes::from_static(b"held").into())
            .set_checksum_algorithm(self.checksum())
            .object_lock_mode(ObjectLockMode::Governance)
            .object_lock_retain_until_date(DateTime::from_secs(until))
            .send()
            .await;
        let version = match held.map_err(|e| self.failure(WRITE, Some(probe), e)) {
            Ok(held) => held.version_id,
            Err(failure) => return untold(failure, None),
        };
        let Some(version) = version else { return Ok(Some(false)) };
        let remove = || self.client.delete_object().bucket(&self.name).key(self.path(probe)).version_id(&version);
        match remove().send().await.map_err(|e| self.failure(DELETE, Some(probe), e)) {
            Ok(_) => Ok(Some(false)),
            Err(failure) if matches!(failure.status, Some(400..=499)) => {
                // It goes now if this identity may override its own hold, and stays, small, if not.
                if let Err(error) = remove().bypass_governance_retention(true).send().await {
                    tracing::debug!(%probe, error = %self.failure(DELETE, Some(probe), error).error, "a probe is left");
                }
                Ok(Some(true))
            }
            Err(failure) => Err(failure.error),
        }
    }
}

/// What a server says of something that a bucket can have.
pub(super) enum Told<T> {
    Is(T),
    IsNot,
    Nothing,
}

/// What is not known of a bucket whose server has no such request, or does not let this identity ask.
pub(super) fn untold<T>(failure: Failure, unknown: T) -> Result<T, StoreError> {
    match failure.status {
        Some(400..=499 | 501) if !matches!(failure.error, StoreError::BadCredentials { .. }) => Ok(unknown),
        _ => Err(failure.error),
    }
}

/// Keeps the `Date` header of an answer.
#[derive(Debug, Clone, Default)]
struct DateHeader(Arc<Mutex<Option<Timestamp>>>);

impl DateHeader {
    fn get(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for DateHeader {
    fn name(&self) -> &'static str {
        "DateHeader"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        if let Some(date) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(date.timestamp());
        }
        Ok(())
    }
}
