//! `event`.

pub(crate) mod test;
