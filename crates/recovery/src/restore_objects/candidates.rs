//! Which objects of the backup a restore is about, from its index alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::{Digest, IndexEntry, ResourceCoverage, ResourceType};
use tokio::runtime::Handle;

use super::entries::{Entries, Entry};
use super::feed::{Fed, Feed};
use super::plan::{PlannedKind, Span, Verdict, Withheld};
use super::request::{Concurrency, Request};
use super::target::Target;
use super::wanted;
use crate::blocking::run_blocking;
use crate::browse::OpenBackup;
use crate::error::{Error, Result};
use crate::rules::{self, SkipContext};
use crate::selector::Selection;

/// An object that may be restored, or that is to be deleted.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The index of its kind among the plan's.
    pub(super) kind: u32,
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
    /// Its UID in the backup; empty where the backup does not have it.
    pub(super) uid: String,
    pub(super) source: Option<Span>,
    /// That it is created, until more is known.
    pub(super) verdict: Verdict,
    /// The digest of its canonical form in the backup; absent where the backup does not have it.
    pub(super) canonical: Option<Digest>,
}

/// What stands for a UID in little room: the first half of its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct UidKey([u8; 16]);

impl UidKey {
    /// The key of a UID that is one.
    pub(super) fn of(uid: &str) -> Option<Self> {
        let Digest(digest) = Digest::of(uid.as_bytes());
        let (key, _) = digest.split_first_chunk()?;
        (!uid.is_empty()).then_some(Self(*key))
    }
}

/// Objects, with what only planning needs of them.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Their place in the plan. UIDs come when it is known who owns something.
    pub(super) entries: Entries,
    /// The digests of their canonical forms; none once they are compared.
    pub(super) canonical: Vec<Option<Digest>>,
    uids: Vec<Option<UidKey>>,
}

impl Objects {
    pub(super) fn push(&mut self, candidate: &Candidate) -> Result<()> {
        self.entries.push(Entry {
            kind: candidate.kind,
            namespace: candidate.namespace.as_deref(),
            name: &candidate.name,
            uid: "",
            source: candidate.source,
            early: false,
            verdict: &candidate.verdict,
        })?;
        self.canonical.push(candidate.canonical);
        self.uids.push(UidKey::of(&candidate.uid));
        Ok(())
    }

    /// Leaves out those that do not fit.
    pub(super) fn retain(&mut self, mut fits: impl FnMut(u32, Entry<'_>) -> bool) -> Result<()> {
        let mut entries = Entries::default();
        let mut kept = Vec::with_capacity(self.entries.len());
        for (number, entry) in self.entries.numbered(0..self.entries.len()) {
            kept.push(fits(number, entry));
            if kept.last() == Some(&true) {
                entries.push(entry)?;
            }
        }
        let is_kept = |number: &mut usize| {
            *number += 1;
            kept.get(*number - 1).copied().unwrap_or_default()
        };
        let (mut canonical, mut uid) = (0, 0);
        self.canonical.retain(|_| is_kept(&mut canonical));
        self.uids.retain(|_| is_kept(&mut uid));
        self.entries = entries;
        Ok(())
    }

    /// The UIDs in the backup.
    pub(super) fn uids(&self) -> HashSet<UidKey> {
        self.uids.iter().flatten().copied().collect()
    }

    /// They are put into an order, each with its UID if that is one of these and of the kind that replaces its own.
    pub(super) fn ordered(
        &self,
        order: &[u32],
        owners: &HashMap<UidKey, Box<str>>,
        mut kind: impl FnMut(u32) -> u32,
    ) -> Result<Entries> {
        let mut ordered = Entries::with_capacity(order.len());
        for number in order {
            let entry = self.entries.get(*number).ok_or(Error::Lost("planning"))?;
            let key = usize::try_from(*number).ok().and_then(|number| self.uids.get(number).copied().flatten());
            let uid = key.and_then(|key| owners.get(&key)).map_or("", |uid| &**uid);
            ordered.push(Entry { kind: kind(entry.kind), uid, ..entry })?;
        }
        Ok(ordered)
    }
}

/// What the index says of a restore.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) kinds: Vec<PlannedKind>,
    pub(super) objects: Objects,
    pub(super) withheld: Vec<Withheld>,
}

