//! Who takes which place in the chain of a cluster's backups.

use serde::{Deserialize, Serialize};

use crate::BackupId;

/// The claim of a sequence number, written once, so that no two backups have the same. It is not signed: nothing of it is
/// believed but that the number is taken, and that leaders of a generation are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// `MAJOR.MINOR` of the format.
    pub format: String,
    /// The backup that the number is for; none where a new leader only made itself known.
    #[serde(default)]
    pub backup: Option<BackupId>,
    /// The generation of the leadership of who claims it, where there is one.
    #[serde(default)]
    pub fence: Option<u64>,
    /// The highest generation that was seen up to here, this one included.
    #[serde(default)]
    pub seen: Option<u64>,
    /// The backup's manifest, byte for byte as it is signed.
    #[serde(default)]
    pub manifest: Option<String>,
}
