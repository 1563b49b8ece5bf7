//! The leaf pages of the tree of buckets: name, root page or inline contents of each bucket, and the few entries of
//! the small buckets that tell of the cluster (`storage/schema/bucket.go` of etcd).

use super::error::Problem;
use super::format::{BUCKET_HEADER, LEAF, PageHeader, leaf_elements, span, u64_at};
use super::table::Revisions;
use super::value::{Prefixes, main_revision};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Key,
    Meta,
    Lease,
    Alarm,
    Cluster,
    Members,
    Other,
}

impl Name {
    fn parse(name: &[u8]) -> Self {
        match name {
            b"key" => Self::Key,
            b"meta" => Self::Meta,
            b"lease" => Self::Lease,
            b"alarm" => Self::Alarm,
            b"cluster" => Self::Cluster,
            b"members" => Self::Members,
            _ => Self::Other,
        }
    }

    /// Whether the bucket has entries for [`Details`].
    pub(super) fn has_details(self) -> bool {
        matches!(self, Self::Meta | Self::Cluster)
    }
}

/// A bucket is small enough to lie within its element, or has a page of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    Inline { count: u16 },
    InlineRevisions(Revisions),
    Page(u32),
}

#[derive(Debug, Clone, Default)]
pub(super) struct BucketLeaf {
    pub(super) buckets: Vec<(Name, Contents)>,
    pub(super) details: Details,
}

/// Entries of the buckets `meta` and `cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) consistent_index: Option<u64>,
    pub(super) term: Option<u64>,
    pub(super) storage_version: Option<String>,
    pub(super) cluster_version: Option<String>,
}

impl Details {
    pub(super) fn note(&mut self, key: &[u8], value: &[u8]) {
        let number = || value.try_into().ok().map(u64::from_be_bytes);
        let version = || {
            let is_version = value.len() <= 32 && value.iter().all(u8::is_ascii_graphic);
            str::from_utf8(value).ok().filter(|_| is_version).map(str::to_owned)
        };
        match key {
            b"consistent_index" => self.consistent_index = number(),
            b"term" => self.term = number(),
            b"storageVersion" => self.storage_version = version(),
            b"clusterVersion" => self.cluster_version = version(),
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what is not known yet.
    pub(super) fn complete(&mut self, other: &Self) {
        self.consistent_index = self.consistent_index.or(other.consistent_index);
        self.term = self.term.or(other.term);
        self.storage_version = self.storage_version.take().or_else(|| other.storage_version.clone());
        self.cluster_version = self.cluster_version.take().or_else(|| other.cluster_version.clone());
    }
}

/// More buckets than any etcd has in one page; it has eleven.
const MOST_BUCKETS: usize = 64;

impl BucketLeaf {
    /// Reads a leaf page all of whose elements are buckets. etcd's bucket page never overflows: each bucket takes a
    /// quarter of a page at most (`Bucket.inlineable`) and there are more than four.
    pub(super) fn parse(page: &[u8], count: u16, prefixes: &mut Prefixes) -> Result<Self, Problem> {
        if usize::from(count) > MOST_BUCKETS {
            return Err(Problem::Bucket);
        }
        let mut leaf = Self::default();
        let mut previous: &[u8] = &[];
        for element in leaf_elements(page, count).ok_or(Problem::Elements)? {
            match element.flags {
                0 => return Err(Problem::Mixed),
                1 => {}
                _ => return Err(Problem::Flags),
            }
            let name = span(page, element.key, element.value).ok_or(Problem::Elements)?;
            let value = span(page, element.value, element.end).ok_or(Problem::Elements)?;
            if name <= previous {
                return Err(Problem::KeyOrder);
            }
            previous = name;
            let name = Name::parse(name);
            let page = value.get(BUCKET_HEADER..).ok_or(Problem::Bucket)?;
            let root = u64_at(value, 0).ok_or(Problem::Bucket)?;
            let contents = if root == 0 {
                leaf.inline(name, page, prefixes)?
            } else {
                Contents::Page(u32::try_from(root).map_err(|_| Problem::OutOfBounds)?)
            };
            leaf.buckets.push((name, contents));
        }
        Ok(leaf)
    }

    fn inline(&mut self, name: Name, page: &[u8], prefixes: &mut Prefixes) -> Result<Contents, Problem> {
        let header = PageHeader::parse(page).filter(|header| header.flags == LEAF).ok_or(Problem::Bucket)?;
        let count = header.count;
        let mut previous: &[u8] = &[];
        let mut revisions: Option<Revisions> = None;
        for element in leaf_elements(page, count).ok_or(Problem::Bucket)? {
            if element.flags != 0 {
                return Err(Problem::NestedBucket);
            }
            let key = span(page, element.key, element.value).ok_or(Problem::Bucket)?;
            let value = span(page, element.value, element.end).ok_or(Problem::Bucket)?;
            if key <= previous {
                return Err(Problem::KeyOrder);
            }
            previous = key;
            if name == Name::Key {
                let last = main_revision(key).ok_or(Problem::NotARevision)?;
                let marks = prefixes.inspect(value);
                let all = revisions.get_or_insert(Revisions { count, overflow: 0, first: Some(last), last, marks });
                all.absorb(last, marks);
            } else if name.has_details() {
                self.details.note(key, value);
            }
        }
        Ok(revisions.map_or(Contents::Inline { count }, Contents::InlineRevisions))
    }
}
