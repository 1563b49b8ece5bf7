//! Containing one pod.

mod delete;
mod isolate;
mod owner;
mod probe;
mod quarantine;
mod seen;

pub(crate) use delete::{Delete, LOST};
pub(crate) use isolate::Isolate;
pub(crate) use owner::{Loss, reaction};
