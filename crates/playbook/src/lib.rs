//! Playbooks: the language, plan, run, journal, and the trait [`Action`]. Knows no Kubernetes.
//!
//! A playbook is a list of steps, each of which `uses` an action of a [`Registry`]. It is loaded, planned, agreed to by
//! the hash of its plan, and run. The journal has the inverse of every write before the write is made, and is all that a
//! resume, a rollback and a report need. Time, chance, people and storage are parameters: nothing here reads a clock, the
//! environment or a terminal.

mod action;
mod alert;
mod approval;
mod builtin;
mod custom;
mod document;
mod engine;
mod event;
mod expression;
mod finding;
mod journal;
mod load;
mod outcome;
mod period;
mod plan;
mod playbook;
mod record;
mod registry;
mod report;
mod surroundings;
mod text;

pub use action::{
    Action, ActionError, Change, EvidenceClock, FieldDiff, Inverse, NoInverse, ObjectRef, Permission, Permit, Repeat,
    Statement, StepContext, StepPlan, Undo, Writes,
};
pub use alert::{AlertError, MAX_ALERT_BYTES, Mapping, MappingSpec, Received, normalise, recognise};
pub use builtin::{Approve, Assert, Report, WaitTime, add_builtin};
pub use custom::{
    PlaybookApprovalSpec, PlaybookApprovalStatus, PlaybookFault, PlaybookJournalSpec, PlaybookRunPhase,
    PlaybookRunSpec, PlaybookRunStatus, PlaybookStatus, RunApproval, RunChange, RunPlan, RunQuestion, RunRollback,
    RunStep,
};
pub use document::{
    ApprovalSpec, BlastRadiusSpec, ConflictPolicy, EventSource, FailurePolicy, GuardsSpec, InputSpec, InputType,
    PlaybookDocument, PlaybookKind, PlaybookMetadata, PlaybookSpec, PlaybookVersion, RateLimitSpec, RetrySpec,
    StepSpec, TimeoutPolicy, TriggerSpec,
};
pub use engine::{Engine, EngineError};
pub use event::{Event, EventObject, EventTarget, Fit, SEVERITIES, Tried, Triggered};
pub use expression::Condition;
pub use finding::{Finding, Findings, FindingsDiff, MAX_REPORT_BYTES};
pub use journal::{
    Claim, DirectoryJournals, Entry, InverseRecord, JournalError, JournalFile, Journals, Line, Observer, Sources,
    StorageError, Stored, WriteOutcome,
};
pub use load::{Library, LoadErrors, MAX_PLAYBOOK_BYTES, load};
pub use outcome::{Outcome, Proof};
pub use period::{Period, PeriodError};
pub use plan::{Plan, Planned, PlannedStep, Request};
pub use playbook::Playbook;
pub use record::{Approval, Moment, Rollback, RunRecord, StepRecord, UndoRecord, Verified, WriteRecord, verify};
pub use registry::{Manual, Registry, RegistryError};
pub use report::{html, markdown};
pub use surroundings::{ApprovalRequest, Approver, Clock, Identity, RunId, Vote};
