//! Walking a store in the order of its keys.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::vec;

use jiff::Timestamp;

use super::folder::{Entry, Folder};
use super::part::parse_part_name;
use crate::key::check_segment;
use crate::{Incomplete, Listed, Prefix, StoreError};

/// What a walk is after: decides by the file's name, and makes the item.
pub(super) trait Find: Copy + Send + 'static {
    type Item: Send + 'static;

    /// Whether the file's name is such an item's.
    fn wants(self, file: &str) -> bool;

    /// The item.
    fn item(self, folder: &Prefix, file: &str, meta: &Metadata) -> Option<Self::Item>;
}

/// Finds objects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Objects;

/// Finds unfinished files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts;

impl Find for Objects {
    type Item = Listed;

    fn wants(self, file: &str) -> bool {
        check_segment(file).is_ok()
    }

    fn item(self, folder: &Prefix, file: &str, meta: &Metadata) -> Option<Listed> {
        Some(Listed { key: folder.key(file).ok()?, bytes: meta.len(), modified: modified(meta) })
    }
}

impl Find for Parts {
    type Item = Incomplete;

    fn wants(self, file: &str) -> bool {
        parse_part_name(file).is_some()
    }

    fn item(self, folder: &Prefix, file: &str, meta: &Metadata) -> Option<Incomplete> {
        let (name, id) = parse_part_name(file)?;
        Some(Incomplete { key: folder.key(name).ok()?, started: modified(meta), id: id.to_owned() })
    }
}

/// The date of a file, as the file system has it.
pub(super) fn modified(meta: &Metadata) -> Timestamp {
    let nanos = i32::try_from(meta.mtime_nsec()).unwrap_or_default();
    // A date out of every calendar is taken for a late one: what is old may be removed.
    Timestamp::new(meta.mtime(), nanos).unwrap_or(Timestamp::MAX)
}

/// A walk that can be left and taken up again; holds the names of one folder for each level.
pub(super) struct Walk<F> {
    find: F,
    levels: Vec<Level>,
}

struct Level {
    folder: Folder,
    prefix: Prefix,
    names: vec::IntoIter<String>,
}

impl<F: Find> Walk<F> {
    /// A walk through a folder and all below it.
    pub(super) fn new(find: F, folder: Option<Folder>, prefix: Prefix) -> Result<Self, StoreError> {
        let mut walk = Self { find, levels: Vec::new() };
        if let Some(folder) = folder {
            walk.enter(folder, prefix)?;
        }
        Ok(walk)
    }

    /// The next items, at most that many; none at the end.
    pub(super) fn next_batch(&mut self, most: usize) -> Result<Vec<F::Item>, StoreError> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some(level) = self.levels.last_mut() else { break };
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let name = name.trim_end_matches('/');
            match level.folder.entry(name)? {
                Some(Entry::File(_, meta)) if self.find.wants(name) => {
                    batch.extend(self.find.item(&level.prefix, name, &meta));
                }
                Some(Entry::Folder(folder)) => {
                    // Too deep a path is no key's.
                    if let Ok(prefix) = level.prefix.folder(name) {
                        self.enter(folder, prefix)?;
                    }
                }
                _ => {}
            }
        }
        Ok(batch)
    }

    fn enter(&mut self, folder: Folder, prefix: Prefix) -> Result<(), StoreError> {
        let names = folder.names(|name| check_segment(name).is_ok() || self.find.wants(name))?;
        self.levels.push(Level { folder, prefix, names: names.into_iter() });
        Ok(())
    }
}
