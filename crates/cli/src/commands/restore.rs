//! `restore`: bringing back what was lost.

pub(crate) mod etcd;
mod guide;
pub(crate) mod objects;
