//! `drill`: proving that backups restore.

mod form;
mod html;
mod junit;
mod metrics;
pub(super) mod programs;

pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod show;
