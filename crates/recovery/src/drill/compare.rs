//! Everything that the restored API server lists, against the index, in one pass and flat memory.

use std::collections::BTreeSet;
use std::iter::Peekable;

use lifeboat_kubernetes::{ListEvent, Listing};
use lifeboat_model::{CanonicalError, FindingCode, IndexEntry, Object, ObjectKey, ResourceCoverage, ResourceType};
use tokio::runtime::Handle;

use super::account::Notes;
use super::doubts::Doubts;
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
    let mut doubts = Doubts::default();
    let mut tallies = Vec::new();
    for coverage in types {
        let lines = lines(&mut cursor, coverage)?;
        let mut comparison = Comparison::new(coverage, limits, lines, &mut notes, &mut doubts, tallies.len());
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
    doubts.settle(&mut cursor, backup.coverage(), limits, &mut notes, &mut tallies)?;
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
pub(super) struct Tally {
    pub(super) resource: String,
    compared: u64,
    pub(super) explained: u64,
    pub(super) findings: u64,
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
    doubts: &'a mut Doubts,
    /// The place of its tally.
    place: usize,
    tally: Tally,
    last: Option<ObjectKey>,
    /// The objects, where the backup has them out of order: the server may have an order of its own.
    held: Vec<(ObjectKey, Vec<u8>)>,
    /// The rest is passed over.
    skips: bool,
}

impl<'a, I: Iterator<Item = Result<IndexEntry>>> Comparison<'a, I> {
    fn new(
        coverage: &'a ResourceCoverage,
        limits: &'a Limits,
        index: I,
        notes: &'a mut Notes,
        doubts: &'a mut Doubts,
        place: usize,
    ) -> Self {
        let tally = Tally { resource: coverage.resource.group_resource().to_string(), ..Tally::default() };
        let index = index.peekable();
        Self { coverage, limits, index, notes, doubts, place, tally, last: None, held: Vec::new(), skips: false }
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
        if revision != captured {
            if captured > self.limits.snapshot {
                return self.explain(rules::AFTER_SNAPSHOT);
            }
            if let Some(rule) = self.written(&key, revision, json) {
                return self.explain(rule);
            }
        }
        let message = format!("{problem}; resourceVersion {revision}, the index says {captured}");
        self.finding(FindingCode::ObjectChanged, key.to_string(), message);
    }

    fn missing(&mut self, entry: &IndexEntry) {
        let key = entry.key();
        let captured: u64 = entry.resource_version.parse().unwrap_or_default();
        if captured > self.limits.snapshot {
            return self.explain(rules::AFTER_SNAPSHOT);
        }
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
        let listed: Option<u64> = self.coverage.resource_version.parse().ok();
        let between = listed.and_then(|listed| listed.checked_sub(self.limits.snapshot)).unwrap_or_default();
        if found.revision <= self.limits.snapshot
            && let Some(owner) = serde_json::from_slice(found.json).ok().as_ref().and_then(rules::controller)
            && self.doubts.take(self.place, between, owner, &key, found.revision)
        {
            return;
        }
        self.finding(FindingCode::ObjectUnexpected, key, not_in_index(found.revision));
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

/// How an object that the index does not have is described.
pub(super) fn not_in_index(revision: u64) -> String {
    format!("in the restored etcd, with resourceVersion {revision}, and not in the index")
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
    use proptest::prelude::*;
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

    fn limits() -> Limits {
        let deleted = vec![(b"/registry/secrets/a/deleted".to_vec(), 95), (b"/registry/pods/a/deleted".to_vec(), 95)];
        let gaps = BTreeSet::from(["services".to_owned()]);
        Limits { snapshot: 100, boot: 1000, digests: true, deleted, gaps, node: None }
    }

    type Looked<'a> = Comparison<'a, std::vec::IntoIter<Result<IndexEntry>>>;

    /// What a comparison with that index notes. Of the owners, `busy` was written after the snapshot, and `quiet` not.
    fn noted(coverage: &ResourceCoverage, index: Vec<IndexEntry>, look: impl FnOnce(&mut Looked<'_>)) -> DrillDetails {
        let (limits, mut notes, mut doubts) = (limits(), Notes::default(), Doubts::default());
        let index: Vec<Result<IndexEntry>> = index.into_iter().map(Ok).collect();
        let mut comparison = Comparison::new(coverage, &limits, index.into_iter(), &mut notes, &mut doubts, 0);
        look(&mut comparison);
        let mut tallies = vec![comparison.end().unwrap()];
        let owners = [("busy".to_owned(), 105), ("quiet".to_owned(), 60)].into();
        doubts.judge(&owners, limits.snapshot, &mut notes, &mut tallies);
        let counted = notes.into_details();
        let explained: u64 = counted.explained.iter().map(|rule| rule.objects).sum();
        assert_eq!((tallies[0].findings, tallies[0].explained), (counted.findings.len() as u64, explained));
        counted
    }

    /// What a comparison says: the rule that explains it, or the finding.
    fn said(coverage: &ResourceCoverage, look: impl FnOnce(&mut Looked<'_>)) -> std::result::Result<u32, FindingCode> {
        let DrillDetails { findings, explained, .. } = noted(coverage, Vec::new(), look);
        match (findings.as_slice(), explained.as_slice()) {
            ([found], []) => Err(found.code),
            ([], [rule]) => Ok(rule.rule),
            other => panic!("{other:?}"),
        }
    }

    fn owned_by(uid: &str) -> Value {
        json!({"ownerReferences": [{"name": "x", "uid": "other"}, {"name": "y", "uid": uid, "controller": true}]})
    }

    #[test]
    fn only_what_has_a_proof_is_explained() {
        let (secrets, pods, services) =
            (coverage("secrets", "90"), coverage("pods", "110"), coverage("services", "90"));
        let none = json!({});
        let missing = |coverage: &ResourceCoverage, name: &str, revision| {
            let entry = entry(coverage, name, revision, Digest::of(b""));
            said(coverage, |comparison| comparison.missing(&entry))
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
            said(coverage, |comparison| comparison.unexpected(&Found::parse(&coverage.resource, &json).unwrap()))
        };
        assert_eq!(unexpected(&secrets, 95, &none), Ok(rules::AFTER_LIST));
        assert_eq!(unexpected(&secrets, 90, &none), Err(FindingCode::ObjectUnexpected));
        assert_eq!(unexpected(&services, 50, &none), Ok(rules::GAP));
        assert_eq!(unexpected(&pods, 50, &owned_by("busy")), Ok(rules::OWNED));
        for (owner, why) in [("quiet", "its controller did nothing since the snapshot"), ("gone", "nobody knows it")] {
            assert_eq!(unexpected(&pods, 50, &owned_by(owner)), Err(FindingCode::ObjectUnexpected), "{why}");
        }
        let no_controller = json!({"ownerReferences": [{"name": "x", "uid": "busy"}]});
        assert_eq!(unexpected(&pods, 50, &no_controller), Err(FindingCode::ObjectUnexpected));
        assert_eq!(unexpected(&pods, 50, &none), Err(FindingCode::ObjectUnexpected));
        let busy = owned_by("busy");
        assert_eq!(unexpected(&secrets, 50, &busy), Err(FindingCode::ObjectUnexpected), "the list is the earlier one");
        assert_eq!(unexpected(&pods, 1001, &busy), Err(FindingCode::ObjectUnexpected), "written after the boot");

        let changed = |coverage: &ResourceCoverage, captured, revision| {
            let (entry, json) = (entry(coverage, "x", captured, Digest::of(b"")), object("x", revision, &none));
            said(coverage, |comparison| comparison.same(&entry, Found::parse(&coverage.resource, &json).unwrap()))
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
        let listed = ["a", "b", "c"].map(|name| object(name, 50, &owned_by("busy")));
        let details = |listed: &[Vec<u8>]| {
            noted(&pods, Vec::new(), |comparison| listed.iter().try_for_each(|json| comparison.object(json)).unwrap())
        };
        assert_eq!(details(&listed[..2]).findings, []);
        let details = details(&listed);
        assert_eq!((details.explained[0].objects, details.findings[0].code), (2, FindingCode::ObjectUnexpected));
    }

    #[test]
    fn a_list_that_fails_or_has_no_order_says_nothing_of_the_rest() {
        let pods = coverage("pods", "102");
        let (first, second) = (object("a", 50, &json!({})), object("b", 50, &json!({})));
        let index = || vec![entry(&pods, "z", 50, Digest::of(b""))];
        for look in [
            (|comparison, [_, _]| comparison.give_up("gone".to_owned())) as fn(&mut Looked<'_>, [&Vec<u8>; 2]),
            |comparison, [first, second]| {
                comparison.skips = false;
                comparison.last = Found::parse(&comparison.coverage.resource, second).ok().map(|found| found.key);
                comparison.object(first).unwrap();
            },
        ] {
            let details = noted(&pods, index(), |comparison| look(comparison, [&first, &second]));
            let codes: Vec<FindingCode> = details.findings.iter().map(|found| found.code).collect();
            assert_eq!(codes, [FindingCode::ResourceUnreadable]);
        }
    }

    proptest! {
        #[test]
        fn every_object_is_met_once(
            index in proptest::collection::btree_set("[a-c]{1,3}", 0..12),
            found in proptest::collection::btree_set("[a-c]{1,3}", 0..12),
            sorted in proptest::bool::ANY,
        ) {
            let mut pods = coverage("pods", "100");
            pods.sorted = sorted;
            let jsons: Vec<Vec<u8>> = found.iter().map(|name| object(name, 50, &json!({}))).collect();
            let digest = |name: &str| Object::parse(&object(name, 50, &json!({}))).unwrap().digest("v1", "Thing").unwrap();
            let entries = index.iter().map(|name| entry(&pods, name, 50, digest(name))).collect();
            let mut compared = 0;
            let details = noted(&pods, entries, |comparison| {
                // A server may list in any order what the backup has in none.
                for json in if sorted { jsons.iter().collect::<Vec<_>>() } else { jsons.iter().rev().collect() } {
                    comparison.object(json).unwrap();
                }
                compared = comparison.tally.compared;
            });
            let of = |code| {
                let found = details.findings.iter().filter(move |finding| finding.code == code);
                found.filter_map(|finding| finding.object.clone()).collect::<BTreeSet<String>>()
            };
            let named = |names: BTreeSet<String>| {
                names.iter().map(|name| pods.resource.key(Some("a"), name).to_string()).collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(of(FindingCode::ObjectMissing), named(&index - &found));
            prop_assert_eq!(of(FindingCode::ObjectUnexpected), named(&found - &index));
            prop_assert!(!sorted || compared == (&index & &found).len() as u64);
            prop_assert_eq!(details.findings.len(), (&index - &found).len() + (&found - &index).len());
        }
    }
}
