//! What happens to each object: decided from its body in the backup, from what is there, and by asking the API server.

use std::collections::{HashMap, HashSet};

use lifeboat_kubernetes::{Cluster, Error as KubernetesError, FieldValidation, ObjectPath, WriteOptions};
use serde_json::Value;

use super::candidates::Candidates;
use super::feed::{Fed, Feed};
use super::owners::Outside;
use super::plan::{Live, Mode, PlannedKind, Verdict};
use super::preflight::Needs;
use super::request::{Concurrency, Request};
use super::target::Target;
use super::wanted::{self, Wanted};
use crate::error::{Error, Result};
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
    pub(super) uids: HashSet<Box<str>>,
    /// Namespaces of the target that are there.
    pub(super) namespaces: HashSet<String>,
    pub(super) outside: Outside,
}

/// What was decided.
struct Judged {
    number: u32,
    /// Absent where the object is not wanted.
    verdict: Option<Verdict>,
    early: bool,
}

impl Judged {
    fn new(number: u32, verdict: Verdict) -> Self {
        Self { number, verdict: Some(verdict), early: false }
    }
}

/// What is known of an object before the target was asked.
enum First {
    Decided(Judged),
    Open(Box<Wanted>),
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
        for (number, candidate) in (0_u32..).zip(&mut candidates.objects) {
            let live = self.live.get(&number);
            if candidate.wanted && self.is_same(candidate.canonical.as_ref(), live) {
                candidate.entry.verdict = live.map_or_else(|| candidate.entry.verdict.clone(), unchanged);
            } else if candidate.wanted && matches!(candidate.entry.verdict, Verdict::Create { .. }) {
                spans.extend(candidate.entry.source.map(|span| (number, span)));
            }
        }
        let mut context = SkipContext::default();
        let mut decided = Vec::new();
        let shared: &Candidates = candidates;
        let start = |fed: Fed| {
            progress.add_objects(1);
            let number = fed.number;
            let first = self.first(shared, &fed, &mut context, needs)?;
            Ok(async move {
                match first {
                    First::Decided(judged) => Ok(judged),
                    First::Open(wanted) => self.second(shared, number, wanted, fed).await,
                }
            })
        };
        Feed::of(open, spans).run(concurrency, start, |judged| Ok(decided.push(judged))).await?;
        for judged in decided {
            let index = usize::try_from(judged.number).unwrap_or(usize::MAX);
            let Some(candidate) = candidates.objects.get_mut(index) else { continue };
            candidate.entry.early = judged.early;
            match judged.verdict {
                Some(verdict) => candidate.entry.verdict = verdict,
                None => candidate.wanted = false,
            }
        }
        Ok(())
    }

    /// Whether what is there equals the backup, as the digests alone say.
    fn is_same(&self, canonical: Option<&lifeboat_model::Digest>, live: Option<&Live>) -> bool {
        let settings = &self.request.settings;
        !self.request.filters_objects()
            && settings.patches.is_empty()
            && settings.storage_classes.is_empty()
            && settings.namespaces.is_empty()
            && live.is_some_and(|live| Some(&live.canonical) == canonical)
    }

    /// What the object itself says. Objects come in the order of the restore.
    fn first(&self, candidates: &Candidates, fed: &Fed, context: &mut SkipContext, needs: &mut Needs) -> Result<First> {
        let (candidate, kind) = self.lookup(candidates, fed.number)?;
        let object = wanted::parse(&fed.json)?;
        context.observe(&kind.resource, &object);
        if !self.is_selected(&object, kind)? {
            return Ok(First::Decided(Judged { number: fed.number, verdict: None, early: false }));
        }
        if let Some(rule) = rules::skip(&kind.resource, &object, context) {
            let verdict = Verdict::Skipped { rule: rule.number, reason: rule.reason.into() };
            return Ok(First::Decided(Judged::new(fed.number, verdict)));
        }
        let wanted = Wanted::prepare(object, kind, &candidate.entry, self.transforms)?;
        needs.observe(kind, &candidate.entry, &wanted.object);
        Ok(First::Open(Box::new(wanted)))
    }

    fn lookup<'c>(
        &self,
        candidates: &'c Candidates,
        number: u32,
    ) -> Result<(&'c super::candidates::Candidate, &'c PlannedKind)> {
        let candidate = usize::try_from(number).ok().and_then(|number| candidates.objects.get(number));
        let kind = candidate.and_then(|candidate| candidates.kinds.get(candidate.kind()));
        candidate.zip(kind).ok_or(Error::Lost("planning"))
    }

    fn is_selected(&self, object: &Value, kind: &PlannedKind) -> Result<bool> {
        // A namespace is there for what is in it.
        if kind.is("", "namespaces") && !self.request.selection.wants_type(&kind.resource) {
            return Ok(true);
        }
        self.request.fits(object)
    }

    /// What the target says.
    async fn second(&self, candidates: &Candidates, number: u32, mut wanted: Box<Wanted>, room: Fed) -> Result<Judged> {
        let (candidate, kind) = self.lookup(candidates, number)?;
        let (entry, resource) = (&candidate.entry, kind.target());
        let mut owners = HashMap::new();
        for reference in &wanted.owners {
            let uid = wanted::text(reference, "/uid").to_owned();
            let owner = match self.uids.contains(uid.as_str()) {
                true => Owner::Later,
                false => self.outside.find(self.target, reference, entry.namespace.as_deref()).await?,
            };
            owners.insert(uid, owner);
        }
        let find = |uid: &str| owners.get(uid).cloned().unwrap_or(Owner::Gone);
        let linked = rules::relink(&kind.resource, &wanted.owners, find);
        let path = ObjectPath { resource: &resource, namespace: entry.namespace.as_deref(), name: &entry.name };
        if let Links::OwnerWillRecreate(rule) = linked.links {
            let verdict = Verdict::Skipped { rule: rule.number, reason: rule.reason.into() };
            return Ok(Judged::new(number, verdict));
        }
        let early = rules::asks_for_addresses(&kind.resource, &wanted.object);
        let verdict = match self.live.get(&number) {
            Some(live) => {
                // Canonically, references do not depend on UIDs.
                let references = std::mem::take(&mut wanted.owners);
                wanted.set_owners(references);
                self.existing(path, kind, live, *wanted).await?
            }
            None => {
                wanted.set_owners(linked.references);
                let objection = self.dry_create(path, kind, &wanted.object).await?;
                Verdict::Create { objection }
            }
        };
        drop(room);
        Ok(Judged { number, verdict: Some(verdict), early })
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

fn unchanged(live: &Live) -> Verdict {
    Verdict::Unchanged { live: live.clone() }
}

/// How everything is written. Fields that the target does not know are an error: dropped in silence they would be lost.
pub(super) fn options(dry_run: bool) -> WriteOptions<'static> {
    WriteOptions { dry_run, field_manager: MANAGER, field_validation: FieldValidation::Strict }
}

/// What a server says against an object; failures that are none of the object's are errors.
fn objection(asked: std::result::Result<(), KubernetesError>) -> Result<Option<Box<str>>> {
    match asked {
        Ok(()) => Ok(None),
        Err(error @ (KubernetesError::Unreachable { .. } | KubernetesError::Unauthorized { .. })) => Err(error.into()),
        Err(error) => Ok(Some(crate::chain(&error).into())),
    }
}
