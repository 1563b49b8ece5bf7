//! Looking inside a backup by ranged reads, each proved: signed manifest, digest of the lookup, digest of the frame.

mod cursor;

use std::io::Read;
use std::sync::Arc;

use lifeboat_archive::{ArchiveError, Frame, FrameReader, Identities, SealedReader};
use lifeboat_model::{
    Coverage, IndexEntry, IndexRange, LookupEntry, ObjectKey, Part, PartName, ResourceCoverage, parse_json,
};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::blocking::{ObjectReader, RangeReader, run_blocking};
use crate::catalog::Backup;
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::nearest::did_you_mean;
use crate::selector::{ObjectArg, Selection};
pub(crate) use cursor::Cursor;

/// The largest coverage or lookup that is read into memory, in bytes.
const MAX_WHOLE: u64 = 256 << 20;

/// A backup opened with a recovery identity.
#[derive(Clone)]
pub struct OpenBackup(Arc<Inner>);

struct Inner {
    backup: Backup,
    identities: Arc<Identities>,
    coverage: Coverage,
    tar: Vec<LookupEntry>,
    index: Vec<LookupEntry>,
}

impl std::fmt::Debug for OpenBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenBackup").field("backup", &self.0.backup).finish_non_exhaustive()
    }
}

/// What a search has gone through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// Objects looked at.
    pub objects: u64,
    /// Objects that fit.
    pub matches: u64,
    /// Objects on which the expression failed.
    pub failures: u64,
    /// The first of these, and why.
    pub first_failure: Option<String>,
}

/// Opens a part that is read whole, and holds it to what the manifest says of it.
pub(crate) fn open_part(
    handle: &Handle,
    backup: &Backup,
    identities: &Identities,
    part: &Part,
) -> Result<SealedReader<ObjectReader>> {
    let source = ObjectReader::open(handle, backup.context().store.as_ref(), &backup.key(&part.name)?)?;
    SealedReader::new(source, identities, &part.into()).map_err(|error| not_opened(backup, identities, error))
}

/// Why a part does not open. An identity is not wrong where the signed manifest says that the part was sealed to it.
fn not_opened(backup: &Backup, identities: &Identities, error: ArchiveError) -> Error {
    let recipients = &backup.manifest().recipients;
    match error {
        ArchiveError::WrongIdentity if identities.recipients().iter().any(|ours| recipients.contains(ours)) => {
            let problem = "it is damaged, or was sealed anew: by the manifest it was sealed to this identity";
            Error::Inconsistent(problem.to_owned())
        }
        error => error.into(),
    }
}

/// Reads a part whole; its bytes are proved when it returns.
pub(crate) fn read_whole(
    handle: &Handle,
    backup: &Backup,
    identities: &Identities,
    name: &PartName,
    limit: u64,
) -> Result<Vec<u8>> {
    let part = backup.part(name)?;
    if part.plain_bytes > limit {
        let problem = format!("'{name}' has {} bytes, more than the {limit} that are read at once", part.plain_bytes);
        return Err(Error::Inconsistent(problem));
    }
    let read = || {
        let mut reader = open_part(handle, backup, identities, part)?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(ArchiveError::from)?;
        reader.finish()?;
        Ok(bytes)
    };
    read().map_err(backup.part_error(name))
}

/// The coverage of a backup.
pub(crate) fn read_coverage(handle: &Handle, backup: &Backup, identities: &Identities) -> Result<Coverage> {
    let bytes = read_whole(handle, backup, identities, &PartName::COVERAGE, MAX_WHOLE)?;
    parse_json(&bytes, bytes.len()).map_err(|source| Error::Document { key: PartName::COVERAGE.to_string(), source })
}

/// The lookup of a backup: the frames of its tar and of its index, each in order.
pub(crate) fn read_lookup(
    handle: &Handle,
    backup: &Backup,
    identities: &Identities,
) -> Result<(Vec<LookupEntry>, Vec<LookupEntry>)> {
    let bytes = read_whole(handle, backup, identities, &PartName::LOOKUP, MAX_WHOLE)?;
    let (mut tar, mut index) = (Vec::new(), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let entry: LookupEntry = parse_json(line, line.len())
            .map_err(|source| Error::Document { key: PartName::LOOKUP.to_string(), source })?;
        match &entry.part {
            part if *part == PartName::RESOURCES => tar.push(entry),
            part if *part == PartName::INDEX => index.push(entry),
            _ => {}
        }
    }
    for frames in [&tar, &index] {
        let next = |entry: &LookupEntry| entry.plain_offset.checked_add(entry.plain_length);
        if frames.array_windows().any(|[a, b]| next(a) != Some(b.plain_offset)) {
            return Err(Error::Inconsistent("the lookup's frames do not follow each other".to_owned()));
        }
    }
    Ok((tar, index))
}

