//! `backup`: taking them, looking at them, and removing old ones.

pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod download;
pub(crate) mod get;
pub(crate) mod hold;
pub(crate) mod list;
pub(crate) mod objects;
pub(crate) mod prune;
pub(crate) mod search;
pub(crate) mod show;
pub(crate) mod verify;

mod forms;
