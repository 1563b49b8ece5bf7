//! What holds an object against removal.

use std::sync::atomic::Ordering;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};
use jiff::Timestamp;
use lifeboat_model::LockMode;

use super::bucket::Bucket;
use super::download::timestamp;
use super::failure::{Failure, READ, Request};
use super::probe::Told;
use crate::{Key, Protection, Retention, ServerSideEncryption, StoreError};

const READ_RETENTION: Request = Request { operation: "read the retention of", permission: "s3:GetObjectRetention" };
const READ_HOLD: Request = Request { operation: "read the legal hold of", permission: "s3:GetObjectLegalHold" };

const WRITE_RETENTION: Request = Request { operation: "lock", permission: "s3:PutObjectRetention" };
const WRITE_HOLD: Request = Request { operation: "hold", permission: "s3:PutObjectLegalHold" };

/// The mode of a lock, as it is written with an object.
pub(super) fn lock_mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

/// The end of a retention, which has whole seconds.
pub(super) fn until(retention: Retention) -> DateTime {
    DateTime::from_secs(retention.until.as_second() + i64::from(retention.until.subsec_nanosecond() > 0))
}

impl Bucket {
    /// Refuses to write what is to be held into a bucket that says that it cannot, before any bytes are sent. One that does
    /// not tell this identity is found out by what was written.
    pub(super) async fn must_lock(&self, key: &Key) -> Result<(), StoreError> {
        if self.locks.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.lock_configuration().await? {
            Told::Is(_) => self.locks.store(true, Ordering::Relaxed),
            Told::IsNot => return Err(self.unsupported("lock", key, "the bucket was made without Object Lock")),
            Told::Nothing => {}
        }
        Ok(())
    }

    /// Looks whether a new object is held as it was asked for.
    pub(super) async fn prove_retained(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        let protection = self.protection(key).await?;
        if protection.retained_until.is_some_and(|end| end.as_second() >= retention.until.as_second()) {
            return Ok(());
        }
        Err(self.unsupported("lock", key, "it took the lock and put none on the object"))
    }

    /// Looks whether a new object is encrypted as it was asked for.
    pub(super) async fn prove_encrypted(&self, key: &Key) -> Result<(), StoreError> {
        let Some(wanted) = &self.encryption else { return Ok(()) };
        let head = self.client.head_object().bucket(&self.name).key(self.path(key)).send().await;
        let head = head.map_err(|e| self.failure(READ, Some(key), e))?;
        let key_fits = match wanted {
            // Told as it was asked for, or as the full name of the same key.
            ServerSideEncryption::Kms { key_id: Some(id) } => {
                let told = head.ssekms_key_id().and_then(|told| told.strip_suffix(id.as_str()));
                told.is_some_and(|before| before.is_empty() || before.ends_with(['/', ':']))
            }
            _ => true,
        };
        if head.server_side_encryption() == self.sse().0.as_ref() && key_fits {
            return Ok(());
        }
        Err(self.unsupported("encrypt", key, "it took the request and did not encrypt the object so"))
    }