/// Frames of one part.
struct Frames<'a> {
    backup: &'a Backup,
    part: PartName,
    reader: FrameReader<RangeReader>,
    entries: &'a [LookupEntry],
    current: Option<(u64, Vec<u8>)>,
}

impl Frames<'_> {
    /// The bytes of a frame, kept until another is asked for.
    fn content(&mut self, entry: &LookupEntry) -> Result<&[u8]> {
        if self.current.as_ref().is_none_or(|(offset, _)| *offset != entry.plain_offset) {
            let frame = Frame {
                plain_offset: entry.plain_offset,
                plain_length: entry.plain_length,
                stored_offset: entry.stored_offset,
                stored_length: entry.stored_length,
                sha256: entry.sha256,
            };
            let content = self.reader.read_frame(&frame).map_err(Error::from);
            self.current = Some((entry.plain_offset, content.map_err(self.backup.part_error(&self.part))?));
        }
        Ok(self.current.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default())
    }

    /// The plain bytes of a span, which must lie in one frame.
    fn span(&mut self, offset: u64, length: u64) -> Result<&[u8]> {
        let entries = self.entries;
        let place = entries.partition_point(|entry| entry.plain_offset <= offset);
        let entry = place.checked_sub(1).and_then(|place| entries.get(place));
        let outside = || Error::Inconsistent(format!("no frame holds the {length} bytes at {offset}"));
        let entry = entry.ok_or_else(outside)?;
        let start = usize::try_from(offset - entry.plain_offset).map_err(|_| outside())?;
        let length = usize::try_from(length).map_err(|_| outside())?;
        let end = start.checked_add(length).ok_or_else(outside)?;
        self.content(entry)?.get(start..end).ok_or_else(outside)
    }
}

/// Index and tar of a backup, opened when they are first needed. Blocks.
pub(crate) struct Reader<'a> {
    inner: &'a Inner,
    handle: Handle,
    ahead: bool,
    index: Option<Frames<'a>>,
    tar: Option<Frames<'a>>,
}

impl Reader<'_> {
    /// The lines of the index that are of a resource, in order.
    pub(crate) fn lines(
        &mut self,
        resource: &ResourceCoverage,
        mut each: impl FnMut(IndexEntry) -> Result<()>,
    ) -> Result<()> {
        if resource.index.length == 0 {
            return Ok(());
        }
        let frames = match &mut self.index {
            Some(frames) => frames,
            none => none.insert(self.inner.frames(&self.handle, &PartName::INDEX, self.ahead)?),
        };
        for entry in overlapping(&self.inner.index, resource.index) {
            for line in lines(frames.content(entry)?, entry.plain_offset, resource.index) {
                each(parse_line(line)?)?;
            }
        }
        Ok(())
    }

    /// The JSON of the object that lies there.
    pub(crate) fn object(&mut self, offset: u64, length: u64) -> Result<&[u8]> {
        let frames = match &mut self.tar {
            Some(frames) => frames,
            none => none.insert(self.inner.frames(&self.handle, &PartName::RESOURCES, self.ahead)?),
        };
        frames.span(offset, length)
    }
}

impl OpenBackup {
    /// Opens a backup: reads its coverage and its lookup.
    ///
    /// # Errors
    /// When the identity does not open it, or it is not what its manifest says.
    pub async fn open(backup: Backup, identities: Arc<Identities>) -> Result<Self> {
        let handle = Handle::current();
        run_blocking("opening the backup", move || {
            let coverage = read_coverage(&handle, &backup, &identities)?;
            let (tar, index) = match backup.manifest().part(&PartName::LOOKUP) {
                Some(_) => read_lookup(&handle, &backup, &identities)?,
                None => (Vec::new(), Vec::new()),
            };
            Ok(Self(Arc::new(Inner { backup, identities, coverage, tar, index })))
        })
        .await
    }

