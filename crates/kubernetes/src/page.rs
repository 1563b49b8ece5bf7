//! A page of a list, cut into the raw JSON of its objects.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Error;

/// A page of a list: the API server's bytes, and where in them each object lies.
///
/// Objects of built-in types come without `apiVersion` and `kind`; both are here, to be put in by who needs them.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    /// The answer as the API server sent it.
    pub bytes: Bytes,
    /// The span of each object in `bytes`: one JSON object from `{` to `}`, valid and in UTF-8.
    pub items: Vec<Range<usize>>,
    /// The `apiVersion` of the objects, as the list states it.
    pub api_version: String,
    /// The kind of the objects, as discovery states it.
    pub kind: String,
    /// The resource version of the snapshot that the list shows; the same on all its pages.
    pub resource_version: String,
    /// The token for the next page; empty on the last.
    pub continue_token: String,
    /// How many objects follow this page, where the API server says so.
    pub remaining: Option<u64>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The objects may be Secrets: sizes only.
        f.debug_struct("Page")
            .field("kind", &self.kind)
            .field("items", &self.items.len())
            .field("bytes", &self.bytes.len())
            .field("resource_version", &self.resource_version)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl Page {
    /// The objects' raw JSON, in the order of the list.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        // A span from anywhere but `parse` may lie outside; there is no object there.
        self.items.iter().map(|span| self.bytes.get(span.clone()).unwrap_or_default())
    }

    /// Cuts an answer to a list request. `resource` names it in errors, `kind` is that of its objects.
    pub(crate) fn parse(bytes: Bytes, resource: &str, kind: &str) -> Result<Self, Error> {
        let list: List<'_> = serde_json::from_slice(&bytes).map_err(|source| Error::decode(resource, source))?;
        let mut items = Vec::new();
        for item in list.items.unwrap_or_default() {
            let text = item.get();
            if !text.starts_with('{') {
                return Err(Error::decode(resource, "an item of the list is not an object"));
            }
            let start = text.as_ptr().addr() - bytes.as_ptr().addr();
            items.push(start..start + text.len());
        }
        Ok(Self {
            items,
            api_version: list.api_version.into_owned(),
            kind: kind.to_owned(),
            resource_version: list.metadata.resource_version.into_owned(),
            continue_token: list.metadata.r#continue.into_owned(),
            remaining: list.metadata.remaining_item_count.and_then(|count| u64::try_from(count).ok()),
            bytes,
        })
    }
}

/// A `List` of the API conventions, its items left as they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: ListMeta<'a>,
    #[serde(borrow, deserialize_with = "present")]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    r#continue: Cow<'a, str>,
    remaining_item_count: Option<i64>,
}

/// `items` may be null, as Go writes an empty list, but has to be there: its absence means that this is no list.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<&'a RawValue>>, D::Error> {
    Option::deserialize(deserializer)
}
