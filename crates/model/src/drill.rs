//! The report of a restore drill: a signed document without a word about what is in the cluster, and the sealed details
//! that belong to it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::ApiVersion;
use crate::{
    BackupId, ClusterName, Digest, EtcdRecord, GroupResource, IdError, Manifest, Part, ResourcesRecord, SignedDocument,
};

/// Identifies a drill: its start and six random characters, in the form of a backup's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct DrillId(BackupId);

impl DrillId {
    /// The id of a drill that starts at `now`; `random` makes it unique within that second.
    pub fn new(now: Timestamp, random: u64) -> Self {
        Self(BackupId::new(now, random))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for DrillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DrillId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

/// How deep a drill goes. Tiers 0 to 2 each include those below; tier 3 is tier 0 and then another way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
pub enum Tier {
    /// Every part is opened and proved.
    Content,
    /// etcd boots from it.
    Etcd,
    /// kube-apiserver boots on that etcd, and every object is compared.
    Objects,
    /// The objects are restored into another cluster, where workloads run.
    Workloads,
}

impl Tier {
    /// Its number.
    pub fn number(self) -> u8 {
        self.into()
    }
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Content => 0,
            Tier::Etcd => 1,
            Tier::Objects => 2,
            Tier::Workloads => 3,
        }
    }
}

impl TryFrom<u8> for Tier {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Content),
            1 => Ok(Self::Etcd),
            2 => Ok(Self::Objects),
            3 => Ok(Self::Workloads),
            _ => Err(format!("there is no tier {number}: there are 0, 1, 2 and 3")),
        }
    }
}

/// What a finding says of the backup, or of the drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingClass {
    /// What is stored or restored is not what was captured.
    Integrity,
    /// The identity does not open it.
    Refused,
    /// It could not be brought up, or not be read.
    Failed,
    /// It restores, but a target was missed.
    Target,
}

macro_rules! finding_codes {
    ($($variant:ident = $code:literal, $class:ident, $meaning:literal;)*) => {
        /// What a drill found. The names are part of the interface and never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum FindingCode {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)*
            /// A code of a later version.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl FindingCode {
            /// Every code that is known.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)* Self::Unknown => "unknown" }
            }

            /// What it says of the backup.
            pub fn class(self) -> FindingClass {
                match self { $(Self::$variant => FindingClass::$class,)* Self::Unknown => FindingClass::Failed }
            }

            /// What it means, in words.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* Self::Unknown => "a finding of a later version" }
            }
        }
    };
}

finding_codes! {
    NotAuthentic = "not-authentic", Integrity,
        "the manifest is not signed by a trusted key, or is that of another backup or cluster";
    ChainBroken = "chain-broken", Integrity, "the backup before it is not the one that it names";
    PartMissing = "part-missing", Integrity, "a part that the manifest lists is not in the store";
    PartDamaged = "part-damaged", Integrity, "a part is not what the signed manifest says, or does not hold together";
    WrongIdentity = "wrong-identity", Refused, "the recovery identity does not open the backup";
    NoSpace = "no-space", Failed, "the disk of the drill is full";
    EtcdNotRebuilt = "etcd-not-rebuilt", Failed, "no data directory could be built from the snapshot";
    EtcdNotBooted = "etcd-not-booted", Failed, "etcd does not start from the data directory";
    EtcdContent = "etcd-content", Integrity,
        "the running etcd has other keys, revisions or values than the snapshot";
    RevisionNotRaised = "revision-not-raised", Failed, "revisions were to be raised and were not";
    EtcdAlarm = "etcd-alarm", Failed, "the running etcd raises an alarm";
    EtcdMembers = "etcd-members", Failed, "the running etcd has other members than it should";
    EncryptionConfigMissing = "encryption-config-missing", Failed,
        "values are encrypted at rest, and no encryption configuration was given";
    EncryptionConfigWrong = "encryption-config-wrong", Failed,
        "the encryption configuration does not open the values that are encrypted at rest";
    ApiServerNotBooted = "api-server-not-booted", Failed, "kube-apiserver does not start on the restored etcd";
    ResourceNotServed = "resource-not-served", Failed, "the API server does not serve a resource that was captured";
    ResourceUnreadable = "resource-unreadable", Failed, "the API server cannot list a resource that was captured";
    ClusterNotCreated = "cluster-not-created", Failed, "the cluster of the drill could not be made";
    ObjectNotRestored = "object-not-restored", Failed, "an object could not be restored into the cluster of the drill";
    CheckFailed = "check-failed", Failed, "a check of the restored cluster did not come true in time";
    ObjectMissing = "object-missing", Integrity, "an object is in the index and not in the restored etcd";
    ObjectUnexpected = "object-unexpected", Integrity, "an object is in the restored etcd and not in the index";
    ObjectChanged = "object-changed", Integrity, "an object is another one than the index says";
    RtoMissed = "rto-missed", Target, "the restore took longer than the target";
    RpoMissed = "rpo-missed", Target, "the backup is older than the target, or there was a longer gap between two";
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that a drill found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: FindingCode,
    /// The object, resource or part that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What was found.
    pub message: String,
}

