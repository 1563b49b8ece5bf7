//! What is compared, explained and found, by examples and by histories of a cluster.

use std::collections::BTreeMap;

use lifeboat_model::{Digest, DrillDetails, IndexRange};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The snapshot ends at 100, the list of secrets was taken at 90, and that of pods, as it must not be, at 110; etcd booted at 1000.
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

/// What a comparison with that index notes.
fn noted(coverage: &ResourceCoverage, index: Vec<IndexEntry>, look: impl FnOnce(&mut Looked<'_>)) -> DrillDetails {
    noted_within(&limits(), coverage, index, look)
}

fn noted_within(
    limits: &Limits,
    coverage: &ResourceCoverage,
    index: Vec<IndexEntry>,
    look: impl FnOnce(&mut Looked<'_>),
) -> DrillDetails {
    let mut notes = Notes::default();
    let index: Vec<Result<IndexEntry>> = index.into_iter().map(Ok).collect();
    let mut comparison = Comparison::new(coverage, limits, index.into_iter(), &mut notes);
    look(&mut comparison);
    let tally = comparison.end().unwrap();
    let counted = notes.into_details();
    let explained: u64 = counted.explained.iter().map(|rule| rule.objects).sum();
    assert_eq!((tally.findings, tally.explained), (counted.findings.len() as u64, explained));
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

#[test]
fn only_what_has_a_proof_is_explained() {
    let (secrets, pods, services) = (coverage("secrets", "90"), coverage("pods", "110"), coverage("services", "90"));
    let none = json!({});
    let missing = |coverage: &ResourceCoverage, name: &str, revision| {
        let entry = entry(coverage, name, revision, Digest::of(b""));
        said(coverage, |comparison| comparison.missing(&entry))
    };
    assert_eq!(missing(&pods, "x", 105), Err(FindingCode::ObjectMissing), "the snapshot is older than the list");
    assert_eq!(missing(&pods, "x", 100), Err(FindingCode::ObjectMissing));
    assert_eq!(missing(&secrets, "deleted", 50), Ok(rules::DELETED));
    assert_eq!(missing(&secrets, "delete", 50), Err(FindingCode::ObjectMissing));
    assert_eq!(missing(&pods, "deleted", 50), Err(FindingCode::ObjectMissing), "the list is later than the deletion");

    let unexpected = |coverage: &ResourceCoverage, revision, more: &Value| {
        let json = object("x", revision, more);
        said(coverage, |comparison| comparison.unexpected(&Found::parse(&coverage.resource, &json).unwrap()))
    };
    assert_eq!(unexpected(&secrets, 95, &none), Ok(rules::AFTER_LIST));
    assert_eq!(unexpected(&secrets, 90, &none), Err(FindingCode::ObjectUnexpected));
    assert_eq!(unexpected(&services, 50, &none), Ok(rules::GAP));
    let owned = json!({"ownerReferences": [{"name": "x", "uid": "u", "controller": true}]});
    for more in [&none, &owned] {
        assert_eq!(unexpected(&pods, 50, more), Err(FindingCode::ObjectUnexpected));
    }
    assert_eq!(unexpected(&pods, 1001, &none), Err(FindingCode::ObjectUnexpected), "written after the boot");

    let changed = |coverage: &ResourceCoverage, captured, revision| {
        let (entry, json) = (entry(coverage, "x", captured, Digest::of(b"")), object("x", revision, &none));
        said(coverage, |comparison| comparison.same(&entry, Found::parse(&coverage.resource, &json).unwrap()))
    };
    assert_eq!(changed(&pods, 105, 60), Err(FindingCode::ObjectChanged), "the snapshot is older than the list");
    assert_eq!(changed(&secrets, 50, 95), Ok(rules::AFTER_LIST));
    assert_eq!(changed(&secrets, 50, 50), Err(FindingCode::ObjectChanged));
    assert_eq!(changed(&secrets, 50, 60), Err(FindingCode::ObjectChanged));
    assert_eq!(changed(&secrets, 50, 1001), Err(FindingCode::ObjectChanged), "no API server writes it by itself");
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

/// What one write does: an object and the text that it gets, or none where it is deleted.
type Write = (u8, Option<u8>);

/// The objects after the first `revision` writes: the revision and the text of each.
fn state(history: &[Write], revision: usize) -> BTreeMap<u8, (u64, u8)> {
    let mut state = BTreeMap::new();
    for ((name, text), revision) in history[..revision].iter().zip(1..) {
        match text {
            Some(text) => state.insert(*name, (revision, *text)),
            None => state.remove(name),
        };
    }
    state
}

/// What is wrong with a backup or with what was made of it.
#[derive(Debug, Clone, Copy)]
enum Sabotage {
    /// The index has an object that never was.
    Invented,
    /// The index lacks an object.
    Hidden,
    /// etcd lacks an object, and has no trace of it.
    Lost,
    /// The object in etcd is another one, of the same revision or of an earlier one.
    Altered(bool),
}

fn sabotages() -> impl Strategy<Value = Sabotage> {
    use Sabotage::{Altered, Hidden, Invented, Lost};
    prop_oneof![Just(Invented), Just(Hidden), Just(Lost), any::<bool>().prop_map(Altered)]
}

/// A backup of that history: the list when there were `listed` writes, etcd's snapshot when there were all of them.
struct History {
    index: BTreeMap<u8, (u64, u8)>,
    etcd: BTreeMap<u8, (u64, u8)>,
    listed: u64,
    limits: Limits,
}

impl History {
    fn of(writes: &[Write], listed: usize) -> Self {
        let (index, etcd) = (state(writes, listed), state(writes, writes.len()));
        let last = writes.iter().zip(1..).map(|((name, _), revision)| (*name, revision)).collect::<BTreeMap<u8, i64>>();
        let gone = last.into_iter().filter(|(name, _)| !etcd.contains_key(name));
        let deleted = gone.map(|(name, revision)| (format!("/registry/pods/a/{}", named(name)).into_bytes(), revision));
        let (snapshot, listed) = (writes.len() as u64, listed as u64);
        let limits = Limits { snapshot, boot: snapshot + 1000, deleted: deleted.collect(), ..limits() };
        Self { index, etcd, listed, limits }
    }

    /// The findings: code and name of each.
    fn findings(&self) -> Vec<(FindingCode, Option<String>)> {
        let pods = coverage("pods", &self.listed.to_string());
        let entries = self.index.iter().map(|(name, (revision, text))| {
            let json = pod(*name, *revision, *text);
            let canonical = Object::parse(&json).unwrap().digest("v1", "Thing").unwrap();
            entry(&pods, &named(*name), *revision, canonical)
        });
        let details = noted_within(&self.limits, &pods, entries.collect(), |comparison| {
            for (name, (revision, text)) in &self.etcd {
                comparison.object(&pod(*name, *revision, *text)).unwrap();
            }
        });
        details.findings.into_iter().map(|finding| (finding.code, finding.object)).collect()
    }
}

fn named(name: u8) -> String {
    format!("pod-{name:03}")
}

fn pod(name: u8, revision: u64, text: u8) -> Vec<u8> {
    object(&named(name), revision, &json!({"labels": {"text": text.to_string()}}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// However much is written between the list and the snapshot, nothing of it is a finding, and what is wrong with an
    /// object that was left alone meanwhile always is.
    #[test]
    fn revisions_tell_what_was_written_meanwhile_from_what_is_wrong(
        writes in proptest::collection::vec((0..8_u8, proptest::option::weighted(0.7, 0..4_u8)), 1..40),
        listed in any::<proptest::sample::Index>(),
        sabotage in sabotages(),
        which in any::<proptest::sample::Index>(),
    ) {
        let listed = listed.index(writes.len() + 1);
        let mut backup = History::of(&writes, listed);
        prop_assert_eq!(backup.findings(), Vec::new());

        let quiet: Vec<u8> = backup.index.keys().copied().filter(|name| backup.etcd.get(name) == backup.index.get(name)).collect();
        let name = match sabotage {
            Sabotage::Invented => 200,
            _ if quiet.is_empty() => return Ok(()),
            _ => quiet[which.index(quiet.len())],
        };
        let code = match sabotage {
            Sabotage::Invented => {
                backup.index.insert(name, (listed as u64, 0));
                FindingCode::ObjectMissing
            }
            Sabotage::Hidden => {
                backup.index.remove(&name);
                FindingCode::ObjectUnexpected
            }
            Sabotage::Lost => {
                backup.etcd.remove(&name);
                FindingCode::ObjectMissing
            }
            Sabotage::Altered(earlier) => {
                let (revision, text) = backup.etcd[&name];
                backup.etcd.insert(name, (revision - u64::from(earlier), text + 1));
                FindingCode::ObjectChanged
            }
        };
        let wanted = coverage("pods", "").resource.key(Some("a"), &named(name)).to_string();
        prop_assert_eq!(backup.findings(), [(code, Some(wanted))]);
    }
}
