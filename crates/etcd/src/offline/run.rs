//! Pages whose contents overflow into the pages after them: keys that come later are picked up as they pass.

use super::error::Problem;
use super::format::LeafElement;
use super::table::{Candidate, PageTable, Revisions};
use super::value::{MARKED_REVISION, Prefixes, REVISION, VALUE_HEAD, main_revision};

/// Runs that may be open at a time, and elements that they may wait for. Only one run at a time is in use; the others
/// are leftovers in unused pages, which overlap a few deep.
const MOST_RUNS: usize = 2_048;
const MOST_ELEMENTS: usize = 1 << 16;

/// An element that begins beyond what has been read. Offsets count from the beginning of the file.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    key: u64,
    value: u64,
    /// Where the interesting part of the value ends.
    end: u64,
}

#[derive(Debug)]
struct Run {
    page: u32,
    summary: Revisions,
    previous: Vec<u8>,
    /// In the order of the file, reversed, so that the next is the last.
    awaited: Vec<Awaited>,
    /// What has been read of the next.
    gathered: Vec<u8>,
}

/// The runs that keys are awaited from.
#[derive(Debug, Default)]
pub(super) struct OpenRuns {
    runs: Vec<Run>,
    elements: usize,
    /// The first offset that any run waits for.
    next: u64,
}

impl OpenRuns {
    /// Opens the run of a leaf whose keys so far are all revisions. `rest` are the elements that `page` does not hold
    /// the whole of, by offsets from its beginning at `offset` in the file.
    pub(super) fn open(
        &mut self,
        page: u32,
        offset: u64,
        summary: Revisions,
        previous: &[u8],
        rest: impl Iterator<Item = LeafElement>,
    ) -> Result<(), Problem> {
        let mut awaited = Vec::new();
        for LeafElement { key, value, end, .. } in rest {
            if !(REVISION as u64..=MARKED_REVISION as u64).contains(&(value - key)) {
                return Err(Problem::NotARevision);
            }
            let end = end.min(value + VALUE_HEAD);
            awaited.push(Awaited { key: offset + key, value: offset + value, end: offset + end });
        }
        if self.runs.len() >= MOST_RUNS || self.elements + awaited.len() > MOST_ELEMENTS {
            return Err(Problem::OpenRuns);
        }
        awaited.reverse();
        self.elements += awaited.len();
        self.runs.push(Run { page, summary, previous: previous.to_vec(), awaited, gathered: Vec::new() });
        self.plan();
        Ok(())
    }

    /// Takes what the runs wait for from `bytes`, which are at `offset` in the file.
    pub(super) fn feed(&mut self, offset: u64, bytes: &[u8], table: &mut PageTable, prefixes: &mut Prefixes) {
        if self.runs.is_empty() || self.next >= offset + bytes.len() as u64 {
            return;
        }
        self.runs.retain_mut(|run| match run.feed(offset, bytes, prefixes) {
            Ok(true) => true,
            Ok(false) => {
                table.replace(run.page, Candidate::Revisions(run.summary));
                false
            }
            Err(problem) => {
                table.replace(run.page, Candidate::Bad(problem));
                false
            }
        });
        self.plan();
    }

    fn plan(&mut self) {
        self.next = self.runs.iter().map(Run::next).min().unwrap_or(u64::MAX);
        self.elements = self.runs.iter().map(|run| run.awaited.len()).sum();
    }
}

impl Run {
    fn next(&self) -> u64 {
        self.awaited.last().map_or(u64::MAX, |element| element.key + self.gathered.len() as u64)
    }

    /// Whether anything is still awaited afterwards.
    fn feed(&mut self, offset: u64, bytes: &[u8], prefixes: &mut Prefixes) -> Result<bool, Problem> {
        while let Some(element) = self.awaited.last() {
            let wanted = element.key + self.gathered.len() as u64..element.end;
            let from = usize::try_from(wanted.start.saturating_sub(offset)).unwrap_or(usize::MAX);
            let to = usize::try_from(wanted.end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let Some(part) = bytes.get(from..to.min(bytes.len())) else { return Ok(true) };
            self.gathered.extend_from_slice(part);
            if to > bytes.len() {
                return Ok(true);
            }
            let key_length = usize::try_from(element.value - element.key).unwrap_or(usize::MAX);
            let (key, value) = self.gathered.split_at_checked(key_length).ok_or(Problem::Elements)?;
            if key <= self.previous.as_slice() {
                return Err(Problem::KeyOrder);
            }
            let last = main_revision(key).ok_or(Problem::NotARevision)?;
            let marks = prefixes.inspect(value);
            self.summary.absorb(last, marks);
            self.previous.clear();
            self.previous.extend_from_slice(key);
            self.gathered.clear();
            self.awaited.pop();
        }
        Ok(false)
    }
}
