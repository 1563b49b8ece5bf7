//! Taking credentials away.

mod account;
mod canary;
mod rbac;
mod recreate;
mod subject;

pub(crate) use account::RevokeAccount;
pub(crate) use rbac::RevokeRbac;
