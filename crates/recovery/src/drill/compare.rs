//! Everything that the restored API server lists, against the index, in one pass and flat memory.

use std::collections::BTreeSet;

use lifeboat_kubernetes::{ListEvent, Listing};
use lifeboat_model::{CanonicalError, FindingCode, IndexEntry, Object, ObjectKey, ResourceCoverage, ResourceType};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::account::Notes;
use super::merge::{Expected, Next};
use super::rules::{self, own_write};
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
}

/// An object that the API server listed.
struct Found<'a> {
    key: ObjectKey,
    revision: u64,
    json: &'a [u8],
}

/// A comparison under way.
pub(super) struct Comparison<I: Iterator<Item = Result<IndexEntry>>> {
    notes: Notes,
    types: Vec<ResourceCoverage>,
    limits: Limits,
    expected: Expected<I>,
    counts: Counts,
    last: Option<ObjectKey>,
    /// The objects of a resource that the backup has out of order, for which the server may have an order of its own.
    held: Vec<(ObjectKey, Vec<u8>)>,
    /// The rest of this resource is passed over.
    skips: bool,
}

/// Of one resource.
#[derive(Default)]
struct Counts {
    compared: u64,
    explained: u64,
    findings: u64,
    /// Those of rule 13.
    owned: u64,
}

impl Comparison<std::iter::Empty<Result<IndexEntry>>> {
    /// A comparison with the lines of the index as they come.
    pub(super) fn new(
        notes: Notes,
        types: Vec<ResourceCoverage>,
        limits: Limits,
        mut lines: mpsc::Receiver<Result<IndexEntry>>,
    ) -> Comparison<impl Iterator<Item = Result<IndexEntry>>> {
        let expected = Expected::new(std::iter::from_fn(move || lines.blocking_recv()));
        Comparison {
            notes,
            types,
            limits,
            expected,
            counts: Counts::default(),
            last: None,
            held: Vec::new(),
            skips: false,
        }
    }
}

impl<I: Iterator<Item = Result<IndexEntry>>> Comparison<I> {
    /// Compares to the end. Blocks.
    pub(super) fn run(mut self, handle: &Handle, mut listing: Listing) -> Result<Notes> {
        while let Some((position, event)) = handle.block_on(listing.next()) {
            let coverage = self.types.get(position).cloned().ok_or(Error::Lost("listing"))?;
            match event {
                ListEvent::Page(page) => {
                    for json in page.objects() {
                        self.object(&coverage, json)?;
                    }
                }
                ListEvent::Finished { .. } => self.end(&coverage)?,
                ListEvent::Restarted { reason } => self.unreadable(&coverage, reason)?,
                ListEvent::Failed(error) => self.unreadable(&coverage, chain(&error))?,
            }
        }
        Ok(self.notes)
    }

    fn object(&mut self, coverage: &ResourceCoverage, json: &[u8]) -> Result<()> {
        let kind = &coverage.resource;
        match found(kind, json) {
            Ok(found) if coverage.sorted => self.in_order(coverage, found),
            Ok(found) => {
                self.held.push((found.key, json.to_vec()));
                Ok(())
            }
            Err(error) => {
                let message = format!("an object of {} cannot be read: {}", kind.group_resource(), chain(&error));
                self.finding(FindingCode::ResourceUnreadable, kind.group_resource().to_string(), message);
                Ok(())
            }
        }
    }

    fn in_order(&mut self, coverage: &ResourceCoverage, found: Found<'_>) -> Result<()> {
        if self.skips {
            return Ok(());
        }
        if self.last.as_ref().is_some_and(|last| *last >= found.key) {
            self.skips = true;
            let message = format!("listed out of order from {} on, so the rest is not compared", found.key);
            self.finding(FindingCode::ResourceUnreadable, coverage.resource.group_resource().to_string(), message);
            return Ok(());
        }
        loop {
            match self.expected.next(&found.key)? {
                Next::Missing(entry) => self.missing(coverage, &entry),
                Next::Same(entry) => {
                    self.counts.compared += 1;
                    self.same(coverage, &entry, &found);
                    break;
                }
                Next::Unknown => {
                    self.unexpected(coverage, &found);
                    break;
                }
            }
        }
        self.last = Some(found.key);
        Ok(())
    }

