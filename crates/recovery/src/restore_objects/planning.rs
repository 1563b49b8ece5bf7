//! Making a plan. Nothing is written: the API server is asked what it would do, and does not do it.

use std::collections::{BTreeSet, HashMap, HashSet};

use lifeboat_kubernetes::{Cluster, ObjectPath, is_active};

use super::candidates::{Candidate, Candidates, UidKey};
use super::entries::Entry;
use super::judge::Judge;
use super::owners::Outside;
use super::plan::{Header, Live, Mode, Plan, PlannedKind, SCHEMA, Verdict};
use super::preflight::{self, Needs, built_in};
use super::request::{Concurrency, Request};
use super::target::Target;
use super::wanted;
use super::webhooks::Webhooks;
use crate::error::{Error, Result};
use crate::nearest::did_you_mean;
use crate::rules::RULES_VERSION;
use crate::{OpenBackup, Track};

/// Namespaces that Kubernetes keeps its own things in: nothing of other namespaces is mapped there.
const PROTECTED: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// What a restore would do. Reads only, dry runs apart.
///
/// # Errors
/// When the request makes no sense, the backup or the target cannot be read, a patch does not apply, or a namespace
/// that objects would go to is protected or being deleted.
pub async fn plan(
    open: &OpenBackup,
    cluster: Cluster,
    request: &Request,
    concurrency: Concurrency,
    progress: &Track,
) -> Result<Plan> {
    check(open, request)?;
    let manifest = open.backup().manifest();
    let (target, candidates) = tokio::join!(Target::learn(cluster), Candidates::select(open, request));
    let (target, mut candidates) = (target?, candidates?);
    check_names(open, request, &candidates).await?;
    candidates.filter(open, request).await?;
    let there = namespaces(&target, &candidates).await?;
    let missing = candidates.namespaces().into_iter().filter(|name| !there.contains(*name));
    let missing: BTreeSet<String> = missing.map(str::to_owned).collect();
    candidates.add_namespaces(open, &missing, &request.settings.namespaces).await?;
    candidates.refuse_collisions(request)?;
    candidates.find_served(&target).await?;
    block_unserved(&mut candidates, &target)?;
    let live = survey(&target, &candidates).await?;
    let volumes = volumes(&target, &candidates).await?;
    let transforms =
        wanted::transforms(&request.settings, volumes.clone(), &manifest.id, manifest.cluster_id == target.id)?;
    for patch in &transforms.patches {
        let known: Vec<_> = open.coverage().resources.iter().map(|known| known.resource.clone()).collect();
        patch.check_kinds(&known).map_err(|error| Error::Usage(error.to_string()))?;
    }
    let webhooks = Webhooks::unanswered(&target).await?;
    let judge = Judge {
        request,
        target: &target,
        transforms: &transforms,
        live,
        uids: candidates.objects.uids(),
        namespaces: there,
        outside: Outside::default(),
        services: candidates.services(open, request).await?,
        webhooks: &webhooks,
    };
    let mut needs = Needs::default();
    judge.judge(open, &mut candidates, concurrency, progress, &mut needs).await?;
    let header = Header {
        schema: SCHEMA.to_owned(),
        backup: manifest.id.clone(),
        manifest: open.backup().sha256(),
        backup_cluster: manifest.cluster_id.clone(),
        target_cluster: target.id.clone(),
        rules: RULES_VERSION,
        settings: request.settings.clone(),
        kinds: Vec::new(),
        owners: judge.outside.found(),
        volumes,
        withheld: std::mem::take(&mut candidates.withheld),
        findings: Vec::new(),
    };
    drop_lonely_namespaces(&mut candidates, request)?;
    let pruned = match request.settings.mode {
        Mode::Exact => super::prune::surplus(open, &target, request, &mut candidates).await?,
        Mode::Skip | Mode::Apply | Mode::Recreate => Vec::new(),
    };
    let mut plan = assemble(header, candidates, pruned, &needs.owners)?;
    plan.header.findings = preflight::findings(&plan, &target, &mut needs, &webhooks).await?;
    Ok(plan)
}

