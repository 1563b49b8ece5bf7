//! Everything that the restored API server lists, against the index, in one pass and flat memory.

use std::collections::BTreeSet;
use std::iter::Peekable;

use lifeboat_kubernetes::{ListEvent, Listing};
use lifeboat_model::{CanonicalError, FindingCode, IndexEntry, Object, ObjectKey, ResourceCoverage, ResourceType};
use tokio::runtime::Handle;

use super::account::Notes;
use super::rules::{self, own_write};
use crate::browse::{Cursor, OpenBackup};
use crate::error::{Error, Result, chain};

/// What tells a difference that came about while the backup was taken from one that must not be.
pub(super) struct Limits {
    /// The newest revision of the snapshot.
    pub(super) snapshot: u64,
    /// The revision at which etcd booted.
    pub(super) boot: u64,
    /// Whether the digests of the index are by the rules that are known here.
    pub(super) digests: bool,
    /// Keys that the snapshot has deleted, each with the revision of that.
    pub(super) deleted: Vec<(Vec<u8>, i64)>,
    /// Resources and objects that the backup says it lacks.
    pub(super) gaps: BTreeSet<String>,
    /// The node of kind on which the restored control plane runs.
    pub(super) node: Option<String>,
}

/// Compares what is listed of the resources `types`, in their order, with the index. Blocks.
pub(super) fn run(
    mut notes: Notes,
    backup: &OpenBackup,
    types: &[ResourceCoverage],
    limits: &Limits,
    handle: &Handle,
    mut listing: Listing,
) -> Result<Notes> {
    let mut cursor = backup.cursor(handle);
    let mut tallies = Vec::new();
    for coverage in types {
        let lines = lines(&mut cursor, coverage)?;
        let mut comparison = Comparison::new(coverage, limits, lines, &mut notes);
        loop {
            let (_, event) = handle.block_on(listing.next()).ok_or(Error::Lost("listing"))?;
            match event {
                ListEvent::Page(page) => page.objects().try_for_each(|json| comparison.object(json))?,
                ListEvent::Restarted { reason } => comparison.give_up(reason),
                ListEvent::Finished { .. } => break,
                ListEvent::Failed(error) => {
                    comparison.give_up(chain(&error));
                    break;
                }
            }
        }
        tallies.push(comparison.end()?);
    }
    for tally in tallies {
        notes.result(&tally.resource, tally.findings == 0, tally.to_string());
    }
    Ok(notes)
}

/// The lines of the index that are of a resource, in the order of keys.
fn lines<'c>(
    cursor: &'c mut Cursor<'_>,
    coverage: &ResourceCoverage,
) -> Result<Box<dyn Iterator<Item = Result<IndexEntry>> + 'c>> {
    cursor.begin(coverage);
    let lines = std::iter::from_fn(move || cursor.next().transpose());
    if coverage.sorted {
        return Ok(Box::new(lines));
    }
    let mut held = lines.collect::<Result<Vec<IndexEntry>>>()?;
    held.sort_by_key(IndexEntry::key);
    Ok(Box::new(held.into_iter().map(Ok)))
}

/// What came of one resource.
#[derive(Debug, Default)]
struct Tally {
    resource: String,
    compared: u64,
    explained: u64,
    findings: u64,
    /// Why the list is no use.
    unreadable: Option<String>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(reason) = &self.unreadable {
            return f.write_str(reason);
        }
        write!(f, "{} objects compared", self.compared)?;
        if self.explained > 0 {
            write!(f, ", {} differences explained", self.explained)?;
        }
        if self.findings > 0 {
            write!(f, ", {} findings", self.findings)?;
        }
        Ok(())
    }
}

/// An object that the API server listed.
struct Found<'a> {
    key: ObjectKey,
    revision: u64,
    object: Object<'a>,
    json: &'a [u8],
}

impl<'a> Found<'a> {
    fn parse(kind: &ResourceType, json: &'a [u8]) -> std::result::Result<Self, CanonicalError> {
        let object = Object::parse(json)?;
        let meta = object.meta()?;
        let key = kind.key(meta.namespace, meta.name);
        let revision = meta.resource_version.parse().unwrap_or_default();
        Ok(Self { key, revision, object, json })
    }
}

/// The comparison of one resource.
struct Comparison<'a, I: Iterator<Item = Result<IndexEntry>>> {
    coverage: &'a ResourceCoverage,
    limits: &'a Limits,
    index: Peekable<I>,
    notes: &'a mut Notes,
    tally: Tally,
    last: Option<ObjectKey>,
    /// The objects, where the backup has them out of order: the server may have an order of its own.
    held: Vec<(ObjectKey, Vec<u8>)>,
    /// The rest is passed over.
    skips: bool,
}

impl<'a, I: Iterator<Item = Result<IndexEntry>>> Comparison<'a, I> {
    fn new(coverage: &'a ResourceCoverage, limits: &'a Limits, index: I, notes: &'a mut Notes) -> Self {
        let tally = Tally { resource: coverage.resource.group_resource().to_string(), ..Tally::default() };
        let index = index.peekable();
        Self { coverage, limits, index, notes, tally, last: None, held: Vec::new(), skips: false }
    }

    fn object(&mut self, json: &[u8]) -> Result<()> {
        match Found::parse(&self.coverage.resource, json) {
            Ok(found) if self.coverage.sorted => self.in_order(found)?,
            Ok(found) => self.held.push((found.key, json.to_vec())),
            Err(error) => {
                let message = format!("an object of {} cannot be read: {}", self.tally.resource, chain(&error));
                self.finding(FindingCode::ResourceUnreadable, self.tally.resource.clone(), message);
            }
        }
        Ok(())
    }

