//! The walk through the pages in use, from the root to every leaf.

use super::bucket::{Contents, Details, Name};
use super::error::{Problem, SnapshotError};
use super::table::{Candidate, PageTable, Revisions};
use super::value::Marks;

/// What the pages in use hold.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) live_pages: u64,
    /// Entries of all buckets.
    pub(super) keys: u64,
    /// Entries of the bucket `key`, and the highest revision among them.
    pub(super) key_revisions: u64,
    pub(super) revision: i64,
    pub(super) leases: u64,
    pub(super) alarms: u64,
    pub(super) members: u64,
    pub(super) marks: Marks,
    pub(super) details: Details,
}

/// Walks the tree of buckets that begins at `root`, and each bucket in it.
pub(super) fn walk(table: &PageTable, root: u64, pages: u64) -> Result<Totals, SnapshotError> {
    let root = u32::try_from(root).map_err(|_| Problem::OutOfBounds.at(0, pages))?;
    let mut walk = Walk { table, pages, used: Pages::new(pages), totals: Totals::default() };
    walk.claim(0, 1)?;
    let buckets = walk.buckets(root)?;
    let mut seen_key = false;
    for (name, contents) in buckets {
        seen_key |= name == Name::Key;
        match contents {
            Contents::Inline { count } => walk.count(name, count),
            Contents::InlineRevisions(revisions) => walk.revisions(name, root, revisions)?,
            Contents::Page(page) => walk.bucket(name, page)?,
        }
    }
    if !seen_key {
        return Err(SnapshotError::NoBucket("key"));
    }
    walk.totals.live_pages = walk.used.count;
    Ok(walk.totals)
}

struct Walk<'a> {
    table: &'a PageTable,
    pages: u64,
    used: Pages,
    totals: Totals,
}

impl Walk<'_> {
    fn fail<T>(&self, page: u32, problem: Problem) -> Result<T, SnapshotError> {
        Err(problem.at(page, self.pages))
    }

    /// Marks a page and those it overflows into as used. That it is done once for each page bounds the walk, and
    /// finds cycles.
    fn claim(&mut self, page: u32, overflow: u32) -> Result<(), SnapshotError> {
        for number in u64::from(page)..=u64::from(page) + u64::from(overflow) {
            match self.used.claim(number) {
                Some(true) => {}
                Some(false) => return self.fail(page, Problem::Shared),
                None => return self.fail(page, Problem::OutOfBounds),
            }
        }
        Ok(())
    }

    /// The buckets of the tree that begins at `root`.
    fn buckets(&mut self, root: u32) -> Result<Vec<(Name, Contents)>, SnapshotError> {
        let mut buckets = Vec::new();
        let mut stack = vec![root];
        while let Some(page) = stack.pop() {
            match self.table.get(page) {
                Some(Candidate::Branch { first, count, overflow }) => {
                    self.claim(page, overflow)?;
                    stack.extend(self.table.children(first, count).iter().rev());
                }
                Some(Candidate::Buckets) => {
                    self.claim(page, 0)?;
                    if let Some(leaf) = self.table.bucket_leaf(page) {
                        buckets.extend_from_slice(&leaf.buckets);
                        self.totals.details.complete(&leaf.details);
                    }
                }
                other => return self.fail(page, problem_of(other, Problem::Mixed)),
            }
        }
        Ok(buckets)
    }

    fn bucket(&mut self, name: Name, root: u32) -> Result<(), SnapshotError> {
        let mut stack = vec![root];
        while let Some(page) = stack.pop() {
            match self.table.get(page) {
                Some(Candidate::Branch { first, count, overflow }) => {
                    self.claim(page, overflow)?;
                    stack.extend(self.table.children(first, count).iter().rev());
                }
                Some(Candidate::Leaf { count, overflow }) => {
                    self.claim(page, overflow)?;
                    if name == Name::Key && count > 0 {
                        return self.fail(page, Problem::NotARevision);
                    }
                    self.count(name, count);
                    if let Some(leaf) = self.table.bucket_leaf(page).filter(|_| name.has_details()) {
                        self.totals.details.complete(&leaf.details);
                    }
                }
                Some(Candidate::Revisions(revisions)) => {
                    self.claim(page, revisions.overflow)?;
                    self.revisions(name, page, revisions)?;
                }
                other => return self.fail(page, problem_of(other, Problem::NestedBucket)),
            }
        }
        Ok(())
    }

    fn revisions(&mut self, name: Name, page: u32, revisions: Revisions) -> Result<(), SnapshotError> {
        self.count(name, revisions.count);
        if name == Name::Key {
            let first = revisions.first.unwrap_or(revisions.last);
            if first < self.totals.revision {
                return self.fail(page, Problem::RevisionOrder);
            }
            self.totals.revision = revisions.last;
            self.totals.marks.merge(revisions.marks);
        }
        Ok(())
    }

    fn count(&mut self, name: Name, count: u16) {
        let count = u64::from(count);
        self.totals.keys += count;
        match name {
            Name::Key => self.totals.key_revisions += count,
            Name::Lease => self.totals.leases += count,
            Name::Alarm => self.totals.alarms += count,
            Name::Members => self.totals.members += count,
            Name::Meta | Name::Cluster | Name::Other => {}
        }
    }
}

fn problem_of(candidate: Option<Candidate>, unexpected: Problem) -> Problem {
    match candidate {
        None => Problem::OutOfBounds,
        Some(Candidate::None) => Problem::NotAPage,
        Some(Candidate::Bad(problem)) => problem,
        Some(_) => unexpected,
    }
}

/// A set of page numbers below a limit, one bit each.
struct Pages {
    bits: Vec<u64>,
    limit: u64,
    count: u64,
}

impl Pages {
    fn new(limit: u64) -> Self {
        let words = usize::try_from(limit.div_ceil(64)).unwrap_or(0);
        Self { bits: vec![0; words], limit, count: 0 }
    }

    /// Puts `page` in; `Some(false)` if it was in already, `None` if it is not below the limit.
    fn claim(&mut self, page: u64) -> Option<bool> {
        let word = self.bits.get_mut(usize::try_from(page / 64).ok()?).filter(|_| page < self.limit)?;
        let bit = 1 << (page % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        Some(is_new)
    }
}