/// Refuses what cannot be meant.
fn check(open: &OpenBackup, request: &Request) -> Result<()> {
    request.check_kinds(open.coverage())?;
    for (from, to) in &request.settings.namespaces {
        if PROTECTED.contains(&to.as_str()) {
            return Err(Error::Refused(format!(
                "'{from}' is not restored into '{to}': that namespace is Kubernetes' own"
            )));
        }
    }
    if request.settings.mode == Mode::Exact && request.selection.namespaces.is_empty() {
        let problem = "exact deletes what the backup does not have, and only within namespaces that are named: give -n";
        return Err(Error::Usage(problem.to_owned()));
    }
    Ok(())
}

/// Refuses names of namespaces that the backup does not have, and a selection that has nothing in it.
async fn check_names(open: &OpenBackup, request: &Request, candidates: &Candidates) -> Result<()> {
    let asked = request.selection.namespaces.iter().chain(request.settings.namespaces.keys());
    let mapped = |name: &String| request.settings.namespaces.get(name).unwrap_or(name).clone();
    let seen = candidates.namespaces();
    let unseen: Vec<&String> = asked.filter(|name| !seen.contains(mapped(name).as_str())).collect();
    if !unseen.is_empty() {
        let known = super::candidates::namespaces_of(open).await?;
        if let Some(name) = unseen.into_iter().find(|name| !known.contains(*name)) {
            let hint = did_you_mean(name, &known);
            return Err(Error::NoObject(format!("the backup has no namespace '{name}'{hint}")));
        }
    }
    if candidates.objects.entries.is_empty() && candidates.withheld.is_empty() && request.settings.mode != Mode::Exact {
        return Err(Error::NoObject("the backup has no object of that selection".to_owned()));
    }
    Ok(())
}

/// The namespaces that the objects need and that are there.
async fn namespaces(target: &Target, candidates: &Candidates) -> Result<HashSet<String>> {
    let kind = built_in("", "namespaces", "Namespace", false);
    let wanted = candidates.namespaces();
    let places: Vec<_> = wanted.iter().map(|name| (None, *name)).collect();
    let live = target.survey(&kind, &places).await?;
    let mut there = HashSet::new();
    for (name, _) in wanted.iter().zip(&live).filter(|(_, live)| live.is_some()) {
        let json = target.cluster.get(ObjectPath { resource: &kind, namespace: None, name }).await?;
        let Some(json) = json else { continue };
        if !is_active(&wanted::parse(&json)?) {
            return Err(Error::Refused(format!(
                "namespace '{name}' is being deleted on the target: wait until it is gone"
            )));
        }
        there.insert((*name).to_owned());
    }
    Ok(there)
}

/// Blocks objects of kinds that the target does not serve, and will not by what is restored before them.
fn block_unserved(candidates: &mut Candidates, target: &Target) -> Result<()> {
    let definitions = candidates.kind("apiextensions.k8s.io", "customresourcedefinitions");
    let defined: HashSet<&str> = candidates.names_of(definitions).collect();
    let reasons: HashMap<u32, Verdict> = (0_u32..)
        .zip(&candidates.kinds)
        .filter(|(_, kind)| kind.served.is_none())
        .filter_map(|(number, kind)| {
            let name = kind.resource.group_resource().to_string();
            if defined.contains(name.as_str()) {
                return None;
            }
            let why = target.failure_of(&kind.resource).map(|why| format!(" ({why})")).unwrap_or_default();
            let known = if kind.resource.group.contains('.') && !kind.resource.group.ends_with(".k8s.io") {
                format!("; restore its definition first, by --kind crd --name {name}, or start the server of its API")
            } else {
                String::new()
            };
            let reason = format!("the target does not serve {name}{why}{known}");
            Some((number, Verdict::Blocked { reason: reason.into() }))
        })
        .collect();
    let entries = (0_u32..).zip(&candidates.objects.entries);
    let blocked: Vec<_> = entries.filter_map(|(number, entry)| Some((number, reasons.get(&entry.kind)?))).collect();
    blocked.into_iter().try_for_each(|(number, verdict)| candidates.objects.entries.decide(number, verdict, false))
}

