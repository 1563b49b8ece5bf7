//! What holds an object against removal.

use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use jiff::Timestamp;

use super::bucket::Bucket;
use super::download::timestamp;
use super::failure::{Failure, READ, Request};
use crate::{Key, Protection, StoreError};

const READ_RETENTION: Request = Request { operation: "read the retention of", permission: "s3:GetObjectRetention" };
const READ_HOLD: Request = Request { operation: "read the legal hold of", permission: "s3:GetObjectLegalHold" };

impl Bucket {
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
    // "Bucket is missing Object Lock Configuration", with and without the blanks.
    let bucket_has_none = failure.is("InvalidRequest")
        && matches!(&failure.error, StoreError::Other { message: text, .. } | StoreError::Locked { reason: text, .. }
            if text.contains("missing"));
    let has_none = failure.is("NoSuchObjectLockConfiguration") || matches!(failure.status, Some(404 | 405 | 501));
    if has_none || bucket_has_none { Ok(None) } else { Err(failure.error) }
}