    /// The list has ended: what the index has beyond it is missing.
    fn end(&mut self, coverage: &ResourceCoverage) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        held.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (_, json) in &held {
            if let Ok(found) = found(&coverage.resource, json) {
                self.in_order(coverage, found)?;
            }
        }
        while let Some(entry) = self.rest(coverage)? {
            if !self.skips {
                self.missing(coverage, &entry);
            }
        }
        let Counts { compared, explained, findings, .. } = std::mem::take(&mut self.counts);
        (self.last, self.skips) = Default::default();
        let name = coverage.resource.group_resource().to_string();
        let mut detail = format!("{compared} objects compared");
        if explained > 0 {
            detail = format!("{detail}, {explained} differences explained");
        }
        if findings > 0 {
            detail = format!("{detail}, {findings} findings");
        }
        self.notes.result(&name, findings == 0, detail);
        Ok(())
    }

    /// The list has failed: nothing can be said of what the index has of it.
    fn unreadable(&mut self, coverage: &ResourceCoverage, reason: String) -> Result<()> {
        while self.rest(coverage)?.is_some() {}
        (self.counts, self.last, self.held, self.skips) = Default::default();
        let name = coverage.resource.group_resource().to_string();
        self.notes.check(&name, FindingCode::ResourceUnreadable, Err(reason));
        Ok(())
    }

    fn rest(&mut self, coverage: &ResourceCoverage) -> Result<Option<IndexEntry>> {
        let kind = &coverage.resource;
        self.expected.rest(|entry| entry.group == kind.group && entry.resource == kind.resource)
    }

    fn same(&mut self, coverage: &ResourceCoverage, entry: &IndexEntry, found: &Found<'_>) {
        if !self.limits.digests {
            return;
        }
        let kind = &coverage.resource;
        let digest = Object::parse(found.json).and_then(|object| object.digest(&kind.api_version(), &kind.kind));
        let problem = match digest {
            Ok(digest) if digest == entry.canonical => return,
            Ok(digest) => format!("its digest is {digest}, the index says {}", entry.canonical),
            Err(error) => chain(&error),
        };
        let captured: u64 = entry.resource_version.parse().unwrap_or_default();
        if found.revision != captured {
            if captured > self.limits.snapshot {
                return self.explain(rules::AFTER_SNAPSHOT);
            }
            if let Some(rule) = self.written(coverage, found) {
                return self.explain(rule);
            }
        }
        let message = format!("{problem}; resourceVersion {}, the index says {captured}", found.revision);
        self.finding(FindingCode::ObjectChanged, found.key.to_string(), message);
    }

    fn missing(&mut self, coverage: &ResourceCoverage, entry: &IndexEntry) {
        let key = entry.key();
        let captured: u64 = entry.resource_version.parse().unwrap_or_default();
        if captured > self.limits.snapshot {
            return self.explain(rules::AFTER_SNAPSHOT);
        }
        let listed = listed_at(coverage);
        let path = stored_path(&key);
        let is_it = |(stored, revision): &(Vec<u8>, i64)| revision.unsigned_abs() > listed && stored.ends_with(&path);
        if self.limits.deleted.iter().any(is_it) {
            return self.explain(rules::DELETED);
        }
        let message = format!("in the index, with resourceVersion {captured}, and not in the restored etcd");
        self.finding(FindingCode::ObjectMissing, key.to_string(), message);
    }

    fn unexpected(&mut self, coverage: &ResourceCoverage, found: &Found<'_>) {
        let key = found.key.to_string();
        let gaps = [key.clone(), coverage.resource.group_resource().to_string()];
        if let Some(rule) = self.written(coverage, found) {
            return self.explain(rule);
        }
        if gaps.iter().any(|gap| self.limits.gaps.contains(gap)) {
            return self.explain(rules::GAP);
        }
        let listed: Option<u64> = coverage.resource_version.parse().ok();
        let between = listed.and_then(|listed| listed.checked_sub(self.limits.snapshot)).unwrap_or_default();
        let is_owned = || serde_json::from_slice(found.json).is_ok_and(|object| rules::is_owned(&object));
        if found.revision <= self.limits.snapshot && self.counts.owned < between && is_owned() {
            self.counts.owned += 1;
            return self.explain(rules::OWNED);
        }
        let message = format!("in the restored etcd, with resourceVersion {}, and not in the index", found.revision);
        self.finding(FindingCode::ObjectUnexpected, key, message);
    }

    /// The rule for what was written while the backup was taken, or by the API server of the drill.
    fn written(&self, coverage: &ResourceCoverage, found: &Found<'_>) -> Option<u32> {
        if found.revision > self.limits.boot {
            return own_write(&found.key, &serde_json::from_slice(found.json).ok()?);
        }
        (found.revision > listed_at(coverage) && found.revision <= self.limits.snapshot).then_some(rules::AFTER_LIST)
    }

    fn explain(&mut self, rule: u32) {
        self.counts.explained += 1;
        self.notes.explain(rule);
    }

    fn finding(&mut self, code: FindingCode, object: String, message: String) {
        self.counts.findings += 1;
        self.notes.find(code, Some(object), message);
    }
}

