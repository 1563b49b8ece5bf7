//! Workloads: how many, whether at all, and of which template.

mod restart;
mod revision;
mod rollout;
mod scale;
mod suspend;
mod undo;

pub(crate) use restart::{Restart, plan_restart, prove_restart, restart, restarts};
pub(crate) use rollout::{ROLLED, four_minutes};
pub(crate) use scale::Scale;
pub(crate) use suspend::{SuspendCronJob, SuspendJob};
pub(crate) use undo::UndoRollout;