impl PlannedKind {
    pub(super) fn of(resource: &ResourceType) -> Self {
        let wave = rules::wave(resource);
        Self { resource: resource.clone(), served: None, wave: wave.number, wave_name: wave.name.to_owned() }
    }

    pub(super) fn is(&self, group: &str, resource: &str) -> bool {
        is(&self.resource, group, resource)
    }
}

impl Candidate {
    fn new(kind: u32, resource: &ResourceType, entry: IndexEntry, namespaces: &BTreeMap<String, String>) -> Self {
        let mapped = |name: String| namespaces.get(&name).cloned().unwrap_or(name);
        let namespace = entry.namespace.map(mapped);
        let name = if is_namespaces(resource) { mapped(entry.name) } else { entry.name };
        Self {
            kind,
            namespace: namespace.map(String::into_boxed_str),
            name: name.into_boxed_str(),
            uid: entry.uid,
            source: Some(Span { offset: entry.offset, length: entry.length }),
            verdict: Verdict::Create { objection: None },
            canonical: Some(entry.canonical),
        }
    }

    /// One that the backup does not have.
    pub(super) fn without_source(kind: u32, namespace: Option<Box<str>>, name: Box<str>, verdict: Verdict) -> Self {
        Self { kind, namespace, name, uid: String::new(), source: None, verdict, canonical: None }
    }
}

impl Candidates {
    /// Goes through the index. Kinds come in the order of the restore, and objects in that of their kinds.
    pub(super) async fn select(open: &OpenBackup, request: &Request) -> Result<Self> {
        let mut this = Self::default();
        let (mut wanted, mut withheld) = (Vec::new(), Vec::new());
        for known in &open.coverage().resources {
            if known.captured == 0 || !request.selection.wants_type(&known.resource) {
                continue;
            }
            match rules::skip_type(&known.resource) {
                None => wanted.push(known.clone()),
                Some(rule) => withheld.push((known.clone(), rule)),
            }
        }
        wanted.sort_by_key(|known| rules::wave(&known.resource).number);
        this.kinds = wanted.iter().map(|known| PlannedKind::of(&known.resource)).collect();
        let (selection, namespaces) = (request.selection.clone(), request.settings.namespaces.clone());
        let (backup, handle) = (open.clone(), Handle::current());
        (this.objects, this.withheld) = run_blocking("reading the index", move || {
            let mut index = backup.reader(&handle, true);
            let mut objects = Objects::default();
            for (kind, known) in (0..).zip(&wanted) {
                index.lines(known, |entry| {
                    if selection.wants_entry(&entry) {
                        objects.push(&Candidate::new(kind, &known.resource, entry, &namespaces))?;
                    }
                    Ok(())
                })?;
            }
            let mut counted = Vec::new();
            for (known, rule) in withheld {
                let mut count = 0;
                index.lines(&known, |entry| {
                    count += u64::from(selection.wants_entry(&entry));
                    Ok(())
                })?;
                if count > 0 {
                    let resource = known.resource.group_resource().to_string();
                    let (rule, reason) = (rule.number, rule.reason.to_owned());
                    counted.push(Withheld { resource, objects: count, rule, reason });
                }
            }
            Ok((objects, counted))
        })
        .await?;
        Ok(this)
    }

    /// A candidate and its kind.
    pub(super) fn get(&self, number: u32) -> Result<(Entry<'_>, &PlannedKind)> {
        let entry = self.objects.entries.get(number);
        let kind = entry.and_then(|entry| self.kinds.get(usize::try_from(entry.kind).ok()?));
        entry.zip(kind).ok_or(Error::Lost("planning"))
    }

