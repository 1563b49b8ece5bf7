//! Workloads: how many, and whether at all.

mod scale;
mod suspend;

pub(crate) use scale::Scale;
pub(crate) use suspend::{SuspendCronJob, SuspendJob};
