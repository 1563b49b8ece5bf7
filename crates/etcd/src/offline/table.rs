//! What is remembered of each page until the tree can be walked: 20 bytes a page, and 4 for each child of a branch.

use std::collections::HashMap;

use super::bucket::BucketLeaf;
use super::error::Problem;
use super::value::Marks;

/// Bytes that children of branches and contents of bucket pages may take: this, and [`BUDGET_PER_PAGE`] for each page
/// of the database. A tree needs 4 a page; the rest is for old versions of branches in unused pages.
const BUDGET: u64 = 32 << 20;
const BUDGET_PER_PAGE: u64 = 24;
/// What a bucket page is reckoned to take.
const BUCKET_LEAF: u64 = 512;

/// A page that could be part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// Neither a branch nor a leaf, or inside the run of another page.
    None,
    Bad(Problem),
    /// Children are `first..first + count` of the table's list.
    Branch {
        first: u32,
        count: u16,
        overflow: u32,
    },
    /// A leaf whose keys are not all revisions.
    Leaf {
        count: u16,
        overflow: u32,
    },
    Revisions(Revisions),
    /// A leaf of the tree of buckets.
    Buckets,
}

/// A leaf all of whose keys are revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revisions {
    pub(super) count: u16,
    pub(super) overflow: u32,
    /// Main revision of the first key, if the leaf does not span more than 2^32 - 2 of them.
    pub(super) first: Option<i64>,
    pub(super) last: i64,
    pub(super) marks: Marks,
}

impl Revisions {
    /// Adds what a later key tells.
    pub(super) fn absorb(&mut self, last: i64, marks: Marks) {
        self.last = last;
        self.marks.merge(marks);
    }
}

/// A [`Candidate`] in 20 bytes.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// The last main revision, or the place of the first child.
    number: [u8; 8],
    /// From the first to the last main revision.
    span: u32,
    /// Kind in the upper 4 bits, overflow in the others.
    kind_and_overflow: u32,
    count: u16,
    marks: u16,
}

const KIND_SHIFT: u32 = 28;
/// Longest run that a record can hold; bbolt's largest values make runs of at most 2^19 pages.
pub(super) const MAX_OVERFLOW: u32 = (1 << KIND_SHIFT) - 1;

impl Record {
    fn pack(candidate: Candidate) -> Self {
        let record = |kind: u32, overflow: u32, count| Self {
            number: [0; 8],
            span: 0,
            kind_and_overflow: kind << KIND_SHIFT | overflow & MAX_OVERFLOW,
            count,
            marks: 0,
        };
        match candidate {
            Candidate::None => record(0, 0, 0),
            Candidate::Bad(problem) => record(1, 0, problem.code()),
            Candidate::Branch { first, count, overflow } => {
                Self { number: u64::from(first).to_le_bytes(), ..record(2, overflow, count) }
            }
            Candidate::Leaf { count, overflow } => record(3, overflow, count),
            Candidate::Revisions(Revisions { count, overflow, first, last, marks }) => Self {
                number: last.to_le_bytes(),
                span: first.and_then(|first| u32::try_from(last - first).ok()).unwrap_or(u32::MAX),
                marks: marks.0,
                ..record(4, overflow, count)
            },
            Candidate::Buckets => record(5, 0, 0),
        }
    }

    fn unpack(self) -> Candidate {
        let count = self.count;
        let overflow = self.kind_and_overflow & MAX_OVERFLOW;
        match self.kind_and_overflow >> KIND_SHIFT {
            1 => Candidate::Bad(Problem::from_code(count)),
            2 => {
                let [a, b, c, d, ..] = self.number;
                Candidate::Branch { first: u32::from_le_bytes([a, b, c, d]), count, overflow }
            }
            3 => Candidate::Leaf { count, overflow },
            4 => {
                let last = i64::from_le_bytes(self.number);
                let first = (self.span != u32::MAX).then(|| last - i64::from(self.span));
                Candidate::Revisions(Revisions { count, overflow, first, last, marks: Marks(self.marks) })
            }
            5 => Candidate::Buckets,
            _ => Candidate::None,
        }
    }
}

