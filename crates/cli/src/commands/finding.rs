//! `finding`.

pub(crate) mod diff;
mod forms;
pub(crate) mod import;
pub(crate) mod list;
