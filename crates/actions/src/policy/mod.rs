//! What network policies let through.

mod residual;
mod selector;

pub(crate) use residual::residual;
pub(crate) use selector::selects;
