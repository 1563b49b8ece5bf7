//! `playbook`.

pub(crate) mod actions;
pub(crate) mod lint;
pub(crate) mod list;
pub(crate) mod perform;
pub(crate) mod plan;
pub(crate) mod rbac;
pub(crate) mod show;
pub(crate) mod shown;