    /// The backup.
    pub fn backup(&self) -> &Backup {
        &self.0.backup
    }

    /// What was expected of it, and what it has.
    pub fn coverage(&self) -> &Coverage {
        &self.0.coverage
    }

    /// Reads the index lines of the objects that are selected, in order. Labels are not in the index: `each` sees
    /// objects that may yet be left out by them.
    fn entries(
        &self,
        handle: &Handle,
        selection: &Selection,
        mut each: impl FnMut(IndexEntry) -> Result<()>,
    ) -> Result<()> {
        let wanted = self.0.coverage.resources.iter().filter(|resource| selection.wants_type(&resource.resource));
        let mut index = self.reader(handle, true);
        for resource in wanted {
            index.lines(resource, |entry| if selection.wants_entry(&entry) { each(entry) } else { Ok(()) })?;
        }
        Ok(())
    }

    /// Reads lines of the index and objects, blocking. `ahead` is for those who go through many.
    pub(crate) fn reader<'a>(&'a self, handle: &Handle, ahead: bool) -> Reader<'a> {
        Reader { inner: &self.0, handle: handle.clone(), ahead, index: None, tar: None }
    }

    /// Every selected object's index line, in the order of the backup. `each` may end it by an error.
    ///
    /// # Errors
    /// When the backup is not what its manifest says, or cannot be read.
    pub async fn objects(
        &self,
        selection: Selection,
        mut each: impl FnMut(IndexEntry) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        if selection.labels.is_some() {
            return self.read(selection, move |entry, _| each(entry)).await;
        }
        let (this, handle) = (self.clone(), Handle::current());
        run_blocking("reading the index", move || this.entries(&handle, &selection, each)).await
    }

    /// Every selected object with its JSON, in the order of the backup.
    ///
    /// # Errors
    /// When the backup is not what its manifest says, or cannot be read.
    pub async fn read(
        &self,
        selection: Selection,
        mut each: impl FnMut(IndexEntry, &[u8]) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (this, handle) = (self.clone(), Handle::current());
        run_blocking("reading the objects", move || {
            let mut tar = this.reader(&handle, true);
            this.entries(&handle, &selection, |entry| {
                let json = tar.object(entry.offset, entry.length)?;
                match &selection.labels {
                    Some(labels) if !labels.matches(&parse_object(json)?) => Ok(()),
                    _ => each(entry, json),
                }
            })
        })
        .await
    }

    /// Every selected object that fits the expression.
    ///
    /// # Errors
    /// When the backup is not what its manifest says, or cannot be read. Objects on which the expression fails are
    /// counted.
    pub async fn search(
        &self,
        selection: Selection,
        expression: Expression,
        mut each: impl FnMut(IndexEntry, Value) -> Result<()> + Send + 'static,
    ) -> Result<Searched> {
        let searched = Arc::new(std::sync::Mutex::new(Searched::default()));
        let shared = Arc::clone(&searched);
        self.read(selection, move |entry, json| {
            let object = parse_object(json)?;
            let mut searched = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            searched.objects += 1;
            match expression.matches(&object) {
                Ok(false) => Ok(()),
                Ok(true) => {
                    searched.matches += 1;
                    each(entry, object)
                }
                Err(reason) => {
                    searched.failures += 1;
                    searched.first_failure.get_or_insert_with(|| format!("{}: {reason}", entry.key()));
                    Ok(())
                }
            }
        })
        .await?;
        let searched = searched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok(searched)
    }

    /// One object with its JSON: a few ranged reads, however large the backup is.
    ///
    /// # Errors
    /// When there is none of that name, or more than one resource of that name has one.
    pub async fn get(&self, object: &ObjectArg, namespace: Option<&str>) -> Result<(IndexEntry, Vec<u8>)> {
        let (this, handle, object) = (self.clone(), Handle::current(), object.clone());
        let namespace = namespace.map(str::to_owned);
        run_blocking("reading the object", move || {
            let entry = this.0.find(&handle, &object, namespace.as_deref())?;
            let json = this.reader(&handle, false).object(entry.offset, entry.length)?.to_vec();
            Ok((entry, json))
        })
        .await
    }
}