    /// The number of a kind, where there is one of that name.
    pub(super) fn kind(&self, group: &str, resource: &str) -> Option<u32> {
        self.kinds.iter().position(|kind| kind.is(group, resource)).and_then(|kind| u32::try_from(kind).ok())
    }

    /// The names of the objects of a kind.
    pub(super) fn names_of(&self, kind: Option<u32>) -> impl Iterator<Item = &str> {
        self.objects.entries.iter().filter(move |entry| Some(entry.kind) == kind).map(|entry| entry.name)
    }

    /// Leaves out what does not fit, where that cannot be told from the index.
    pub(super) async fn filter(&mut self, open: &OpenBackup, request: &Request) -> Result<()> {
        if !request.filters_objects() {
            return Ok(());
        }
        let spans = (0_u32..).zip(&self.objects.entries).filter_map(|(number, entry)| Some((number, entry.source?)));
        let mut fitting = HashSet::new();
        let start = |fed: Fed| {
            let fits = request.fits(&wanted::parse(&fed.json)?)?;
            Ok(async move { Ok((fed.number, fits)) })
        };
        let done = |(number, fits)| {
            if fits {
                fitting.insert(number);
            }
            Ok(())
        };
        Feed::of(open, spans.collect()).run(Concurrency::default(), start, done).await?;
        self.objects.retain(|number, _| fitting.contains(&number))
    }

