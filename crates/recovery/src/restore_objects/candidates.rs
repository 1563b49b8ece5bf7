//! Which objects of the backup a restore is about, from its index alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::{Digest, IndexEntry, ResourceCoverage, ResourceType};
use tokio::runtime::Handle;

use super::feed::{Fed, Feed};
use super::plan::{Entry, PlannedKind, Span, Verdict, Withheld};
use super::request::{Concurrency, Request};
use super::target::Target;
use super::wanted;
use crate::blocking::run_blocking;
use crate::browse::OpenBackup;
use crate::error::{Error, Result};
use crate::rules::{self, SkipContext};
use crate::selector::Selection;

/// An object that may be restored.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Its place in the plan. The verdict is that it is created, until more is known.
    pub(super) entry: Entry,
    /// The digest of its canonical form in the backup; absent where the backup does not have it.
    pub(super) canonical: Option<Digest>,
}

/// What the index says of a restore.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) kinds: Vec<PlannedKind>,
    pub(super) objects: Vec<Candidate>,
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
            canonical: Some(entry.canonical),
            entry: Entry {
                kind,
                namespace: namespace.map(String::into_boxed_str),
                name: name.into_boxed_str(),
                uid: entry.uid.into_boxed_str(),
                source: Some(Span { offset: entry.offset, length: entry.length }),
                early: false,
                verdict: Verdict::Create { objection: None },
            },
        }
    }

    /// The index of its kind among the plan's.
    pub(super) fn kind(&self) -> usize {
        usize::try_from(self.entry.kind).unwrap_or(usize::MAX)
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
            let mut objects = Vec::new();
            for (kind, known) in (0..).zip(&wanted) {
                index.lines(known, |entry| {
                    if selection.wants_entry(&entry) {
                        objects.push(Candidate::new(kind, &known.resource, entry, &namespaces));
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
    pub(super) fn get(&self, number: u32) -> Result<(&Candidate, &PlannedKind)> {
        let candidate = usize::try_from(number).ok().and_then(|number| self.objects.get(number));
        let kind = candidate.and_then(|candidate| self.kinds.get(candidate.kind()));
        candidate.zip(kind).ok_or(Error::Lost("planning"))
    }

    /// Leaves out what does not fit, where that cannot be told from the index.
    pub(super) async fn filter(&mut self, open: &OpenBackup, request: &Request) -> Result<()> {
        if !request.filters_objects() {
            return Ok(());
        }
        let spans = (0_u32..).zip(&self.objects).filter_map(|(number, object)| Some((number, object.entry.source?)));
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
        let mut number = 0..;
        self.objects.retain(|_| number.next().is_some_and(|number: u32| fitting.contains(&number)));
        Ok(())
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
        self.objects.iter().filter_map(|object| object.entry.namespace.as_deref()).collect()
    }

    /// Adds the namespaces that the objects need and that the target does not have, as they are in the backup where
    /// it has them.
    pub(super) async fn add_namespaces(
        &mut self,
        open: &OpenBackup,
        missing: &BTreeSet<String>,
        mapped: &BTreeMap<String, String>,
    ) -> Result<()> {
        let kind = self.kinds.iter().position(|kind| kind.is("", "namespaces"));
        let there: BTreeSet<String> = self
            .objects
            .iter()
            .filter(|object| Some(object.kind()) == kind)
            .map(|object| object.entry.name.to_string())
            .collect();
        let missing: BTreeSet<String> = missing.difference(&there).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let known = open.coverage().resources.iter().find(|known| is_namespaces(&known.resource)).cloned();
        let kind = self.namespaces_kind(known.as_ref());
        let mut found = of_backup(open, known, mapped).await?;
        for name in missing {
            let mut candidate = found.remove(&name).unwrap_or_else(|| bare(&name));
            candidate.entry.kind = kind;
            candidate.entry.name = name.into();
            self.objects.push(candidate);
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
    pub(super) fn refuse_collisions(&self) -> Result<()> {
        let mut places = HashSet::with_capacity(self.objects.len());
        for object in &self.objects {
            let entry = &object.entry;
            if !places.insert((entry.kind, entry.namespace.as_deref(), &*entry.name)) {
                let namespace = entry.namespace.as_deref().unwrap_or_default();
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
            found.entry(candidate.entry.name.to_string()).or_insert(candidate);
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

fn bare(name: &str) -> Candidate {
    let verdict = Verdict::Create { objection: None };
    let entry =
        Entry { kind: 0, namespace: None, name: name.into(), uid: "".into(), source: None, early: false, verdict };
    Candidate { entry, canonical: None }
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
