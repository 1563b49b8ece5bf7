//! `key`: making, showing and proving keys.

pub(crate) mod check;
pub(crate) mod generate;
pub(crate) mod show;
