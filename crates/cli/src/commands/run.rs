//! `run`.

pub(crate) mod approve;
pub(crate) mod bundle;
pub(crate) mod list;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod rollback;
pub(crate) mod show;
pub(crate) mod verify;
