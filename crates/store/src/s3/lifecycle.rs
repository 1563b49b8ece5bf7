//! What a bucket removes by itself.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleRule as AwsRule, NoncurrentVersionExpiration,
};

use super::bucket::Bucket;
use super::download::timestamp;
use super::failure::Request;
use super::probe::untold;
use crate::{Expiry, LifecycleRule, Prefix, StoreError};

const READ: Request = Request { operation: "read the lifecycle of", permission: "s3:GetLifecycleConfiguration" };

impl Bucket {
    /// The rules that are in force for what this store writes; none where the server does not tell.
    pub(super) async fn lifecycle(&self) -> Result<Option<Vec<LifecycleRule>>, StoreError> {
        let answer = self.client.get_bucket_lifecycle_configuration().bucket(&self.name).send().await;
        let rules = match answer.map_err(|e| self.failure(READ, None, e)) {
            Ok(answer) => answer.rules.unwrap_or_default(),
            Err(failure) if failure.is("NoSuchLifecycleConfiguration") => Vec::new(),
            Err(failure) => return untold(failure, None),
        };
        let start = self.start(&Prefix::ROOT);
        let ours = rules.iter().filter(|rule| *rule.status() == ExpirationStatus::Enabled && concerns(rule, &start));
        Ok(Some(ours.map(describe).collect()))
    }
}

/// Whether a rule is for objects whose names begin like this. What is written has no tags.
fn concerns(rule: &AwsRule, start: &str) -> bool {
    #[expect(deprecated, reason = "servers still answer with it")]
    let old = rule.prefix();
    let (prefix, tagged) = match rule.filter() {
        None => (old, false),
        Some(filter) => match filter.and() {
            Some(all) => (all.prefix(), !all.tags().is_empty()),
            None => (filter.prefix(), filter.tag().is_some()),
        },
    };
    let prefix = prefix.unwrap_or_default();
    !tagged && (start.starts_with(prefix) || prefix.starts_with(start))
}

fn describe(rule: &AwsRule) -> LifecycleRule {
    let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok());
    let expires = rule.expiration().and_then(|expiration| {
        let on = timestamp(expiration.date()).map(Expiry::On);
        days(expiration.days()).filter(|days| *days > 0).map(Expiry::Days).or(on)
    });
    LifecycleRule {
        id: rule.id().unwrap_or_default().chars().take(100).collect(),
        expires,
        noncurrent_days: days(
            rule.noncurrent_version_expiration().and_then(NoncurrentVersionExpiration::noncurrent_days),
        ),
        abort_days: days(
            rule.abort_incomplete_multipart_upload().and_then(AbortIncompleteMultipartUpload::days_after_initiation),
        ),
    }
}
