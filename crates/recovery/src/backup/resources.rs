//! The objects: lists as they come, into the tar, the index and the lookup.

use std::io::Write;

use lifeboat_archive::{Frame, TarWriter};
use lifeboat_kubernetes::{Cluster, ListEvent, ListOptions, Listing, Page};
use lifeboat_model::{
    CanonicalError, Gap, IndexEntry, IndexRange, LookupEntry, Object, ObjectKey, PartName, PathError, ResourceCoverage,
    ResourceType, ResourcesConfig, ResourcesRecord,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::part::{self, PartWriter, Written};
use super::{Objects, Shared};
use crate::blocking::run_blocking;
use crate::error::{Error, Result, chain};
use crate::progress::Track;

/// What a page is to have about, and what may wait in memory: little, so that a large cluster takes no more memory than
/// a small one; more does not make it faster.
const PAGE_BYTES: usize = 256 << 10;
const BUFFERED_PAGES: usize = 1 << 20;
/// Plain bytes of the tar after which its frame is cut: what has to be fetched to read one object.
const TAR_FRAME: u64 = 256 * 1024;
/// Plain bytes of the index after which its frame is cut.
const INDEX_FRAME: u64 = 64 * 1024;

/// Captures all objects that the configuration wants.
///
/// # Errors
/// When discovery or the store fails. A list that fails is a gap.
pub(super) async fn capture(shared: &Shared, cluster: &Cluster, wanted: &ResourcesConfig) -> Result<Objects> {
    let discovery = cluster.discover().await?;
    let (types, left_out) = (discovery.wanted(wanted), discovery.left_out(wanted));
    let failures = discovery.failures.into_iter();
    let mut gaps: Vec<Gap> =
        failures.map(|failure| Gap { resource: failure.group_version, reason: failure.message }).collect();
    let options = ListOptions {
        page_limit: wanted.page_size,
        page_bytes: PAGE_BYTES,
        buffer_bytes: BUFFERED_PAGES,
        ..ListOptions::default()
    };
    let listing = cluster.list_all(types.clone(), options);

    let track = &shared.progress.resources;
    let (tar, mut tar_upload) = shared.begin(PartName::RESOURCES, part::listed_frames(), track.clone())?;
    let (index, mut index_upload) = shared.begin(PartName::INDEX, part::listed_frames(), Track::default())?;
    let mut writer = Writer::new(tar, index, types, shared.started.as_second().unsigned_abs(), track.clone());
    let (handle, cancel) = (Handle::current(), shared.cancel.clone());
    let work = run_blocking("writing the objects", move || {
        writer.consume(&handle, &cancel, listing)?;
        writer.finish()
    });
    let written = part::settle(work, &mut [&mut tar_upload, &mut index_upload]).await?;
    let parts =
        tokio::try_join!(tar_upload.describe(&written.tar.sealed), index_upload.describe(&written.index.sealed))?;
    gaps.extend(written.gaps);
    Ok(Objects {
        record: written.versions,
        parts: vec![parts.0, parts.1],
        lookup: lookup(written.tar.frames, written.index.frames, written.first),
        resources: written.resources,
        gaps,
        left_out,
    })
}

fn lookup(tar: Vec<Frame>, index: Vec<Frame>, first: Vec<String>) -> Vec<LookupEntry> {
    let entry = |part: PartName, frame: Frame, first: Option<String>| LookupEntry {
        part,
        plain_offset: frame.plain_offset,
        plain_length: frame.plain_length,
        stored_offset: frame.stored_offset,
        stored_length: frame.stored_length,
        sha256: frame.sha256,
        first,
    };
    let tar = tar.into_iter().map(|frame| entry(PartName::RESOURCES, frame, None));
    let index = index.into_iter().zip(first).map(|(frame, first)| entry(PartName::INDEX, frame, Some(first)));
    tar.chain(index).collect()
}

/// Writes objects as they come.
struct Writer {
    tar: TarWriter<PartWriter>,
    index: PartWriter,
    /// The path of the first object of each frame of the index.
    first: Vec<String>,
    types: Vec<ResourceType>,
    mtime: u64,
    current: Option<Current>,
    resources: Vec<ResourceCoverage>,
    gaps: Vec<Gap>,
    track: Track,
    object: Vec<u8>,
    line: Vec<u8>,
}

/// The list that is being written.
struct Current {
    coverage: ResourceCoverage,
    last: Option<ObjectKey>,
    failed_objects: u64,
    /// How many gaps there were before it.
    gaps_before: usize,
}

struct Outcome {
    tar: Written,
    index: Written,
    first: Vec<String>,
    resources: Vec<ResourceCoverage>,
    gaps: Vec<Gap>,
    versions: ResourcesRecord,
}

/// Why an object was not written.
enum Failure {
    /// It cannot be captured: a gap.
    Object(String),
    /// The backup cannot go on.
    Backup(Error),
}

impl From<CanonicalError> for Failure {
    fn from(error: CanonicalError) -> Self {
        Self::Object(chain(&error))
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Object(chain(&error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Backup(error)
    }
}

impl Writer {
    fn new(tar: PartWriter, index: PartWriter, types: Vec<ResourceType>, mtime: u64, track: Track) -> Self {
        Self {
            tar: TarWriter::new(tar),
            index,
            first: Vec::new(),
            types,
            mtime,
            current: None,
            resources: Vec::new(),
            gaps: Vec::new(),
            track,
            object: Vec::new(),
            line: Vec::new(),
        }
    }

    fn consume(&mut self, handle: &Handle, cancel: &CancellationToken, mut listing: Listing) -> Result<()> {
        loop {
            let event = handle.block_on(cancel.run_until_cancelled(listing.next())).ok_or(Error::Cancelled)?;
            let Some((position, event)) = event else { return Ok(()) };
            let Some(kind) = self.types.get(position).cloned() else { return Err(Error::Lost("listing")) };
            match event {
                ListEvent::Page(page) => self.page(&kind, &page)?,
                ListEvent::Restarted { reason } => self.restart(&kind, &reason),
                ListEvent::Finished { resource_version, .. } => self.end(&kind, resource_version, None),
                ListEvent::Failed(error) => self.end(&kind, String::new(), Some(&error)),
            }
        }
    }

    fn current(&mut self, kind: &ResourceType) -> Current {
        self.current.take().unwrap_or_else(|| Current {
            coverage: ResourceCoverage {
                resource: kind.clone(),
                expected: None,
                captured: 0,
                resource_version: String::new(),
                restarts: 0,
                sorted: true,
                index: IndexRange { offset: self.index.plain_bytes(), length: 0 },
            },
            last: None,
            failed_objects: 0,
            gaps_before: self.gaps.len(),
        })
    }

    fn page(&mut self, kind: &ResourceType, page: &Page) -> Result<()> {
        let mut current = self.current(kind);
        current.coverage.resource_version.clone_from(&page.resource_version);
        if current.coverage.expected.is_none() {
            let announced = page.items.len() as u64 + page.remaining.unwrap_or_default();
            let known = page.remaining.is_some() || page.continue_token.is_empty();
            current.coverage.expected = known.then_some(announced);
        }
        for object in page.objects() {
            match self.object(kind, &mut current, object) {
                Ok(()) => {}
                Err(Failure::Object(reason)) => self.unfit(kind, &mut current, object, reason),
                Err(Failure::Backup(error)) => return Err(error),
            }
        }
        current.coverage.index.length = self.index.plain_bytes() - current.coverage.index.offset;
        self.track.add_bytes(page.bytes.len());
        self.track.add_objects(page.items.len());
        self.current = Some(current);
        Ok(())
    }

    fn object(&mut self, kind: &ResourceType, current: &mut Current, json: &[u8]) -> std::result::Result<(), Failure> {
        let api_version = kind.api_version();
        let object = Object::parse(json)?;
        let meta = object.meta()?;
        let key = kind.key(meta.namespace, meta.name);
        let path = key.path()?;
        let (uid, resource_version) = (meta.uid.to_owned(), meta.resource_version.to_owned());
        let (lacks_version, lacks_kind) = (meta.api_version.is_none(), meta.kind.is_none());
        let canonical = object.digest(&api_version, &kind.kind)?;

        let added = [lacks_version.then_some(("apiVersion", &api_version)), lacks_kind.then_some(("kind", &kind.kind))];
        splice(&mut self.object, json, added.into_iter().flatten());
        let span = self.tar.append(&path, &self.object, self.mtime).map_err(part::archive_error)?;
        let entry = IndexEntry {
            group: key.group.clone(),
            version: key.version.clone(),
            resource: key.resource.clone(),
            kind: kind.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid,
            resource_version,
            offset: span.offset,
            length: span.length,
            canonical,
        };
        self.index_line(&entry, path)?;
        cut_at(self.tar.sink_mut(), TAR_FRAME)?;
        current.coverage.sorted &= current.last.as_ref().is_none_or(|last| *last < key);
        current.coverage.captured += 1;
        current.last = Some(key);
        Ok(())
    }

    fn index_line(&mut self, entry: &IndexEntry, path: String) -> Result<()> {
        if self.index.frame_bytes() == 0 {
            self.first.push(path);
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, entry).map_err(|error| Error::Inconsistent(error.to_string()))?;
        self.line.push(b'\n');
        self.index.write_all(&self.line).map_err(part::write_error)?;
        cut_at(&mut self.index, INDEX_FRAME)
    }

    /// What was written of the list so far is void: its lines lie outside the range that will be recorded.
    fn restart(&mut self, kind: &ResourceType, reason: &str) {
        let void = self.current(kind);
        self.gaps.truncate(void.gaps_before);
        let restarts = void.coverage.restarts + 1;
        tracing::warn!(resource = %kind.group_resource(), restarts, reason, "the list had expired and begins again");
        let mut current = self.current(kind);
        current.coverage.restarts = restarts;
        self.current = Some(current);
    }

    fn unfit(&mut self, kind: &ResourceType, current: &mut Current, json: &[u8], reason: String) {
        current.failed_objects += 1;
        let name = name_of(json).unwrap_or_else(|| "an object without a name".to_owned());
        self.gaps.push(Gap { resource: format!("{}/{name}", kind.group_resource()), reason });
    }

    fn end(&mut self, kind: &ResourceType, resource_version: String, failure: Option<&lifeboat_kubernetes::Error>) {
        let Current { mut coverage, failed_objects, .. } = self.current(kind);
        if !resource_version.is_empty() {
            coverage.resource_version = resource_version;
        }
        let resource = kind.group_resource().to_string();
        let had = coverage.captured + failed_objects;
        if let Some(error) = failure {
            self.gaps.push(Gap { resource, reason: chain(error) });
        } else if let Some(expected) = coverage.expected.filter(|expected| *expected > had) {
            let reason = format!("the API server announced {expected} objects and listed {had}");
            self.gaps.push(Gap { resource, reason });
        }
        self.resources.push(coverage);
    }

    fn finish(self) -> Result<Outcome> {
        let tar = part::finish(self.tar.finish().map_err(part::write_error)?)?;
        let index = part::finish(self.index)?;
        let versions = self.resources.iter().filter_map(|resource| resource.resource_version.parse::<u64>().ok());
        let versions = ResourcesRecord::Captured {
            from_resource_version: versions.clone().min().unwrap_or_default(),
            to_resource_version: versions.max().unwrap_or_default(),
        };
        Ok(Outcome { tar, index, first: self.first, resources: self.resources, gaps: self.gaps, versions })
    }
}

fn cut_at(writer: &mut PartWriter, size: u64) -> Result<()> {
    if writer.frame_bytes() < size {
        return Ok(());
    }
    writer.cut_frame().map_err(part::write_error)
}

/// The object's bytes as received, with members put in front that the API server left out.
fn splice<'a>(out: &mut Vec<u8>, json: &[u8], added: impl Iterator<Item = (&'a str, &'a String)>) {
    out.clear();
    out.push(b'{');
    for (name, value) in added {
        out.extend_from_slice(format!("\"{name}\":{},", serde_json::Value::from(value.as_str())).as_bytes());
    }
    let rest = json.strip_prefix(b"{").unwrap_or(json).trim_ascii_start();
    if rest == b"}" && out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(rest);
}

/// The name of an object that cannot be captured, for the person who has to find it.
fn name_of(json: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let metadata = value.get("metadata")?;
    let name = metadata.get("name")?.as_str()?;
    let namespace = metadata.get("namespace").and_then(serde_json::Value::as_str);
    Some(namespace.map_or_else(|| name.to_owned(), |namespace| format!("{name} -n {namespace}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_version_and_kind_are_put_in_where_they_lack() {
        let (version, kind) = ("v1".to_owned(), "Secret".to_owned());
        let added = [("apiVersion", &version), ("kind", &kind)];
        let mut out = Vec::new();
        splice(&mut out, br#"{"metadata":{}}"#, added.into_iter());
        assert_eq!(out, br#"{"apiVersion":"v1","kind":"Secret","metadata":{}}"#);
        splice(&mut out, b"{ }", added.into_iter());
        assert_eq!(out, br#"{"apiVersion":"v1","kind":"Secret"}"#);
        splice(&mut out, br#"{"kind":"Secret","apiVersion":"v1"}"#, std::iter::empty());
        assert_eq!(out, br#"{"kind":"Secret","apiVersion":"v1"}"#);
    }
}
