//! Restoring objects: planned first, by asking and without writing; performed as planned; resumable.
//!
//! [`plan`] decides about every object of a selection and gives a [`Plan`], a value that can be shown, saved and read
//! back. [`perform`] does what it says, wave after wave, or refuses where the target is not as it was. A journal makes
//! a restore that was killed one that [`resume`] goes on with.

mod admission;
mod candidates;
mod entries;
mod feed;
mod judge;
mod owners;
mod pace;
mod perform;
mod plan;
mod planning;
mod preflight;
mod prune;
mod report;
mod request;
mod run;
mod saved;
mod target;
mod verify;
mod wanted;
mod webhooks;
mod write;

pub use entries::{Entries, Entry};
pub use perform::{Options, perform, resume};
pub use plan::{
    Counts, Finding, Header, Live, Mode, PatchSource, Plan, PlannedKind, Settings, Span, Verdict, Withheld,
};
pub use planning::plan;
pub use report::{Notes, Report};
pub use request::{Concurrency, Request};
pub use saved::Unfinished;
