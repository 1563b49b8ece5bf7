//! Retention: which backups stay, and removing the others so that none is listed that does not restore.
//!
//! [`survey`] reads the store and decides, [`plan`] is the pure function behind it, and [`perform`] removes what was
//! shown, if the store as it is then says the same. [`hold`] keeps a backup from all of that.

mod hold;
mod plan;
mod remove;
mod survey;
#[cfg(test)]
mod tests;

pub use hold::{Held, extend_held, hold, hold_of, holds, release};
pub use plan::{Doubt, Known, Lock, Reason, Verdict, plan};
pub use remove::{Outcome, Removed, perform};
pub use survey::{Awaiting, Leftover, Prune, Scope, survey, survey_of};
