//! The sealed evidence of a run of a playbook.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BackupId, ClusterName, Digest, Part, SignedDocument};

/// `bundle.json`: what vouches for the sealed evidence of a run. It says nothing of the cluster: what was taken of it is in
/// the sealed part, with the list of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// `MAJOR.MINOR` of the format.
    pub format: String,
    /// The program that wrote it.
    pub tool: String,
    /// The bundle: when it was begun and six random characters, in the form of a backup's id. A run may have several.
    pub id: BackupId,
    /// The run, whose id has the same form.
    pub run: BackupId,
    /// The name under which the cluster's backups lie in the store.
    pub cluster: ClusterName,
    /// UID of the namespace `kube-system`.
    pub cluster_id: String,
    /// When it was sealed.
    #[schemars(with = "String")]
    pub sealed: Timestamp,
    /// The run's journal up to then: so many bytes of it.
    pub journal_bytes: u64,
    /// Digest of these bytes.
    pub journal_sha256: Digest,
    /// To whom the evidence is sealed.
    pub recipients: Vec<String>,
    /// The sealed evidence.
    pub evidence: Part,
}

impl SignedDocument for Bundle {
    fn trusted_comment(&self) -> String {
        format!("lifeboat {} run {} bundle {}", self.cluster_id, self.run, self.id)
    }
}

/// `items.json`, the last file of the evidence: what else is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleContents {
    /// The other files, in their order.
    pub items: Vec<BundleItem>,
    /// What is not there, or not as it was when it was taken, and why.
    pub problems: Vec<String>,
}

/// A file of the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleItem {
    /// Its path in the tar.
    pub path: String,
    /// What it is.
    pub what: String,
    /// Its size.
    pub bytes: u64,
    /// Digest of its bytes.
    pub sha256: Digest,
}
