//! The tar against the index against the coverage, in one pass and flat memory.

use std::io::{BufRead, BufReader, Read};

use lifeboat_archive::{ArchiveError, DEFAULT_ENTRY_LIMIT, Identities, SealedReader, TarReader};
use lifeboat_model::{
    CANONICAL_VERSION, Coverage, IndexEntry, LookupEntry, Object, ObjectKey, PartName, ResourceCoverage,
};
use tokio::runtime::Handle;

use super::frames::FrameCheck;
use crate::blocking::ObjectReader;
use crate::browse::{open_part, parse_line, read_lookup};
use crate::catalog::Backup;
use crate::error::{Error, Result};

/// The longest line of an index.
const MAX_LINE: u64 = 64 * 1024;

type Checked = FrameCheck<SealedReader<ObjectReader>>;

/// Whether each object of the tar has its line in the index, and each line that counts its place in the coverage.
pub(super) fn check(handle: &Handle, backup: &Backup, identities: &Identities, coverage: &Coverage) -> Result<String> {
    let (tar_frames, index_frames) = read_lookup(handle, backup, identities)?;
    let open = |name: &PartName, frames: Vec<LookupEntry>| -> Result<Checked> {
        Ok(FrameCheck::new(open_part(handle, backup, identities, backup.part(name)?)?, frames))
    };
    let tar = open(&PartName::RESOURCES, tar_frames).map_err(backup.part_error(&PartName::RESOURCES))?;
    let index = open(&PartName::INDEX, index_frames).map_err(backup.part_error(&PartName::INDEX))?;
    let canonical = backup.manifest().canonical_version == CANONICAL_VERSION;
    let mut tar = TarReader::new(tar, DEFAULT_ENTRY_LIMIT);
    let mut lines = Lines { source: BufReader::new(index), offset: 0, line: Vec::new() };
    let mut ranges = Ranges::new(coverage);
    let mut objects = 0_u64;
    while let Some(entry) = tar.next_entry().map_err(|error| backup.part_error(&PartName::RESOURCES)(error.into()))? {
        let path = entry.path().to_owned();
        let span = (entry.offset(), entry.size());
        let json = entry.into_bytes().map_err(|error| backup.part_error(&PartName::RESOURCES)(error.into()))?;
        let Some((offset, line)) = lines.next().map_err(backup.part_error(&PartName::INDEX))? else {
            return Err(Error::Inconsistent(format!("'{path}' is in the tar and not in the index")));
        };
        compare(&path, span, &json, &line, canonical)?;
        ranges.take(offset, &line)?;
        objects += 1;
    }
    if let Some((_, line)) = lines.next().map_err(backup.part_error(&PartName::INDEX))? {
        return Err(Error::Inconsistent(format!("{} is in the index and not in the tar", line.key())));
    }
    ranges.finish()?;
    let digests = if canonical { "each equal to its digest" } else { "digests of other rules, not compared" };
    Ok(format!("{objects} objects in the tar as in the index, {digests}, every frame as in the lookup"))
}

fn compare(path: &str, span: (u64, u64), json: &[u8], line: &IndexEntry, canonical: bool) -> Result<()> {
    let key = line.key();
    if key.path()? != path || (line.offset, line.length) != span {
        return Err(Error::Inconsistent(format!("'{path}' is in the tar where the index has {key}")));
    }
    let object = Object::parse(json).map_err(|source| Error::Canonical { object: key.to_string(), source })?;
    let meta = object.meta().map_err(|source| Error::Canonical { object: key.to_string(), source })?;
    if meta.name != key.name || meta.namespace != key.namespace.as_deref() {
        return Err(Error::Inconsistent(format!("the object at '{path}' has another name inside")));
    }
    if !canonical {
        return Ok(());
    }
    let api_version = if key.group.is_empty() { key.version.clone() } else { format!("{}/{}", key.group, key.version) };
    let digest = Object::parse(json)
        .and_then(|object| object.digest(&api_version, &line.kind))
        .map_err(|source| Error::Canonical { object: key.to_string(), source })?;
    if digest == line.canonical {
        return Ok(());
    }
    Err(Error::Inconsistent(format!("{key} has digest {digest}, the index says {}", line.canonical)))
}

/// The lines of the index, with their offsets.
struct Lines<R: Read> {
    source: BufReader<R>,
    offset: u64,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> Result<Option<(u64, IndexEntry)>> {
        self.line.clear();
        let read = (&mut self.source)
            .take(MAX_LINE)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| Error::from(ArchiveError::from(error)))?;
        if read == 0 {
            return Ok(None);
        }
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(Error::Inconsistent(format!("the line of the index at {} has no end", self.offset)));
        };
        let offset = self.offset;
        self.offset += read as u64;
        Ok(Some((offset, parse_line(line)?)))
    }
}

/// The ranges of the coverage, filled as lines come.
struct Ranges<'a> {
    waiting: std::slice::Iter<'a, ResourceCoverage>,
    current: Option<(&'a ResourceCoverage, u64, Option<ObjectKey>)>,
}

impl<'a> Ranges<'a> {
    fn new(coverage: &'a Coverage) -> Self {
        Self { waiting: coverage.resources.iter(), current: None }
    }

    /// The line at `offset` belongs to the resource whose range holds it, or is void.
    fn take(&mut self, offset: u64, line: &IndexEntry) -> Result<()> {
        while self.current.as_ref().is_none_or(|(resource, ..)| resource.index.end() <= offset) {
            self.close()?;
            let Some(next) = self.waiting.next() else { return Ok(()) };
            self.current = Some((next, 0, None));
        }
        let Some((resource, count, last)) = &mut self.current else { return Ok(()) };
        if offset < resource.index.offset {
            return Ok(());
        }
        let key = line.key();
        let kind = &resource.resource;
        if (&key.group, &key.version, &key.resource) != (&kind.group, &kind.version, &kind.resource) {
            return Err(Error::Inconsistent(format!("{key} is among the {}", kind.group_resource())));
        }
        if resource.sorted && last.as_ref().is_some_and(|last| *last >= key) {
            return Err(Error::Inconsistent(format!("{key} is not in order")));
        }
        *count += 1;
        *last = Some(key);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        match self.current.take() {
            Some((resource, count, _)) if count != resource.captured => {
                let name = resource.resource.group_resource();
                let problem = format!("the index has {count} {name}, the coverage says {}", resource.captured);
                Err(Error::Inconsistent(problem))
            }
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<()> {
        self.close()?;
        match self.waiting.find(|resource| resource.captured > 0) {
            Some(resource) => {
                let name = resource.resource.group_resource();
                Err(Error::Inconsistent(format!("the coverage has {name} that the index lacks")))
            }
            None => Ok(()),
        }
    }
}
