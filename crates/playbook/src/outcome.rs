//! How a step, and a run, ended.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a step ended. Ordered from best to worst: a run's outcome is its worst step's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Its `if` was false: it was not wanted.
    Skipped,
    /// Done, and the effect was observed.
    Success,
    /// Done, and the effect was not observed.
    Unverified,
    /// Not done, or broken off between two writes, because somebody cancelled the run.
    Cancelled,
    /// Not done, because of a step that it needs.
    Blocked,
    /// Not done: a guard, an approval, a permission, or a target that is not as it was in the plan.
    Denied,
    /// It could not be done, or not to its end.
    Failed,
}

impl Outcome {
    /// Its name, as in journals and expressions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Success => "success",
            Self::Unverified => "unverified",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// Whether a step that needs one with this outcome may run.
    pub fn satisfies(self) -> bool {
        matches!(self, Self::Success | Self::Skipped)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether an effect was seen with eyes, and not only promised by an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// It was observed: what was looked at, and what was there. `3 reviews in a row refused the canary token`.
    Observed(String),
    /// It was not, and why: the step is `unverified`. `nothing here enforces network policies`.
    NotObserved(String),
}

impl Proof {
    /// What was observed, or why nothing was.
    pub fn text(&self) -> &str {
        match self {
            Self::Observed(text) | Self::NotObserved(text) => text,
        }
    }

    /// The outcome of a step that was applied. An observation that says nothing is none.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Observed(text) if !text.trim().is_empty() => Outcome::Success,
            Self::Observed(_) | Self::NotObserved(_) => Outcome::Unverified,
        }
    }
}
