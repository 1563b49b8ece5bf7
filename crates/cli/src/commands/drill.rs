//! `drill`: proving that backups restore.

mod form;
mod html;
mod junit;
mod metrics;
mod programs;

pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod show;