    /// The Services of the backup, where there are Endpoints whose fate depends on them.
    pub(super) async fn services(&self, open: &OpenBackup, request: &Request) -> Result<SkipContext> {
        let context = Arc::new(Mutex::new(SkipContext::default()));
        if self.kinds.iter().any(|kind| kind.is("", "endpoints")) {
            let Ok::<_, Infallible>(services) = "services".parse();
            let namespaces = request.selection.namespaces.clone();
            let selection = Selection { kinds: vec![services], namespaces, ..Selection::default() };
            let resources = open.coverage().resources.iter();
            let services = resources.map(|known| &known.resource).find(|known| is(known, "", "services")).cloned();
            let shared = Arc::clone(&context);
            let observe = move |_: IndexEntry, json: &[u8]| {
                let object = wanted::parse(json)?;
                if let Some(services) = &services {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).observe(services, &object);
                }
                Ok(())
            };
            open.read(selection, observe).await?;
        }
        Ok(context.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The namespaces that the objects need.
    pub(super) fn namespaces(&self) -> BTreeSet<&str> {
        self.objects.entries.iter().filter_map(|entry| entry.namespace).collect()
    }

    /// Adds the namespaces that the objects need and that the target does not have, as they are in the backup where
    /// it has them.
    pub(super) async fn add_namespaces(
        &mut self,
        open: &OpenBackup,
        missing: &BTreeSet<String>,
        mapped: &BTreeMap<String, String>,
    ) -> Result<()> {
        let there: BTreeSet<String> = self.names_of(self.kind("", "namespaces")).map(str::to_owned).collect();
        let missing: BTreeSet<String> = missing.difference(&there).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let known = open.coverage().resources.iter().find(|known| is_namespaces(&known.resource)).cloned();
        let kind = self.namespaces_kind(known.as_ref());
        let mut found = of_backup(open, known, mapped).await?;
        for name in missing {
            let bare = || Candidate::without_source(kind, None, "".into(), Verdict::Create { objection: None });
            let found = found.remove(&name).unwrap_or_else(bare);
            self.objects.push(&Candidate { kind, name: name.into(), ..found })?;
        }
        Ok(())
    }

    /// The kind of namespaces, added where it is none of the plan's yet.
    fn namespaces_kind(&mut self, known: Option<&ResourceCoverage>) -> u32 {
        let at = self.kinds.iter().position(|kind| kind.is("", "namespaces")).unwrap_or_else(|| {
            let resource = known.map_or_else(namespaces, |known| known.resource.clone());
            self.kinds.push(PlannedKind::of(&resource));
            self.kinds.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Refuses two objects at one place, as a mapping of namespaces can bring about.
    pub(super) fn refuse_collisions(&self, request: &Request) -> Result<()> {
        if request.settings.namespaces.is_empty() {
            return Ok(());
        }
        let mut places = HashSet::with_capacity(self.objects.entries.len());
        for entry in &self.objects.entries {
            if !places.insert((entry.kind, entry.namespace, entry.name)) {
                let namespace = entry.namespace.unwrap_or_default();
                return Err(Error::Usage(format!(
                    "the mapping of namespaces puts two objects '{}' into '{namespace}': restore them one after the other",
                    entry.name
                )));
            }
        }
        Ok(())
    }

    /// Finds out how the target serves each kind.
    pub(super) async fn find_served(&mut self, target: &Target) -> Result<()> {
        for kind in &mut self.kinds {
            kind.served = target.served(&kind.resource).await?;
        }
        Ok(())
    }
}

fn is(known: &ResourceType, group: &str, resource: &str) -> bool {
    known.group == group && known.resource == resource
}

fn is_namespaces(resource: &ResourceType) -> bool {
    is(resource, "", "namespaces")
}

/// Namespaces of the backup, by what they are called on the target. Of two that become one, the first counts.
async fn of_backup(
    open: &OpenBackup,
    known: Option<ResourceCoverage>,
    mapped: &BTreeMap<String, String>,
) -> Result<HashMap<String, Candidate>> {
    let Some(known) = known else { return Ok(HashMap::new()) };
    let (open, handle, mapped) = (open.clone(), Handle::current(), mapped.clone());
    run_blocking("reading the index", move || {
        let mut found = HashMap::new();
        open.reader(&handle, true).lines(&known, |entry| {
            let candidate = Candidate::new(0, &known.resource, entry, &mapped);
            found.entry(candidate.name.to_string()).or_insert(candidate);
            Ok(())
        })?;
        Ok(found)
    })
    .await
}

/// The names of the namespaces that the backup has.
pub(super) async fn namespaces_of(open: &OpenBackup) -> Result<BTreeSet<String>> {
    let known = open.coverage().resources.iter().find(|known| is_namespaces(&known.resource)).cloned();
    Ok(of_backup(open, known, &BTreeMap::new()).await?.into_keys().collect())
}

/// Namespaces, for a backup that has none.
fn namespaces() -> ResourceType {
    ResourceType {
        group: String::new(),
        version: "v1".to_owned(),
        resource: "namespaces".to_owned(),
        kind: "Namespace".to_owned(),
        singular: "namespace".to_owned(),
        short_names: vec!["ns".to_owned()],
        namespaced: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(names: &[&str]) -> Objects {
        let mut objects = Objects::default();
        for name in names {
            let source = Some(Span { offset: 0, length: 1 });
            let verdict = Verdict::Create { objection: None };
            let canonical = Some(Digest::of(name.as_bytes()));
            let (name, uid) = ((*name).into(), format!("uid of {name}"));
            objects.push(&Candidate { kind: 0, namespace: None, name, uid, source, verdict, canonical }).unwrap();
        }
        objects
    }

    #[test]
    fn what_is_kept_stays_with_its_digest_and_uid_whether_or_not_it_was_compared() {
        for compared in [false, true] {
            let mut objects = objects(&["a", "b", "c"]);
            if compared {
                objects.canonical.clear();
            }
            objects.retain(|_, entry| entry.name != "b").unwrap();
            assert_eq!(objects.entries.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["a", "c"]);
            let digests = [b"a", b"c"].map(|name| Some(Digest::of(name)));
            assert_eq!(objects.canonical, if compared { Vec::new() } else { digests.to_vec() });
            let owners = HashMap::from([(UidKey::of("uid of c").unwrap(), "uid of c".into())]);
            let ordered = objects.ordered(&[1, 0], &owners, |kind| kind + 1).unwrap();
            let told: Vec<_> = ordered.iter().map(|entry| (entry.kind, entry.name, entry.uid)).collect();
            assert_eq!(told, [(1, "c", "uid of c"), (1, "a", "")]);
        }
    }
}