    /// Goes on in the index up to the object; what is passed was not found.
    fn in_order(&mut self, found: Found<'_>) -> Result<()> {
        if self.skips {
            return Ok(());
        }
        if self.last.as_ref().is_some_and(|last| *last >= found.key) {
            self.skips = true;
            let message = format!("listed out of order from {} on, so the rest is not compared", found.key);
            self.finding(FindingCode::ResourceUnreadable, self.tally.resource.clone(), message);
            return Ok(());
        }
        self.last = Some(found.key.clone());
        let up_to = |entry: &Result<IndexEntry>| entry.as_ref().map_or(true, |entry| entry.key() <= found.key);
        while let Some(entry) = self.index.next_if(up_to).transpose()? {
            if entry.key() == found.key {
                self.tally.compared += 1;
                self.same(&entry, found);
                return Ok(());
            }
            self.missing(&entry);
        }
        self.unexpected(&found);
        Ok(())
    }

    /// The list has failed: nothing can be said of what the index has of it.
    fn give_up(&mut self, reason: String) {
        self.skips = true;
        self.held.clear();
        self.finding(FindingCode::ResourceUnreadable, self.tally.resource.clone(), reason.clone());
        self.tally.unreadable = Some(reason);
    }

    /// The list has ended: what the index has beyond it is missing.
    fn end(mut self) -> Result<Tally> {
        let mut held = std::mem::take(&mut self.held);
        held.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (_, json) in &held {
            if let Ok(found) = Found::parse(&self.coverage.resource, json) {
                self.in_order(found)?;
            }
        }
        if !self.skips {
            while let Some(entry) = self.index.next().transpose()? {
                self.missing(&entry);
            }
        }
        Ok(self.tally)
    }

    fn same(&mut self, entry: &IndexEntry, found: Found<'_>) {
        if !self.limits.digests {
            return;
        }
        let kind = &self.coverage.resource;
        let Found { key, revision, object, json } = found;
        let problem = match object.digest(&kind.api_version(), &kind.kind) {
            Ok(digest) if digest == entry.canonical => return,
            Ok(digest) => format!("its digest is {digest}, the index says {}", entry.canonical),
            Err(error) => chain(&error),
        };
        let captured: u64 = entry.resource_version.parse().unwrap_or_default();
        if revision != captured
            && let Some(rule) = self.written(&key, revision, json)
        {
            return self.explain(rule);
        }
        let message = format!("{problem}; resourceVersion {revision}, the index says {captured}");
        self.finding(FindingCode::ObjectChanged, key.to_string(), message);
    }

    fn missing(&mut self, entry: &IndexEntry) {
        let key = entry.key();
        let captured = &entry.resource_version;
        let listed = listed_at(self.coverage);
        let path = stored_path(&key);
        let is_it = |(stored, revision): &(Vec<u8>, i64)| revision.unsigned_abs() > listed && stored.ends_with(&path);
        if self.limits.deleted.iter().any(is_it) {
            return self.explain(rules::DELETED);
        }
        let message = format!("in the index, with resourceVersion {captured}, and not in the restored etcd");
        self.finding(FindingCode::ObjectMissing, key.to_string(), message);
    }

    fn unexpected(&mut self, found: &Found<'_>) {
        let key = found.key.to_string();
        if let Some(rule) = self.written(&found.key, found.revision, found.json) {
            return self.explain(rule);
        }
        if [&key, &self.tally.resource].iter().any(|gap| self.limits.gaps.contains(*gap)) {
            return self.explain(rules::GAP);
        }
        let message = format!("in the restored etcd, with resourceVersion {}, and not in the index", found.revision);
        self.finding(FindingCode::ObjectUnexpected, key, message);
    }

    /// The rule for what was written while the backup was taken, or by the API server of the drill.
    fn written(&self, key: &ObjectKey, revision: u64, json: &[u8]) -> Option<u32> {
        if revision > self.limits.boot {
            return own_write(key, &serde_json::from_slice(json).ok()?, self.limits.node.as_deref());
        }
        (revision > listed_at(self.coverage) && revision <= self.limits.snapshot).then_some(rules::AFTER_LIST)
    }

    fn explain(&mut self, rule: u32) {
        self.tally.explained += 1;
        self.notes.explain(rule);
    }

    fn finding(&mut self, code: FindingCode, object: String, message: String) {
        self.tally.findings += 1;
        self.notes.find(code, Some(object), message);
    }
}

/// The revision that the list of the backup showed; without one, nothing was written after it.
fn listed_at(coverage: &ResourceCoverage) -> u64 {
    coverage.resource_version.parse().unwrap_or(u64::MAX)
}

/// How an object's key in etcd ends: resource, namespace, name. Four resources have other names there
/// (`pkg/registry/core/rest/storage_core.go` and `SpecialDefaultResourcePrefixes` of kube-apiserver).
fn stored_path(key: &ObjectKey) -> Vec<u8> {
    let resource = match (key.group.as_str(), key.resource.as_str()) {
        ("", "services") => "specs",
        ("", "nodes") => "minions",
        ("", "replicationcontrollers") => "controllers",
        ("extensions" | "networking.k8s.io", "ingresses") => "ingress",
        (_, resource) => resource,
    };
    let namespace = key.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
    format!("/{resource}/{namespace}{}", key.name).into_bytes()
}

#[cfg(test)]
mod tests;
