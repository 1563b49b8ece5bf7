//! The documents of Lifeboat: configuration, manifest, index, coverage, drill report. No I/O, no clock, no environment.
//!
//! Each document is one Rust type, from which its file form, its JSON Schema and its docs come.
//! Manifests, indexes and coverage are read from a store that may be hostile: parsing bounds their size and
//! refuses duplicate keys, and none of it may be believed before the manifest's signature was checked.

mod bundle;
mod canonical;
mod claim;
mod config;
mod coverage;
mod cron;
mod custom;
mod digest;
mod drill;
mod hold;
mod id;
mod index;
mod json;
mod lock;
mod manifest;
mod notify;
mod playbooks;
mod resource;
mod retention;
mod schedule;
mod signed;
mod telemetry;
mod tree;
mod yaml;
mod yaml_tree;

pub use bundle::{Bundle, BundleContents, BundleItem};
pub use canonical::{CANONICAL_VERSION, CanonicalError, Object, ObjectMeta, RULES, Rule};
pub use claim::Claim;
pub use config::{
    Checksums, ClusterConfig, Config, DirectoryStore, EncryptionConfig, EtcdConfig, KubernetesConfig, OverrideError,
    ResourcesConfig, S3Store, ServerSideEncryption, SigningConfig, StoreConfig,
};
pub use coverage::{Coverage, Gap, IndexRange, ResourceCoverage};
pub use cron::{CronError, CronExpression, CronField};
pub use custom::{
    Approval, BackupPhase, BackupSpec, BackupStatus, Condition, ConditionStatus, DrillPhaseSeconds, DrillSpec,
    DrillStage, DrillStatus, IdentityRef, MAX_FAILURES, MAX_GAPS, MAX_PLANNED, PlanCounts, PlanFinding, ReportedGap,
    RestoreFailure, RestoreMode, RestorePatch, RestorePhase, RestorePlan, RestoreReport, RestoreSelection, RestoreSpec,
    RestoreStatus, RestoreTransform, ScheduleStatus, set_condition, settled,
};
pub use digest::{Digest, DigestError};
pub use drill::{
    DrillCheck, DrillCheckSpec, DrillChecks, DrillDetails, DrillId, DrillPhase, DrillReport, DrillTargets,
    DrillVersions, Explained, Finding, FindingClass, FindingCode, ObjectsCheck, PortRef, ServiceCheck, Tier,
};
pub use hold::Hold;
pub use id::{BackupId, ClusterName, IdError};
pub use index::{IndexEntry, LookupEntry, ObjectKey, PathError};
pub use json::{DocumentError, MAX_DOCUMENT_BYTES, parse_json};
pub use lock::{LockMode, ObjectLock};
pub use manifest::{
    BackupState, ClusterRecord, EtcdRecord, FORMAT_MAJOR, FORMAT_VERSION, Manifest, Part, PartName, Previous, Reason,
    RequiredForRestore, ResourcesRecord,
};
pub use notify::{HeartbeatConfig, HeartbeatStyle, NotifyConfig, WebhookConfig, WebhookFormat};
pub use playbooks::{HttpHost, PlaybooksConfig};
pub use resource::{GroupResource, ResourceArg, ResourceType};
pub use retention::{Age, AgeError, RetentionPolicy};
pub use schedule::{
    ConcurrencyPolicy, CustomResources, DaemonConfig, LeaderElection, NamedSchedule, ScheduleSpec, ScheduledDrill,
};
pub use signed::SignedDocument;
pub use telemetry::{OtlpConfig, TelemetryConfig};
pub use tree::{FieldChange, FieldPath, differences};
pub use yaml::{YamlError, nearest, parse_yaml};
pub use yaml_tree::{YamlKind, YamlMember, YamlNode, YamlPlace, parse_yaml_tree};