/// A part of the way back, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillPhase {
    /// `fetch`, `open`, `rebuild`, `boot` or `compare`.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

/// What was asked of the drill, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillTargets {
    /// The longest that the way back may take.
    #[serde(default)]
    pub rto_seconds: Option<u64>,
    /// The oldest that a backup may be.
    #[serde(default)]
    pub rpo_seconds: Option<u64>,
}

/// Programs that a drill booted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillVersions {
    /// etcd's.
    #[serde(default)]
    pub etcd: Option<String>,
    /// The API server's.
    #[serde(default)]
    pub kubernetes: Option<String>,
}

/// The signed report of a drill. It lies in the store in plain text, and says nothing of the cluster but what the
/// manifest says: names and counts of objects are in the sealed details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    /// `MAJOR.MINOR` of the format.
    pub format: String,
    /// The program that wrote it.
    pub tool: String,
    /// The drill.
    pub id: DrillId,
    /// The name under which the cluster's backups lie in the store.
    pub cluster: ClusterName,
    /// UID of the namespace `kube-system`.
    pub cluster_id: String,
    /// The backup that was drilled.
    pub backup: BackupId,
    /// Digest of its manifest.
    pub manifest_sha256: Digest,
    /// When the drill was begun.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// How deep it was to go.
    pub tier: Tier,
    /// Where it restored to.
    pub target: String,
    /// Whether the backup restores, as far as the tier goes.
    pub restores: bool,
    /// Whether it restores, and every target was met.
    pub passed: bool,
    /// What was found, each kind once.
    pub findings: Vec<FindingCode>,
    /// The phases, in order.
    pub phases: Vec<DrillPhase>,
    /// From the command to every object readable; only where the drill came as far.
    #[serde(default)]
    pub rto_seconds: Option<f64>,
    /// The age of the backup at the start of the drill.
    pub rpo_seconds: u64,
    /// The longest time between two backups that followed one another within the 30 days before the drill.
    #[serde(default)]
    pub longest_gap_seconds: Option<u64>,
    /// What was asked for.
    #[serde(default)]
    pub targets: DrillTargets,
    /// The programs that were booted.
    #[serde(default)]
    pub versions: DrillVersions,
    /// The sealed details.
    pub details: Part,
}

impl SignedDocument for DrillReport {
    fn trusted_comment(&self) -> String {
        format!("lifeboat {} drill {} {}", self.cluster_id, self.id, self.backup)
    }
}

impl DrillReport {
    /// Whether this is a drill of just that backup.
    pub fn is_of(&self, manifest: &Manifest, sha256: Digest) -> bool {
        self.backup == manifest.id
            && self.manifest_sha256 == sha256
            && self.cluster == manifest.cluster
            && self.cluster_id == manifest.cluster_id
    }

