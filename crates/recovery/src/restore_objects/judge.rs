//! What happens to each object: decided from its body in the backup, from what is there, and by asking the API server.

use std::collections::{HashMap, HashSet};

use lifeboat_kubernetes::{Cluster, Error as KubernetesError, FieldValidation, ObjectPath, WriteOptions};
use serde_json::Value;

use super::candidates::{Candidates, UidKey};
use super::feed::{Fed, Feed};
use super::owners::Outside;
use super::plan::{Live, Mode, PlannedKind, Verdict};
use super::preflight::Needs;
use super::request::{Concurrency, Request};
use super::target::Target;
use super::wanted::{self, Wanted};
use super::webhooks::{Asked, Webhooks};
use super::write::is_of_all;
use crate::error::Result;
use crate::rules::{self, Links, Owner, SkipContext, Transforms};
use crate::{OpenBackup, Track};

/// Who writes, as `managedFields` have it.
pub(super) const MANAGER: &str = "lifeboat-restore";

/// Kinds that take what is in them along when they are deleted: they are made equal where others are made anew.
const NEVER_RECREATED: [(&str, &str); 4] = [
    ("", "namespaces"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

/// Decides about candidates.
pub(super) struct Judge<'a> {
    pub(super) request: &'a Request,
    pub(super) target: &'a Target,
    pub(super) transforms: &'a Transforms,
    /// What is there of the candidates.
    pub(super) live: HashMap<u32, Live>,
    /// The UIDs in the backup of all candidates.
    pub(super) uids: HashSet<UidKey>,
    /// Namespaces of the target that are there.
    pub(super) namespaces: HashSet<String>,
    pub(super) outside: Outside,
    /// The Services of the backup, where that matters.
    pub(super) services: SkipContext,
    pub(super) webhooks: &'a Webhooks,
}

/// What was decided.
struct Judged {
    number: u32,
    verdict: Verdict,
    early: bool,
    /// Webhooks that would be asked about it.
    webhooks: Vec<usize>,
}

impl Judged {
    fn new(number: u32, verdict: Verdict) -> Self {
        Self { number, verdict, early: false, webhooks: Vec::new() }
    }
}

/// What is known of an object before the target was asked.
enum First {
    Decided(Judged),
    Open(Box<Wanted>, Vec<usize>),
}

impl Judge<'_> {
    /// Decides about those candidates that are to be created as far as is known.
    pub(super) async fn judge(
        &self,
        open: &OpenBackup,
        candidates: &mut Candidates,
        concurrency: Concurrency,
        progress: &Track,
        needs: &mut Needs,
    ) -> Result<()> {
        let mut spans = Vec::new();
        for (number, canonical) in (0_u32..).zip(std::mem::take(&mut candidates.objects.canonical)) {
            let live = self.live.get(&number);
            let (entry, _) = candidates.get(number)?;
            if let Some(live) = live.filter(|live| self.is_same(canonical.as_ref(), live)) {
                candidates.objects.entries.decide(number, &Verdict::Unchanged { live: live.clone() }, false)?;
            } else if matches!(entry.verdict, Verdict::Create { .. }) {
                spans.extend(entry.source.map(|span| (number, span)));
            }
        }
        let (mut decided, mut asked) = (Vec::new(), Asked::default());
        let shared: &Candidates = candidates;
        let start = |fed: Fed| {
            progress.add_objects(1);
            let number = fed.number;
            let first = self.first(shared, &fed, needs)?;
            Ok(async move {
                match first {
                    First::Decided(judged) => Ok(judged),
                    First::Open(wanted, webhooks) => {
                        let judged = self.second(shared, number, wanted, fed).await?;
                        Ok(Judged { webhooks, ..judged })
                    }
                }
            })
        };
        let done = |judged: Judged| {
            if !judged.webhooks.is_empty() {
                let (entry, kind) = shared.get(judged.number)?;
                let webhooks = self.webhooks.of_verdict(&judged.webhooks, kind, &judged.verdict);
                asked.note(&webhooks, entry.namespace, kind);
            }
            if judged.early || judged.verdict != (Verdict::Create { objection: None }) {
                decided.push(judged);
            }
            Ok(())
        };
        Feed::of(open, spans).run(concurrency, start, done).await?;
        needs.asked = asked;
        for judged in decided {
            candidates.objects.entries.decide(judged.number, &judged.verdict, judged.early)?;
        }
        Ok(())
    }

    /// Whether what is there equals the backup, as the digests alone say.
    fn is_same(&self, canonical: Option<&lifeboat_model::Digest>, live: &Live) -> bool {
        let settings = &self.request.settings;
        settings.patches.is_empty()
            && settings.storage_classes.is_empty()
            && settings.namespaces.is_empty()
            && Some(&live.canonical) == canonical
    }

    /// What the object itself says.
    fn first(&self, candidates: &Candidates, fed: &Fed, needs: &mut Needs) -> Result<First> {
        let (entry, kind) = candidates.get(fed.number)?;
        let object = wanted::parse(&fed.json)?;
        if let Some(rule) = rules::skip(&kind.resource, &object, &self.services) {
            let verdict = Verdict::Skipped { rule: rule.number, reason: rule.reason.into() };
            return Ok(First::Decided(Judged::new(fed.number, verdict)));
        }
        let uid = wanted::text(&object, "/metadata/uid").to_owned();
        let wanted = Wanted::prepare(object, kind, entry, self.transforms, !self.live.contains_key(&fed.number))?;
        needs.observe(kind, entry, &wanted.object);
        needs.owned(&uid, &wanted.owners, &self.uids);
        let webhooks = self.webhooks.of_object(kind, &wanted.object);
        Ok(First::Open(Box::new(wanted), webhooks))
    }

    /// What the target says.
    async fn second(&self, candidates: &Candidates, number: u32, mut wanted: Box<Wanted>, room: Fed) -> Result<Judged> {
        let (entry, kind) = candidates.get(number)?;
        let resource = kind.target();
        let mut owners = HashMap::new();
        for reference in &wanted.owners {
            let uid = wanted::text(reference, "/uid").to_owned();
            let owner = if UidKey::of(&uid).is_some_and(|key| self.uids.contains(&key)) {
                Owner::Later
            } else {
                self.outside.find(self.target, reference, entry.namespace).await?
            };
            owners.insert(uid, owner);
        }
        let find = |uid: &str| owners.get(uid).cloned().unwrap_or(Owner::Gone);
        let linked = rules::relink(&kind.resource, &wanted.owners, find);
        let path = ObjectPath { resource: &resource, namespace: entry.namespace, name: entry.name };
        if let Links::OwnerWillRecreate(rule) = linked.links {
            let verdict = Verdict::Skipped { rule: rule.number, reason: rule.reason.into() };
            return Ok(Judged::new(number, verdict));
        }
        let early = rules::asks_for_addresses(&kind.resource, &wanted.object);
        let verdict = if let Some(live) = self.live.get(&number) {
            // Canonically, references do not depend on UIDs.
            let references = std::mem::take(&mut wanted.owners);
            wanted.set_owners(references);
            self.existing(path, kind, live, *wanted).await?
        } else {
            wanted.set_owners(linked.references);
            let objection = self.dry_create(path, kind, &wanted.object).await?;
            Verdict::Create { objection }
        };
        drop(room);
        Ok(Judged { early, ..Judged::new(number, verdict) })
    }

    /// Whether it is created as it is to be, and if not, why.
    async fn dry_create(&self, path: ObjectPath<'_>, kind: &PlannedKind, object: &Value) -> Result<Option<Box<str>>> {
        let there = path.namespace.is_none_or(|namespace| self.namespaces.contains(namespace));
        if kind.served.is_none() || !there {
            return Ok(None);
        }
        let asked = self.target.cluster.create(path, wanted::bytes(object), options(true)).await;
        objection(asked.map(drop))
    }

    async fn existing(
        &self,
        path: ObjectPath<'_>,
        kind: &PlannedKind,
        live: &Live,
        mut wanted: Wanted,
    ) -> Result<Verdict> {
        let cluster: &Cluster = &self.target.cluster;
        let Some(json) = cluster.get(path).await? else {
            return Ok(Verdict::Create { objection: None });
        };
        let there = wanted::parse(&json)?;
        let merged = rules::merge_into(&there, &mut wanted.object, path.resource).is_some();
        if !merged {
            rules::carry_over(&there, &mut wanted.object, path.resource);
        }
        let live = live.clone();
        if wanted::digest(&wanted.object, path.resource)? == live.canonical {
            return Ok(Verdict::Unchanged { live });
        }
        let never = NEVER_RECREATED.iter().any(|(group, resource)| kind.is(group, resource));
        match self.request.settings.mode {
            Mode::Skip if !merged => Ok(Verdict::Leave { live }),
            Mode::Recreate if !merged && !never => Ok(Verdict::Recreate { live }),
            _ => match cluster.replace(path, wanted::bytes(&wanted.object), options(true)).await {
                Ok(written) if super::target::live(&written.object, path.resource)?.canonical == live.canonical => {
                    Ok(Verdict::Unchanged { live })
                }
                asked => Ok(Verdict::Apply { live, objection: objection(asked.map(drop))? }),
            },
        }
    }
}

/// How everything is written. Fields that the target does not know are an error: dropped in silence they would be lost.
pub(super) fn options(dry_run: bool) -> WriteOptions<'static> {
    WriteOptions { dry_run, field_manager: MANAGER, field_validation: FieldValidation::Strict }
}

/// What a server says against an object; failures that are none of the object's are errors.
fn objection(asked: std::result::Result<(), KubernetesError>) -> Result<Option<Box<str>>> {
    match asked {
        Ok(()) => Ok(None),
        Err(error) if is_of_all(&error) => Err(error.into()),
        Err(error) => Ok(Some(crate::chain(&error).into())),
    }
}
