//! The timeline of a run, for a post-mortem.

mod markdown;

pub use markdown::markdown;