/// What is there of the candidates.
async fn survey(target: &Target, candidates: &Candidates) -> Result<HashMap<u32, Live>> {
    let mut live = HashMap::new();
    for (number, kind) in (0_u32..).zip(&candidates.kinds).filter(|(_, kind)| kind.served.is_some()) {
        let of_kind = (0_u32..).zip(&candidates.objects.entries).filter(|(_, entry)| entry.kind == number);
        let (numbers, places): (Vec<u32>, Vec<_>) =
            of_kind.map(|(number, entry)| (number, (entry.namespace, entry.name))).unzip();
        let found = target.survey(&kind.target(), &places).await?;
        live.extend(numbers.into_iter().zip(found).filter_map(|(number, live)| Some((number, live?))));
    }
    Ok(live)
}

/// The volumes that there will be, where claims are restored.
async fn volumes(target: &Target, candidates: &Candidates) -> Result<Option<BTreeSet<String>>> {
    if !candidates.kinds.iter().any(|kind| kind.is("", "persistentvolumeclaims")) {
        return Ok(None);
    }
    let planned = candidates.names_of(candidates.kind("", "persistentvolumes"));
    let mut volumes: BTreeSet<String> = planned.map(str::to_owned).collect();
    let keep = |_: super::target::Place<'_>, _: &[u8]| Ok(true);
    let listed = target.list(&built_in("", "persistentvolumes", "PersistentVolume", false), None, keep).await?;
    volumes.extend(listed.into_iter().map(|volume| volume.name.into()));
    Ok(Some(volumes))
}

/// Leaves out namespaces that were added for objects of which none is restored after all.
fn drop_lonely_namespaces(candidates: &mut Candidates, request: &Request) -> Result<()> {
    let Some(number) = candidates.kind("", "namespaces") else { return Ok(()) };
    let kind = usize::try_from(number).ok().and_then(|number| candidates.kinds.get(number));
    if kind.is_some_and(|kind| request.selection.wants_type(&kind.resource)) {
        return Ok(());
    }
    let entries = candidates.objects.entries.iter();
    let used: HashSet<Box<str>> =
        entries.filter(|entry| entry.verdict.acts()).filter_map(|entry| entry.namespace).map(Into::into).collect();
    candidates.objects.retain(|_, entry| entry.kind != number || used.contains(entry.name))
}

/// Puts a plan together: by wave, then as the backup has the objects; what is pruned comes last, in reverse.
fn assemble(
    header: Header,
    candidates: Candidates,
    mut pruned: Vec<Candidate>,
    owners: &HashMap<UidKey, Box<str>>,
) -> Result<Plan> {
    let Candidates { kinds, objects, .. } = candidates;
    let wave = |kind: u32| usize::try_from(kind).ok().and_then(|kind| kinds.get(kind)).map(|kind| kind.wave);
    let mut order: Vec<(_, u32)> = (0_u32..)
        .zip(&objects.entries)
        .map(|(number, entry)| ((wave(entry.kind), !entry.early, entry.kind), number))
        .collect();
    order.sort_unstable();
    let order: Vec<u32> = order.into_iter().map(|(_, number)| number).collect();
    pruned.sort_by_key(|object| std::cmp::Reverse((wave(object.kind), object.kind)));
    let (mut used, mut numbers): (Vec<PlannedKind>, HashMap<u32, u32>) = (Vec::new(), HashMap::new());
    let mut renumbered = |kind: u32| {
        *numbers.entry(kind).or_insert_with(|| {
            used.extend(usize::try_from(kind).ok().and_then(|kind| kinds.get(kind)).cloned());
            u32::try_from(used.len() - 1).unwrap_or(u32::MAX)
        })
    };
    let mut entries = objects.ordered(&order, owners, &mut renumbered)?;
    for object in pruned {
        let (namespace, name) = (object.namespace.as_deref(), &*object.name);
        let (kind, verdict) = (renumbered(object.kind), &object.verdict);
        entries.push(Entry { kind, namespace, name, uid: "", source: None, early: false, verdict })?;
    }
    entries.shrink();
    Ok(Plan { header: Header { kinds: used, ..header }, entries })
}
