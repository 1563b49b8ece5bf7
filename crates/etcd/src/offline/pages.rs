//! What a single page tells: whether it could be part of the tree, and with what in it.

use super::bucket::{BucketLeaf, Details};
use super::error::Problem;
use super::format::{BRANCH, LEAF, LeafElement, Meta, PageHeader, branch_elements, leaf_elements, span};
use super::run::OpenRuns;
use super::table::{Candidate, MAX_OVERFLOW, PageTable, Revisions};
use super::value::{Prefixes, VALUE_HEAD, main_revision};

/// Reads pages one after the other. A page counts as a candidate if its header bears its own number: etcd keeps no list
/// of unused pages (`NoFreelistSync`), so that any page may hold an old version of itself.
#[derive(Debug)]
pub(super) struct PageReader {
    meta: Meta,
    pub(super) table: PageTable,
    pub(super) prefixes: Prefixes,
    runs: OpenRuns,
    /// Main revisions and page numbers of a branch, kept to spare allocations.
    children: Vec<u32>,
}

/// What is wanted of a leaf's element lies within the first page.
fn is_within(page: &[u8], element: LeafElement) -> bool {
    element.end.min(element.value + VALUE_HEAD) <= page.len() as u64
}

impl PageReader {
    /// For the database that `meta` describes, to be given all its pages.
    pub(super) fn new(meta: Meta) -> Self {
        let (table, prefixes, runs, children) = Default::default();
        Self { meta, table, prefixes, runs, children }
    }

    /// Takes the next page.
    pub(super) fn read(&mut self, page: &[u8]) {
        let Ok(number) = u32::try_from(self.table.len()) else { return };
        if u64::from(number) >= self.meta.pages {
            return;
        }
        let offset = u64::from(number) * page.len() as u64;
        self.runs.feed(offset, page, &mut self.table, &mut self.prefixes);
        let candidate = self.candidate(number, page).unwrap_or_else(Candidate::Bad);
        self.table.push(candidate);
        self.runs.feed(offset, page, &mut self.table, &mut self.prefixes);
    }

    fn candidate(&mut self, number: u32, page: &[u8]) -> Result<Candidate, Problem> {
        let Some(header) = PageHeader::parse(page) else { return Ok(Candidate::None) };
        if header.id != u64::from(number) {
            return Ok(Candidate::None);
        }
        match header.flags {
            BRANCH | LEAF if header.overflow > MAX_OVERFLOW => Err(Problem::LongRun),
            BRANCH => self.branch(number, page, header),
            LEAF => self.leaf(number, page, header),
            _ => Ok(Candidate::None),
        }
    }

    fn branch(&mut self, number: u32, page: &[u8], header: PageHeader) -> Result<Candidate, Problem> {
        let PageHeader { count, overflow, .. } = header;
        let run = page.len() as u64 * (u64::from(overflow) + 1);
        let mut data = table_end(count);
        let mut previous: &[u8] = &[];
        let mut children = std::mem::take(&mut self.children);
        children.clear();
        for element in branch_elements(page, count).ok_or(Problem::Elements)? {
            if element.key < data || element.end > run || element.key == element.end {
                return Err(Problem::Elements);
            }
            data = element.end;
            let child = u32::try_from(element.child).map_err(|_| Problem::Child)?;
            if child < 2 || child == number || element.child >= self.meta.pages {
                return Err(Problem::Child);
            }
            if let Some(key) = span(page, element.key, element.end) {
                if key <= previous {
                    return Err(Problem::KeyOrder);
                }
                let before = children.last().map(|before| self.fits(*before, previous, Some(key)));
                if before == Some(false) {
                    return Err(Problem::Child);
                }
                previous = key;
            }
            children.push(child);
        }
        let is_last_fitting = children.last().is_some_and(|last| self.fits(*last, previous, None));
        if !is_last_fitting {
            return Err(Problem::Child);
        }
        let first = self.table.add_children(&children)?;
        self.children = children;
        Ok(Candidate::Branch { first, count, overflow })
    }