fn found<'a>(kind: &ResourceType, json: &'a [u8]) -> std::result::Result<Found<'a>, CanonicalError> {
    let object = Object::parse(json)?;
    let meta = object.meta()?;
    let key = kind.key(meta.namespace, meta.name);
    Ok(Found { key, revision: meta.resource_version.parse().unwrap_or_default(), json })
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
mod tests {
    use lifeboat_model::{Digest, DrillDetails, IndexRange};
    use serde_json::{Value, json};

    use super::*;

    /// The snapshot ends at 100, the list of pods was taken at 110 and that of secrets at 90; etcd booted at 1000.
    fn coverage(resource: &str, listed: &str) -> ResourceCoverage {
        let resource = ResourceType {
            group: String::new(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            kind: "Thing".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        };
        ResourceCoverage {
            resource,
            expected: None,
            captured: 1,
            resource_version: listed.to_owned(),
            restarts: 0,
            sorted: true,
            index: IndexRange::default(),
        }
    }

    fn object(name: &str, revision: u64, more: &Value) -> Vec<u8> {
        let mut object = json!({"metadata": {"namespace": "a", "name": name, "resourceVersion": revision.to_string()}});
        if let (Some(metadata), Some(more)) = (object["metadata"].as_object_mut(), more.as_object()) {
            metadata.extend(more.clone());
        }
        object.to_string().into_bytes()
    }

    fn entry(coverage: &ResourceCoverage, name: &str, revision: u64, canonical: Digest) -> IndexEntry {
        IndexEntry {
            group: String::new(),
            version: "v1".to_owned(),
            resource: coverage.resource.resource.clone(),
            kind: "Thing".to_owned(),
            namespace: Some("a".to_owned()),
            name: name.to_owned(),
            uid: String::new(),
            resource_version: revision.to_string(),
            offset: 0,
            length: 0,
            canonical,
        }
    }

    /// What a comparison says: the rule that explains it, or the finding.
    fn said(
        look: impl FnOnce(&mut Comparison<std::iter::Empty<Result<IndexEntry>>>),
    ) -> std::result::Result<u32, FindingCode> {
        let deleted = vec![(b"/registry/secrets/a/deleted".to_vec(), 95), (b"/registry/pods/a/deleted".to_vec(), 95)];
        let limits =
            Limits { snapshot: 100, boot: 1000, digests: true, deleted, gaps: BTreeSet::from(["services".to_owned()]) };
        let mut comparison = Comparison {
            notes: Notes::default(),
            types: Vec::new(),
            limits,
            expected: Expected::new(std::iter::empty()),
            counts: Counts::default(),
            last: None,
            held: Vec::new(),
            skips: false,
        };
        look(&mut comparison);
        let DrillDetails { findings, explained, .. } = comparison.notes.into_details();
        match (findings.as_slice(), explained.as_slice()) {
            ([found], []) => Err(found.code),
            ([], [rule]) => Ok(rule.rule),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_has_a_proof_is_explained() {
        let (secrets, pods, services) =
            (coverage("secrets", "90"), coverage("pods", "110"), coverage("services", "90"));
        let none = json!({});
        let owned = json!({"ownerReferences": [{"name": "x"}]});
        let missing = |coverage: &ResourceCoverage, name: &str, revision| {
            let entry = entry(coverage, name, revision, Digest::of(b""));
            said(|comparison| comparison.missing(coverage, &entry))
        };
        assert_eq!(missing(&pods, "x", 105), Ok(rules::AFTER_SNAPSHOT));
        assert_eq!(missing(&pods, "x", 100), Err(FindingCode::ObjectMissing));
        assert_eq!(missing(&secrets, "deleted", 50), Ok(rules::DELETED));
        assert_eq!(missing(&secrets, "delete", 50), Err(FindingCode::ObjectMissing));
        assert_eq!(
            missing(&pods, "deleted", 50),
            Err(FindingCode::ObjectMissing),
            "the list is later than the deletion"
        );

        let unexpected = |coverage: &ResourceCoverage, revision, more: &Value| {
            let json = object("x", revision, more);
            said(|comparison| comparison.unexpected(coverage, &found(&coverage.resource, &json).unwrap()))
        };
        assert_eq!(unexpected(&secrets, 95, &none), Ok(rules::AFTER_LIST));
        assert_eq!(unexpected(&secrets, 90, &none), Err(FindingCode::ObjectUnexpected));
        assert_eq!(unexpected(&services, 50, &none), Ok(rules::GAP));
        assert_eq!(unexpected(&pods, 50, &owned), Ok(rules::OWNED));
        assert_eq!(unexpected(&pods, 50, &none), Err(FindingCode::ObjectUnexpected));
        assert_eq!(unexpected(&secrets, 50, &owned), Err(FindingCode::ObjectUnexpected), "the list is the earlier one");
        assert_eq!(unexpected(&pods, 1001, &owned), Err(FindingCode::ObjectUnexpected), "written after the boot");

        let changed = |coverage: &ResourceCoverage, captured, revision| {
            let (entry, json) = (entry(coverage, "x", captured, Digest::of(b"")), object("x", revision, &none));
            said(|comparison| comparison.same(coverage, &entry, &found(&coverage.resource, &json).unwrap()))
        };
        assert_eq!(changed(&pods, 105, 60), Ok(rules::AFTER_SNAPSHOT));
        assert_eq!(changed(&secrets, 50, 95), Ok(rules::AFTER_LIST));
        assert_eq!(changed(&secrets, 50, 50), Err(FindingCode::ObjectChanged));
        assert_eq!(changed(&secrets, 50, 60), Err(FindingCode::ObjectChanged));
        assert_eq!(changed(&secrets, 50, 1001), Err(FindingCode::ObjectChanged), "no API server writes it by itself");
    }

    #[test]
    fn no_more_are_taken_for_deleted_than_there_were_revisions() {
        let pods = coverage("pods", "102");
        let owned = json!({"ownerReferences": [{"name": "x"}]});
        let json = object("x", 50, &owned);
        let one = |comparison: &mut Comparison<_>| comparison.unexpected(&pods, &found(&pods.resource, &json).unwrap());
        let three = |comparison: &mut Comparison<_>| {
            comparison.counts.owned = 2;
            one(comparison);
        };
        assert_eq!((said(one), said(three)), (Ok(rules::OWNED), Err(FindingCode::ObjectUnexpected)));
    }
}
