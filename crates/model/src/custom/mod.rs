//! The documents that are custom resources of a cluster: what is asked for, and what came of it.

mod backup;
mod condition;
mod drill;
mod restore;
mod schedule;

pub use backup::{BackupPhase, BackupSpec, BackupStatus, MAX_GAPS, ReportedGap};
pub use condition::{Condition, ConditionStatus, set_condition, settled};
pub use drill::{DrillPhaseSeconds, DrillSpec, DrillStage, DrillStatus};
pub use restore::{
    Approval, IdentityRef, MAX_FAILURES, MAX_PLANNED, PlanCounts, PlanFinding, RestoreFailure, RestoreMode,
    RestorePatch, RestorePhase, RestorePlan, RestoreReport, RestoreSelection, RestoreSpec, RestoreStatus,
    RestoreTransform,
};
pub use schedule::ScheduleStatus;
