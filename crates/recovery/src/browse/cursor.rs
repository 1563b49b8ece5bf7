//! The lines of an index, one at a time.

use std::collections::VecDeque;

use lifeboat_model::{IndexEntry, IndexRange, LookupEntry, PartName, ResourceCoverage};
use tokio::runtime::Handle;

use super::{Frames, OpenBackup, lines, overlapping, parse_line};
use crate::error::Result;

/// The index of a backup, for those who cannot be called for each line because they go through another list beside it.
/// Blocks, and holds one frame.
pub(crate) struct Cursor<'a> {
    backup: &'a OpenBackup,
    handle: Handle,
    frames: Option<Frames<'a>>,
    range: IndexRange,
    /// The frames of the range that were not read yet.
    rest: &'a [LookupEntry],
    waiting: VecDeque<IndexEntry>,
}

impl OpenBackup {
    /// A cursor that is nowhere yet.
    pub(crate) fn cursor(&self, handle: &Handle) -> Cursor<'_> {
        Cursor {
            backup: self,
            handle: handle.clone(),
            frames: None,
            range: IndexRange::default(),
            rest: &[],
            waiting: VecDeque::new(),
        }
    }
}

impl<'a> Cursor<'a> {
    /// Goes before the first line of a resource.
    pub(crate) fn begin(&mut self, resource: &ResourceCoverage) {
        self.range = resource.index;
        self.waiting.clear();
        let frames = overlapping(&self.backup.0.index, resource.index);
        self.rest = if resource.index.length == 0 { &[] } else { frames };
    }

    /// The next line of the resource.
    pub(crate) fn next(&mut self) -> Result<Option<IndexEntry>> {
        while self.waiting.is_empty() {
            let Some((entry, rest)) = self.rest.split_first() else { return Ok(None) };
            self.rest = rest;
            let frames: &mut Frames<'a> = match &mut self.frames {
                Some(frames) => frames,
                none => none.insert(self.backup.0.frames(&self.handle, &PartName::INDEX, true)?),
            };
            for line in lines(frames.content(entry)?, entry.plain_offset, self.range) {
                self.waiting.push_back(parse_line(line)?);
            }
        }
        Ok(self.waiting.pop_front())
    }
}
