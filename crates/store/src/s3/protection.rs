//! What holds an object against removal.

use aws_sdk_s3::types::ObjectLockLegalHoldStatus;

use super::bucket::Bucket;
use super::download::timestamp;
use super::failure::{Failure, READ, Request};
use crate::{Key, Protection, StoreError};

const READ_RETENTION: Request = Request { operation: "read the retention of", permission: "s3:GetObjectRetention" };
const READ_HOLD: Request = Request { operation: "read the legal hold of", permission: "s3:GetObjectLegalHold" };

impl Bucket {
    /// Asked for by name: to an identity without the permission a server just leaves it out of other answers.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    pub(super) async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        let (bucket, path) = (&self.name, self.path(key));
        let head = self.client.head_object().bucket(bucket).key(&path).send().await;
        let version = match head.map_err(|e| self.failure(READ, Some(key), e)) {
            Ok(head) => head.version_id,
            Err(failure) if failure.status == Some(404) => return Err(StoreError::NotFound { key: key.clone() }),
            Err(failure) => return Err(failure.error),
        };
        // Only where there are versions can anything be locked.
        let Some(version) = version.filter(|version| version != "null") else { return Ok(Protection::default()) };

        let retention = self.client.get_object_retention().bucket(bucket).key(&path).version_id(&version).send().await;
        let retained_until = match retention.map_err(|e| self.failure(READ_RETENTION, Some(key), e)) {
            Ok(answer) => match answer.retention {
                Some(retention) if retention.mode.is_some() => Some(
                    timestamp(retention.retain_until_date())
                        .ok_or_else(|| corrupt(key, "it is retained, and the server does not tell until when"))?,
                ),
                _ => None,
            },
            Err(failure) => none(failure)?,
        };
        let hold = self.client.get_object_legal_hold().bucket(bucket).key(&path).version_id(&version).send().await;
        let status = match hold.map_err(|e| self.failure(READ_HOLD, Some(key), e)) {
            Ok(answer) => answer.legal_hold.and_then(|hold| hold.status),
            Err(failure) => none(failure)?,
        };
        Ok(Protection { retained_until, legal_hold: status == Some(ObjectLockLegalHoldStatus::On), versioned: true })
    }
}

fn corrupt(key: &Key, reason: &str) -> StoreError {
    StoreError::Corrupt { key: key.clone(), reason: reason.to_owned() }
}

/// Nothing, where the object has none, the bucket has no Object Lock, or the server knows no such thing.
fn none<T>(failure: Failure) -> Result<Option<T>, StoreError> {
    if matches!(failure.status, Some(404 | 405 | 501)) || failure.is("InvalidRequest") {
        return Ok(None);
    }
    Err(failure.error)
}
