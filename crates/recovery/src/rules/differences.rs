//! What is different after a restore into an empty cluster, and why.

use lifeboat_model::ResourceType;

use super::field::Kind;

/// When a difference can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Where the controllers of Kubernetes run on the target.
    WithControllers,
}

/// A field that may differ after a restore into an empty cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Its number.
    pub number: u32,
    /// The rules that it follows from; none where the server itself does it.
    pub rules: &'static [u32],
    /// The kinds; none stands for all.
    pub kinds: &'static [Kind],
    /// The field: names of members, `*` for each element of a list or each member.
    pub field: &'static [&'static str],
    /// When.
    pub when: When,
    /// Why.
    pub reason: &'static str,
}

/// What may differ after a restore into an empty cluster, besides objects that [`super::SKIP_RULES`] and
/// [`super::OWNER_RULES`] leave out.
pub const DIFFERENCES: &[Difference] = &[];

/// The difference that allows the field at `path` (member names and positions) to be another after a restore.
pub fn allowed(_resource: &ResourceType, _path: &[&str], _controllers: bool) -> Option<&'static Difference> {
    None
}