    /// Whether the page `child`, if it has been read, can hold the keys from `low` until before `high`. Most of the old
    /// branches in unused pages fail this, since some of their children have been overwritten.
    fn fits(&self, child: u32, low: &[u8], high: Option<&[u8]>) -> bool {
        match self.table.get(child) {
            Some(Candidate::None) => false,
            Some(Candidate::Revisions(leaf)) => {
                let low = main_revision(low).unwrap_or(0);
                let high = high.and_then(main_revision).unwrap_or(i64::MAX);
                leaf.first.is_none_or(|first| low <= first) && low <= leaf.last && leaf.last <= high
            }
            _ => true,
        }
    }

    fn leaf(&mut self, number: u32, page: &[u8], header: PageHeader) -> Result<Candidate, Problem> {
        let PageHeader { count, overflow, .. } = header;
        let run = page.len() as u64 * (u64::from(overflow) + 1);
        let mut data = table_end(count);
        for (place, element) in leaf_elements(page, count).ok_or(Problem::Elements)?.enumerate() {
            let LeafElement { flags, key, value, end } = element;
            if key < data || end > run || key == value {
                return Err(Problem::Elements);
            }
            data = end;
            match flags {
                0 => {}
                1 if place == 0 && overflow == 0 => return self.bucket_leaf(number, page, count),
                1 => return Err(Problem::Mixed),
                _ => return Err(Problem::Flags),
            }
        }
        self.entries(number, page, count, overflow)
    }

    fn bucket_leaf(&mut self, number: u32, page: &[u8], count: u16) -> Result<Candidate, Problem> {
        // The tree of buckets is a single leaf, almost always. Once that is known no other is of interest.
        let root = u32::try_from(self.meta.root).map_err(|_| Problem::OutOfBounds)?;
        if number > root && self.table.get(root) == Some(Candidate::Buckets) {
            return Err(Problem::NestedBucket);
        }
        let leaf = BucketLeaf::parse(page, count, &mut self.prefixes)?;
        if number == root {
            self.table.keep_only_bucket_leaf(root);
        }
        self.table.add_bucket_leaf(number, leaf)?;
        Ok(Candidate::Buckets)
    }

    /// A leaf of ordinary entries whose bounds have been checked.
    fn entries(&mut self, number: u32, page: &[u8], count: u16, overflow: u32) -> Result<Candidate, Problem> {
        let elements = || leaf_elements(page, count).into_iter().flatten();
        let mut previous: &[u8] = &[];
        let mut summary: Option<Revisions> = None;
        let mut details = Details::default();
        let mut is_revisions = true;
        let mut seen = 0;
        for element in elements().take_while(|element| is_within(page, *element)) {
            seen += 1;
            let key = span(page, element.key, element.value).ok_or(Problem::Elements)?;
            let value = span(page, element.value, element.end.min(page.len() as u64)).ok_or(Problem::Elements)?;
            if key <= previous {
                return Err(Problem::KeyOrder);
            }
            previous = key;
            if let Some(last) = main_revision(key).filter(|_| is_revisions) {
                let marks = self.prefixes.inspect(value);
                let first = Some(last);
                summary.get_or_insert(Revisions { count, overflow, first, last, marks }).absorb(last, marks);
            } else {
                is_revisions = false;
                details.note(key, value);
            }
        }
        if !details.is_empty() {
            let leaf = BucketLeaf { buckets: Vec::new(), details };
            // Over the budget these few facts are left out; the tree does not need them.
            _ = self.table.add_bucket_leaf(number, leaf);
        }
        if seen == 0 && count > 0 {
            return Err(Problem::Elements);
        }
        let rest = elements().skip(seen);
        match summary.filter(|_| is_revisions) {
            Some(summary) if seen < usize::from(count) => {
                let offset = u64::from(number) * page.len() as u64;
                self.runs.open(number, offset, summary, previous, rest)?;
                // Until the run is complete.
                Ok(Candidate::Bad(Problem::OutOfBounds))
            }
            Some(summary) => Ok(Candidate::Revisions(summary)),
            None => Ok(Candidate::Leaf { count, overflow }),
        }
    }
}

fn table_end(count: u16) -> u64 {
    use super::format::{ELEMENT, PAGE_HEADER};
    (PAGE_HEADER + ELEMENT * usize::from(count)) as u64
}
