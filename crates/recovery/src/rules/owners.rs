//! Owners, found again: references to the uids of the backup become references to the uids of the target.

use lifeboat_model::ResourceType;
use serde_json::Value;

use super::field::Kind;

/// What became of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It is on the target, with this uid.
    There(String),
    /// It will be restored, and has no uid yet.
    Later,
    /// It is not restored and not on the target.
    Gone,
}

/// An owner that makes its objects again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRule {
    /// Its number, quoted in reports.
    pub number: u32,
    /// What is owned.
    pub owned: Kind,
    /// The controllers that make it again: group and kind.
    pub owners: &'static [(&'static str, &'static str)],
    /// Why it is not restored.
    pub reason: &'static str,
    /// The file of Kubernetes or the page that it follows.
    pub source: &'static str,
}

/// Which owners make their objects again.
pub const OWNER_RULES: &[OwnerRule] = &[];

/// How an object's owner references stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Each leads to its owner.
    Complete,
    /// Some owners have no uid yet: relink again once they are there.
    Pending,
    /// Some owners are not there and will not be; references to them are left out, or the garbage collector would
    /// delete the object.
    OwnerGone,
    /// The object is not to be created: its controller makes it again.
    OwnerWillRecreate(&'static OwnerRule),
}

/// Owner references for the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Relinked {
    /// The references whose owners are there, with their new uids.
    pub references: Vec<Value>,
    /// How they stand.
    pub links: Links,
}

/// Finds the owners again. `references` is `metadata.ownerReferences` as it is in the backup, and `owner` is asked with
/// the uid in the backup. Once no owner is [`Owner::Later`] the result is not [`Links::Pending`].
pub fn relink(_resource: &ResourceType, references: &[Value], _owner: impl FnMut(&str) -> Owner) -> Relinked {
    Relinked { references: references.to_vec(), links: Links::Complete }
}
