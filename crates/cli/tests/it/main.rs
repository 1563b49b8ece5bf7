//! The command from outside: what it prints, how it ends, and what it does to files.

mod cluster;
mod program;
mod snapshots;
mod streams;