/// The pages seen so far.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    records: Vec<Record>,
    children: Vec<u32>,
    bucket_leaves: HashMap<u32, BucketLeaf>,
}

impl PageTable {
    pub(super) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn push(&mut self, candidate: Candidate) {
        self.records.push(Record::pack(candidate));
    }

    pub(super) fn replace(&mut self, page: u32, candidate: Candidate) {
        if let Some(record) = self.records.get_mut(page as usize) {
            *record = Record::pack(candidate);
        }
    }

    /// The candidate at `page`, or `None` beyond the last page seen.
    pub(super) fn get(&self, page: u32) -> Option<Candidate> {
        self.records.get(page as usize).map(|record| record.unpack())
    }

    pub(super) fn children(&self, first: u32, count: u16) -> &[u32] {
        let first = first as usize;
        self.children.get(first..first + usize::from(count)).unwrap_or_default()
    }

    /// Stores the children of a branch and gives the place of the first.
    pub(super) fn add_children(&mut self, children: &[u32]) -> Result<u32, Problem> {
        self.afford(4 * children.len() as u64)?;
        let first = u32::try_from(self.children.len()).map_err(|_| Problem::Budget)?;
        self.children.extend_from_slice(children);
        Ok(first)
    }

    /// Stores the contents of a page with buckets, or the details found in another leaf.
    pub(super) fn add_bucket_leaf(&mut self, page: u32, leaf: BucketLeaf) -> Result<(), Problem> {
        self.afford(BUCKET_LEAF)?;
        self.bucket_leaves.insert(page, leaf);
        Ok(())
    }

    /// Forgets all pages with buckets but `page`.
    pub(super) fn keep_only_bucket_leaf(&mut self, page: u32) {
        self.bucket_leaves.retain(|kept, leaf| *kept == page || leaf.buckets.is_empty());
    }

    pub(super) fn bucket_leaf(&self, page: u32) -> Option<&BucketLeaf> {
        self.bucket_leaves.get(&page)
    }

    fn afford(&self, bytes: u64) -> Result<(), Problem> {
        let spent = 4 * self.children.len() as u64 + BUCKET_LEAF * self.bucket_leaves.len() as u64;
        if spent + bytes > BUDGET + BUDGET_PER_PAGE * self.len() { Err(Problem::Budget) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate() -> impl Strategy<Value = Candidate> {
        let overflow = 0..=MAX_OVERFLOW;
        prop_oneof![
            Just(Candidate::None),
            Just(Candidate::Buckets),
            (0_u16..15).prop_map(|code| Candidate::Bad(Problem::from_code(code))),
            (any::<u32>(), any::<u16>(), overflow.clone()).prop_map(|(first, count, overflow)| Candidate::Branch {
                first,
                count,
                overflow
            }),
            (any::<u16>(), overflow.clone()).prop_map(|(count, overflow)| Candidate::Leaf { count, overflow }),
            (any::<u16>(), overflow, 0..=i64::MAX, any::<Option<u32>>(), any::<u16>()).prop_map(
                |(count, overflow, last, span, marks)| {
                    let first = span.filter(|span| *span != u32::MAX).map(|span| last - i64::from(span));
                    Candidate::Revisions(Revisions { count, overflow, first, last, marks: Marks(marks) })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_record_gives_back_what_was_put_in(candidate in candidate()) {
            prop_assert_eq!(Record::pack(candidate).unpack(), candidate);
        }
    }

    #[test]
    fn a_record_is_as_small_as_documented() {
        assert_eq!(size_of::<Record>(), 20);
    }

    #[test]
    fn branches_cannot_take_all_memory() {
        let mut table = PageTable::default();
        let children = vec![7; 250];
        while table.add_children(&children).is_ok() {}
        assert!(4 * table.children.len() as u64 <= BUDGET);
        assert_eq!(table.add_bucket_leaf(3, BucketLeaf::default()), Err(Problem::Budget));
    }
}
