//! A backup as one side of a comparison.

use bytes::Bytes;
use lifeboat_model::{ObjectKey, ResourceType};
use tokio::runtime::Handle;

use super::account::Known;
use super::side::{Body, Closing, Item, Side};
use super::window::Window;
use crate::browse::{Cursor, OpenBackup, Reader};
use crate::error::{Error, Result};
use crate::selector::Selection;

/// What is set aside to put the lines of a resource in order that was not listed in order, as aggregated APIs may.
const ROOM: usize = 8 << 20;
/// What a line takes in memory, about.
const LINE: usize = 512;

/// The objects of a backup.
pub(super) struct Stored<'a> {
    backup: &'a OpenBackup,
    cursor: Cursor<'a>,
    reader: Reader<'a>,
    selection: &'a Selection,
    current: Option<Current>,
}

struct Current {
    known: Known,
    shared: ResourceType,
    sorted: bool,
    window: Window<Item>,
    ended: bool,
}

impl<'a> Stored<'a> {
    /// `ahead` is for those who will read most objects.
    pub(super) fn new(backup: &'a OpenBackup, handle: &Handle, selection: &'a Selection, ahead: bool) -> Self {
        let (cursor, reader) = (backup.cursor(handle), backup.reader(handle, ahead));
        Self { backup, cursor, reader, selection, current: None }
    }
}

impl Side for Stored<'_> {
    fn begin(&mut self, known: Option<&Known>, shared: &ResourceType) -> Result<()> {
        self.current = None;
        let Some(known) = known else { return Ok(()) };
        let mut resources = self.backup.coverage().resources.iter();
        let Some(coverage) = resources.find(|coverage| coverage.resource == known.resource) else { return Ok(()) };
        self.cursor.begin(coverage);
        let window = Window::new(if coverage.sorted { 0 } else { ROOM });
        let (known, shared) = (known.clone(), shared.clone());
        self.current = Some(Current { known, shared, sorted: coverage.sorted, window, ended: false });
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Item>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        loop {
            if let Some((_, item)) = current.window.pop(current.ended) {
                return Ok(Some(item));
            }
            if current.ended {
                return Ok(None);
            }
            let Some(entry) = self.cursor.next()? else {
                current.ended = true;
                continue;
            };
            let kind = &current.known.resource;
            if (&entry.group, &entry.version, &entry.resource) != (&kind.group, &kind.version, &kind.resource) {
                return Err(Error::Inconsistent(format!("{} is among the {}", entry.key(), kind.group_resource())));
            }
            if self.selection.wants_entry(&entry) {
                let key = current.shared.key(entry.namespace.as_deref(), &entry.name);
                let body = Body::Stored { offset: entry.offset, length: entry.length };
                current.window.push(key.clone(), LINE, Item { key, digest: Some(entry.canonical), body });
            }
        }
    }

    fn json(&mut self, body: &Body) -> Result<Bytes> {
        match body {
            Body::Here(bytes) => Ok(bytes.clone()),
            Body::Stored { offset, length } => Ok(Bytes::copy_from_slice(self.reader.object(*offset, *length)?)),
        }
    }

    fn is_sure_without(&self, key: &ObjectKey) -> bool {
        self.current.as_ref().is_none_or(|current| current.known.is_whole_but_for(key) && current.window.late() == 0)
    }

    fn has_contents(&self) -> bool {
        self.current.as_ref().is_none_or(|current| current.known.resource.api_version() == current.shared.api_version())
    }

    fn close(&mut self) -> Result<Closing> {
        let has_contents = self.has_contents();
        let Some(current) = self.current.take() else { return Ok(Closing::default()) };
        let name = current.known.resource.group_resource();
        let late = current.window.late();
        if late > 0 && current.sorted {
            return Err(Error::Inconsistent(format!(
                "the index has {name} out of order that the coverage calls sorted"
            )));
        }
        let disorder = || "they are in no order, and too many to be put in order".to_owned();
        let versions = || {
            let (theirs, ours) = (current.known.resource.api_version(), current.shared.api_version());
            format!("{ours} {} here, {theirs} there: compared by name only", current.shared.resource)
        };
        Ok(Closing {
            trouble: current.known.gap.or_else(|| (late > 0).then(disorder)),
            names_only: (!has_contents).then(versions),
        })
    }
}
