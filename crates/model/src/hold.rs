//! What keeps a backup until somebody lets it go.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::BackupId;

/// A hold: the backup is not removed by any rule. It is not signed, since whoever holds one needs no key: at worst somebody
/// keeps what could go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// `MAJOR.MINOR` of the format.
    pub format: String,
    /// The backup.
    pub backup: BackupId,
    /// Since when, by the clock of whoever holds it.
    pub since: Timestamp,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}
