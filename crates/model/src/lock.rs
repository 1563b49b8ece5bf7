//! Object Lock, as the configuration asks for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Age;

/// The lock that is put on everything that is written: until it ends, nobody removes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectLock {
    /// Who may override it.
    pub mode: LockMode,
    /// For how long, from when it is written: `36h`, `14d`, `6mo`.
    pub retain: Age,
}

/// Who may override a lock.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html#object-lock-retention-modes>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LockMode {
    /// Who has the permission `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody, not even the account's owner.
    Compliance,
}
