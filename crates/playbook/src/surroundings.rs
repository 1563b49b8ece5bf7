//! What comes from outside: time, chance, people.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use lifeboat_model::{BackupId, Digest, IdError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ActionError;

/// Time and randomness, from outside.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// Identifies a run; of the form of a backup's id, the time of its start and six random characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(#[schemars(with = "String")] BackupId);

impl RunId {
    /// The id of a run that starts at `now`; `random` makes it unique within that second.
    pub fn new(now: Timestamp, random: u64) -> Self {
        Self(BackupId::new(now, random))
    }

    /// When it says that it was begun.
    pub fn started(&self) -> Option<Timestamp> {
        self.0.started()
    }

    /// The id as text, safe as the name of a file.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

/// Who asks for, approves or cancels something: a user's name, as the caller has proved it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Identity(pub String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A question to people other than the requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The run that waits.
    pub run: RunId,
    /// What is approved: every vote has to quote it.
    pub hash: Digest,
    /// The question.
    pub text: String,
    /// How many different people have to agree.
    pub quorum: u32,
    /// Who asked for the run, and may not approve it.
    pub requester: Identity,
}

/// One person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vote {
    /// Whose.
    pub by: Identity,
    /// The hash of what it is about.
    pub hash: Digest,
    /// Yes or no.
    pub approve: bool,
}

/// Where answers come from: a terminal, the state directory, an annotation that was checked.
#[async_trait]
pub trait Approver: Send + Sync {
    /// Waits for the next answer to a request. The engine counts, bounds the time, refuses votes on other hashes and
    /// of the requester; it may drop the future at any time and ask again.
    ///
    /// # Errors
    /// When nobody can be asked: the approval is then denied.
    async fn vote(&self, request: &ApprovalRequest) -> Result<Vote, ActionError>;
}
