//! `event`.

pub(crate) mod receive;
pub(crate) mod test;