    /// Whether it proves that the backup restores: everything that the backup has was brought back and found right.
    pub fn proves(&self, manifest: &Manifest, sha256: Digest) -> bool {
        let brings_all_back = match (&manifest.etcd, &manifest.resources) {
            (EtcdRecord::Captured { .. }, ResourcesRecord::Captured { .. }) => self.tier == Tier::Objects,
            (EtcdRecord::Captured { .. }, ResourcesRecord::Absent { .. }) => {
                matches!(self.tier, Tier::Etcd | Tier::Objects)
            }
            (EtcdRecord::Absent { .. }, _) => self.tier == Tier::Workloads,
        };
        self.restores && brings_all_back && self.is_of(manifest, sha256)
    }

    /// Whether it found that what is stored or restored is not what was captured.
    pub fn refutes(&self, manifest: &Manifest, sha256: Digest) -> bool {
        self.findings.iter().any(|code| code.class() == FindingClass::Integrity) && self.is_of(manifest, sha256)
    }
}

/// A check that a drill made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillCheck {
    /// What was checked.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// What the restored cluster has to come up to: a document that people write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrillChecks {
    /// `lifeboat.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// `DrillChecks`.
    pub kind: DrillChecksKind,
    /// The checks, tried one after the other.
    pub checks: Vec<DrillCheckSpec>,
}

/// Kind of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillChecksKind {
    /// Checks of drills.
    DrillChecks,
}

/// One check: of `objects`, `service` and `command`, one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrillCheckSpec {
    /// Its name in reports.
    pub name: String,
    /// How long it may take until it is true, in seconds.
    #[serde(default = "two_minutes")]
    pub deadline_seconds: u64,
    /// A CEL expression that has to be true of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsCheck>,
    /// A `GET` through the proxy of a Service, which has to answer with success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceCheck>,
    /// A program and its arguments, which has to end with 0. It finds the cluster by the variable `KUBECONFIG`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// A check of objects: there has to be one at least, and the expression has to be true of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectsCheck {
    /// Which resource, such as `deployments.apps`.
    pub resource: GroupResource,
    /// In this namespace only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The expression, which sees each object as `object`.
    pub expression: String,
}

/// A check of a Service: one of its endpoints is asked, through the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceCheck {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The number or the name of its port.
    pub port: PortRef,
    /// The path, with a query where one is needed.
    #[serde(default = "root")]
    pub path: String,
    /// Whether the endpoint speaks TLS. Its certificate is not checked.
    #[serde(default)]
    pub https: bool,
    /// What the answer has to contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// A port, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PortRef {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn root() -> String {
    "/".to_owned()
}

fn two_minutes() -> u64 {
    120
}

/// Differences that a rule explains, and that are therefore no findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The rule's number.
    pub rule: u32,
    /// The rule in words.
    pub reason: String,
    /// How many objects it explains.
    pub objects: u64,
}

/// What a drill saw of the cluster: sealed like a part of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillDetails {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Findings beyond the number that is kept.
    #[serde(default)]
    pub omitted: u64,
    /// The checks, in the order of the drill.
    pub checks: Vec<DrillCheck>,
    /// Differences that are no findings.
    #[serde(default)]
    pub explained: Vec<Explained>,
    /// What a reader should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_and_read_back() {
        let names: std::collections::BTreeSet<&str> = FindingCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), FindingCode::ALL.len());
        for code in FindingCode::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<FindingCode>(&json).unwrap(), *code);
        }
    }

    #[test]
    fn a_code_of_a_later_version_is_no_obstacle() {
        let codes: Vec<FindingCode> = serde_json::from_str(r#"["rto-missed", "from-the-future"]"#).unwrap();
        assert_eq!(codes, [FindingCode::RtoMissed, FindingCode::Unknown]);
    }

    #[test]
    fn tiers_are_numbers() {
        for number in 0..=3 {
            assert_eq!(Tier::try_from(number).unwrap().number(), number);
        }
        assert!(Tier::try_from(4).is_err());
        assert!(serde_json::from_str::<Tier>("9").is_err());
    }
}
