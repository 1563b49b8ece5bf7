//! The command from outside: what it prints, how it ends, and what it does to files.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test whose preparation fails has failed"
)]

mod cluster;
mod events;
mod findings;
mod program;
mod s3;
mod snapshots;
mod streams;