impl Inner {
    fn frames(&self, handle: &Handle, part: &PartName, read_ahead: bool) -> Result<Frames<'_>> {
        let entries = if *part == PartName::INDEX { &self.index } else { &self.tar };
        let stored = self.backup.part(part)?.stored_bytes;
        let store = Arc::clone(&self.backup.context().store);
        let mut source = RangeReader::new(handle.clone(), store, self.backup.key(part)?, stored);
        source.set_read_ahead(read_ahead);
        let reader = FrameReader::open(source, &self.identities, stored)
            .map_err(|error| self.backup.part_error(part)(not_opened(&self.backup, &self.identities, error)))?;
        Ok(Frames { backup: &self.backup, part: part.clone(), reader, entries, current: None })
    }

    /// Finds one object's index line by halving.
    fn find(&self, handle: &Handle, object: &ObjectArg, namespace: Option<&str>) -> Result<IndexEntry> {
        let candidates: Vec<&ResourceCoverage> =
            self.coverage.resources.iter().filter(|resource| object.resource.matches(&resource.resource)).collect();
        if candidates.is_empty() {
            let names = self.coverage.resources.iter().map(|resource| resource.resource.group_resource().to_string());
            let hint = did_you_mean(object.resource.as_str(), names);
            return Err(Error::NoObject(format!("the backup has no resource '{}'{hint}", object.resource.as_str())));
        }
        let mut frames = self.frames(handle, &PartName::INDEX, false)?;
        for resource in candidates {
            let kind = &resource.resource;
            if kind.namespaced && namespace.is_none() {
                return Err(Error::Usage(format!("{} live in namespaces: say which with -n", kind.resource)));
            }
            let key = kind.key(namespace.filter(|_| kind.namespaced), &object.name);
            for entry in places(&self.index, resource, &key)? {
                for line in lines(frames.content(entry)?, entry.plain_offset, resource.index) {
                    let line = parse_line(line)?;
                    if line.key() == key {
                        return Ok(line);
                    }
                }
            }
        }
        let place = namespace.map_or_else(String::new, |namespace| format!(" in namespace '{namespace}'"));
        let missing = format!("the backup has no {} '{}'{place}", object.resource.as_str(), object.name);
        Err(Error::NoObject(missing))
    }
}

/// The frames that hold lines of a range.
fn overlapping(frames: &[LookupEntry], range: IndexRange) -> &[LookupEntry] {
    let first = frames.partition_point(|frame| frame.plain_offset.saturating_add(frame.plain_length) <= range.offset);
    let end = frames.partition_point(|frame| frame.plain_offset < range.end());
    frames.get(first..end).unwrap_or_default()
}

/// The frames in which the line of that object can lie: one, where the lines are in order.
fn places<'a>(index: &'a [LookupEntry], resource: &ResourceCoverage, key: &ObjectKey) -> Result<&'a [LookupEntry]> {
    let frames = overlapping(index, resource.index);
    if !resource.sorted {
        return Ok(frames);
    }
    let mut place = 0;
    for (number, frame) in frames.iter().enumerate().skip(1) {
        let first = frame.first.as_deref().ok_or_else(|| {
            Error::Inconsistent("the lookup has a frame of the index without its first object".to_owned())
        })?;
        if ObjectKey::from_path(first)? > *key {
            break;
        }
        place = number;
    }
    Ok(frames.get(place..frames.len().min(place + 1)).unwrap_or_default())
}

/// The lines of a frame that lie in a range.
fn lines(frame: &[u8], offset: u64, range: IndexRange) -> impl Iterator<Item = &[u8]> {
    let clamp = |place: u64| usize::try_from(place.saturating_sub(offset)).unwrap_or(usize::MAX).min(frame.len());
    let (start, end) = (clamp(range.offset), clamp(range.end()));
    let part = frame.get(start..end).unwrap_or_default();
    part.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

pub(crate) fn parse_line(line: &[u8]) -> Result<IndexEntry> {
    parse_json(line, line.len()).map_err(|source| Error::Document { key: PartName::INDEX.to_string(), source })
}

fn parse_object(json: &[u8]) -> Result<Value> {
    serde_json::from_slice(json).map_err(|error| Error::Inconsistent(format!("an object is not valid JSON: {error}")))
}
