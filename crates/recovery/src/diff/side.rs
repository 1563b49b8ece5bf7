//! What the two sides of a comparison have in common.

use bytes::Bytes;
use lifeboat_model::{Digest, ObjectKey, ResourceType};

use super::account::Known;
use crate::error::Result;

/// An object of one side.
#[derive(Debug)]
pub(super) struct Item {
    /// Its key, under the name that both sides share.
    pub(super) key: ObjectKey,
    /// Digest of its canonical form; absent where it has none.
    pub(super) digest: Option<Digest>,
    pub(super) body: Body,
}

/// Where the JSON of an object is.
#[derive(Debug)]
pub(super) enum Body {
    /// Here.
    Here(Bytes),
    /// In the tar of a backup.
    Stored { offset: u64, length: u64 },
}

/// What a side has to say about a resource in the end.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Why objects of the resource may be missing here that exist.
    pub(super) trouble: Option<String>,
    /// Why its objects have names and no content that can be compared.
    pub(super) names_only: Option<String>,
}

/// One side: the objects of one resource after another, in the order of their keys.
pub(super) trait Side {
    /// Goes to a resource, which this side may not have. Keys are given in the `shared` name of it.
    fn begin(&mut self, known: Option<&Known>, shared: &ResourceType) -> Result<()>;

    /// The next selected object of the resource.
    fn next(&mut self) -> Result<Option<Item>>;

    /// The JSON of an object that came from here.
    fn json(&mut self, body: &Body) -> Result<Bytes>;

    /// Whether an object that did not come is known not to be here.
    fn is_sure_without(&self, key: &ObjectKey) -> bool;

    /// Whether the contents of this side's objects can be compared.
    fn has_contents(&self) -> bool;

    /// Ends a resource, all objects of which were taken.
    fn close(&mut self) -> Result<Closing>;
}
