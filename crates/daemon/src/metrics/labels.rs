//! The labels. Each has few values: those of an enum, names out of the configuration, or of a bounded set.

use prometheus_client::encoding::EncodeLabelSet;

/// The most schedules that have series of their own.
pub(super) const MAX_SCHEDULES: usize = 200;

/// The schedules beyond that. No schedule can be named so.
pub(super) const OTHERS: &str = "_others";

/// Backups that were asked for, by a custom resource for one. No schedule can be named so.
pub(super) const REQUESTED: &str = "_requested";

/// No label, of what may be absent.
pub(super) type Alone = [(&'static str, &'static str); 0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSchedule {
    pub(super) schedule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Done {
    pub(super) schedule: String,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Missing {
    pub(super) schedule: String,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Leads {
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfState {
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfOperation {
    pub(super) operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoreFailure {
    pub(super) operation: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Delivery {
    pub(super) target: String,
    pub(super) result: &'static str,
}