    pub(super) async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        let head = self.client.head_object().bucket(&self.name).key(self.path(key)).send().await;
        let head = match head.map_err(|e| self.failure(READ, Some(key), e)) {
            Ok(head) => head,
            Err(failure) if failure.status == Some(404) => return Err(StoreError::NotFound { key: key.clone() }),
            Err(failure) => return Err(failure.error),
        };
        let wanted = lock_mode(retention.mode);
        let current = head.object_lock_mode();
        let strict = [Some(&wanted), current].contains(&Some(&ObjectLockMode::Compliance));
        let ends = timestamp(head.object_lock_retain_until_date()).unwrap_or(Timestamp::MIN);
        if ends.as_second() >= retention.until.as_second() && (!strict || current == Some(&ObjectLockMode::Compliance))
        {
            return Ok(());
        }
        let mode = if strict { ObjectLockRetentionMode::Compliance } else { ObjectLockRetentionMode::Governance };
        let retention = Retention { until: retention.until.max(ends), ..retention };
        let wanted = ObjectLockRetention::builder().mode(mode).retain_until_date(until(retention)).build();
        let request = self.client.put_object_retention().bucket(&self.name).key(self.path(key)).retention(wanted);
        match request.send().await.map_err(|e| self.failure(WRITE_RETENTION, Some(key), e)) {
            Ok(_) => self.prove_retained(key, retention).await,
            Err(failure) => Err(self.no_lock("lock", key, failure)),
        }
    }

    pub(super) async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        let status = if held { ObjectLockLegalHoldStatus::On } else { ObjectLockLegalHoldStatus::Off };
        let wanted = ObjectLockLegalHold::builder().status(status).build();
        let request = self.client.put_object_legal_hold().bucket(&self.name).key(self.path(key)).legal_hold(wanted);
        match request.send().await.map_err(|e| self.failure(WRITE_HOLD, Some(key), e)) {
            Ok(_) if self.protection(key).await?.legal_hold == held => Ok(()),
            Ok(_) => Err(self.unsupported("hold", key, "it took the legal hold and did nothing")),
            Err(failure) => Err(self.no_lock("hold", key, failure)),
        }
    }

    fn unsupported(&self, operation: &'static str, key: &Key, reason: &str) -> StoreError {
        StoreError::Unsupported { operation, resource: self.url(key), reason: reason.to_owned() }
    }

    /// The error of a request about locks: a server or a bucket that knows none says so in many ways.
    fn no_lock(&self, operation: &'static str, key: &Key, failure: Failure) -> StoreError {
        if failure.is("NoSuchKey") {
            return failure.error;
        }
        if knows_none(&failure) { self.unsupported(operation, key, &failure.error.to_string()) } else { failure.error }
    }

    /// Where the answer about the object says nothing of it, it is asked for by name: to an identity without the permission
    /// a server just leaves it out. <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    pub(super) async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        let head = self.client.head_object().bucket(&self.name).key(self.path(key)).send().await;
        let head = match head.map_err(|e| self.failure(READ, Some(key), e)) {
            Ok(head) => head,
            Err(failure) if failure.status == Some(404) => return Err(StoreError::NotFound { key: key.clone() }),
            Err(failure) => return Err(failure.error),
        };
        // Only where there are versions can anything be locked.
        let version = head.version_id().filter(|version| *version != "null");
        let Some(version) = version else { return Ok(Protection::default()) };
        let retained_until = match timestamp(head.object_lock_retain_until_date()) {
            Some(until) => Some(until),
            None => self.retained_until(key, version).await?,
        };
        let status = match head.object_lock_legal_hold_status() {
            Some(status) => Some(status.clone()),
            None => self.legal_hold(key, version).await?,
        };
        Ok(Protection { retained_until, legal_hold: status == Some(ObjectLockLegalHoldStatus::On), versioned: true })
    }

    async fn retained_until(&self, key: &Key, version: &str) -> Result<Option<Timestamp>, StoreError> {
        let request = self.client.get_object_retention().bucket(&self.name).key(self.path(key)).version_id(version);
        let answer = match request.send().await.map_err(|e| self.failure(READ_RETENTION, Some(key), e)) {
            Ok(answer) => answer.retention,
            Err(failure) => none(failure)?,
        };
        let Some(retention) = answer.filter(|retention| retention.mode.is_some()) else { return Ok(None) };
        let until = timestamp(retention.retain_until_date());
        until.map(Some).ok_or_else(|| corrupt(key, "it is retained, and the server does not tell until when"))
    }

    async fn legal_hold(&self, key: &Key, version: &str) -> Result<Option<ObjectLockLegalHoldStatus>, StoreError> {
        let request = self.client.get_object_legal_hold().bucket(&self.name).key(self.path(key)).version_id(version);
        match request.send().await.map_err(|e| self.failure(READ_HOLD, Some(key), e)) {
            Ok(answer) => Ok(answer.legal_hold.and_then(|hold| hold.status)),
            Err(failure) => none(failure),
        }
    }
}

fn corrupt(key: &Key, reason: &str) -> StoreError {
    StoreError::Corrupt { key: key.clone(), reason: reason.to_owned() }
}

/// Nothing, where the object has none, the bucket has no Object Lock, or the server knows no such thing.
fn none<T>(failure: Failure) -> Result<Option<T>, StoreError> {
    if failure.is("NoSuchObjectLockConfiguration") || knows_none(&failure) { Ok(None) } else { Err(failure.error) }
}

/// Whether the server says that the bucket has no Object Lock, or knows no such thing at all.
fn knows_none(failure: &Failure) -> bool {
    // "Bucket is missing Object Lock Configuration", with and without the blanks.
    let bucket_has_none = failure.is("InvalidRequest")
        && matches!(&failure.error, StoreError::Other { message: text, .. } | StoreError::Locked { reason: text, .. }
            if text.contains("missing"));
    bucket_has_none || matches!(failure.status, Some(404 | 405 | 501))
}
