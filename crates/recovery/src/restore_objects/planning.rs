//! Making a plan. Nothing is written: the API server is asked what it would do, and does not do it.

use std::collections::{BTreeSet, HashMap, HashSet};

use lifeboat_kubernetes::{Cluster, ObjectPath, is_active};

use super::candidates::{Candidate, Candidates};
use super::judge::Judge;
use super::owners::Outside;
use super::plan::{Header, Live, Mode, Plan, PlannedKind, SCHEMA, Verdict};
use super::preflight::{self, Needs, built_in};
use super::request::{Concurrency, Request};
use super::target::Target;
use super::wanted;
use crate::error::{Error, Result};
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
    candidates.refuse_collisions()?;
    candidates.find_served(&target).await?;
    block_unserved(&mut candidates, &target);
    let live = survey(&target, &candidates).await?;
    let volumes = volumes(&target, &candidates).await?;
    let transforms = wanted::transforms(&request.settings, volumes.clone(), &manifest.id)?;
    for patch in &transforms.patches {
        let known: Vec<_> = open.coverage().resources.iter().map(|known| known.resource.clone()).collect();
        patch.check_kinds(&known).map_err(|error| Error::Usage(error.to_string()))?;
    }
    let uids = candidates.objects.iter().map(|object| object.entry.uid.clone()).filter(|uid| !uid.is_empty()).collect();
    let judge = Judge {
        request,
        target: &target,
        transforms: &transforms,
        live,
        uids,
        namespaces: there,
        outside: Outside::default(),
        services: candidates.services(open, request).await?,
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
    drop_lonely_namespaces(&mut candidates, request);
    let pruned = match request.settings.mode {
        Mode::Exact => super::prune::surplus(open, &target, request, &mut candidates).await?,
        Mode::Skip | Mode::Apply | Mode::Recreate => Vec::new(),
    };
    let mut plan = assemble(header, candidates, pruned);
    plan.header.findings = preflight::findings(&plan, &target, &needs).await?;
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
    let seen: HashSet<&str> =
        candidates.objects.iter().filter_map(|object| object.entry.namespace.as_deref()).collect();
    let unseen: Vec<&String> = asked.filter(|name| !seen.contains(mapped(name).as_str())).collect();
    if !unseen.is_empty() {
        let known = super::candidates::namespaces_of(open).await?;
        if let Some(name) = unseen.into_iter().find(|name| !known.contains(*name)) {
            let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
            let hint = nearest.map_or_else(String::new, |nearest| format!(", did you mean '{nearest}'?"));
            return Err(Error::NoObject(format!("the backup has no namespace '{name}'{hint}")));
        }
    }
    if candidates.objects.is_empty() && candidates.withheld.is_empty() && request.settings.mode != Mode::Exact {
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
fn block_unserved(candidates: &mut Candidates, target: &Target) {
    let definitions =
        candidates.kinds.iter().position(|kind| kind.is("apiextensions.k8s.io", "customresourcedefinitions"));
    let defined: HashSet<Box<str>> = candidates
        .objects
        .iter()
        .filter(|object| Some(object.kind()) == definitions)
        .map(|object| object.entry.name.clone())
        .collect();
    let reasons: HashMap<usize, String> = candidates
        .kinds
        .iter()
        .enumerate()
        .filter(|(_, kind)| kind.served.is_none())
        .filter_map(|(number, kind)| {
            let name = kind.resource.group_resource().to_string();
            if defined.contains(name.as_str()) {
                return None;
            }
            let why = target.failure_of(&kind.resource).map(|why| format!(" ({why})")).unwrap_or_default();
            let known = if kind.resource.group.contains('.') && !kind.resource.group.ends_with(".k8s.io") {
                format!("; restore its definition with it, or before: --kind crd --name {name}")
            } else {
                String::new()
            };
            Some((number, format!("the target does not serve {name}{why}{known}")))
        })
        .collect();
    for object in &mut candidates.objects {
        if let Some(reason) = reasons.get(&object.kind()) {
            object.entry.verdict = Verdict::Blocked { reason: reason.as_str().into() };
        }
    }
}

/// What is there of the candidates.
async fn survey(target: &Target, candidates: &Candidates) -> Result<HashMap<u32, Live>> {
    let mut live = HashMap::new();
    for (number, kind) in candidates.kinds.iter().enumerate().filter(|(_, kind)| kind.served.is_some()) {
        let of_kind = (0_u32..).zip(&candidates.objects).filter(|(_, object)| object.kind() == number);
        let (numbers, places): (Vec<u32>, Vec<_>) =
            of_kind.map(|(number, object)| (number, (object.entry.namespace.as_deref(), &*object.entry.name))).unzip();
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
    let kind = candidates.kinds.iter().position(|kind| kind.is("", "persistentvolumes"));
    let planned = candidates.objects.iter().filter(|object| Some(object.kind()) == kind);
    let mut volumes: BTreeSet<String> = planned.map(|object| object.entry.name.to_string()).collect();
    let keep = |_: super::target::Place<'_>, _: &[u8]| Ok(true);
    let listed = target.list(&built_in("", "persistentvolumes", "PersistentVolume", false), None, keep).await?;
    volumes.extend(listed.into_iter().map(|volume| volume.name.into()));
    Ok(Some(volumes))
}

/// Leaves out namespaces that were added for objects of which none is restored after all.
fn drop_lonely_namespaces(candidates: &mut Candidates, request: &Request) {
    let Some(kind) = candidates.kinds.iter().position(|kind| kind.is("", "namespaces")) else { return };
    let wanted = candidates.kinds.get(kind).is_some_and(|kind| request.selection.wants_type(&kind.resource));
    if wanted {
        return;
    }
    let used: HashSet<Box<str>> = candidates
        .objects
        .iter()
        .filter(|object| object.entry.verdict.acts())
        .filter_map(|object| object.entry.namespace.clone())
        .collect();
    candidates.objects.retain(|object| object.kind() != kind || used.contains(&object.entry.name));
}

/// Puts a plan together: by wave, then as the backup has the objects; what is pruned comes last, in reverse.
fn assemble(header: Header, candidates: Candidates, mut pruned: Vec<Candidate>) -> Plan {
    let Candidates { kinds, mut objects, .. } = candidates;
    let wave = |object: &Candidate| kinds.get(object.kind()).map(|kind| kind.wave);
    objects.sort_by_key(|object| (wave(object), !object.entry.early, object.kind()));
    pruned.sort_by_key(|object| std::cmp::Reverse((wave(object), object.kind())));
    let mut entries: Vec<_> = objects.into_iter().chain(pruned).map(|object| object.entry).collect();
    let (mut used, mut numbers): (Vec<PlannedKind>, HashMap<u32, u32>) = (Vec::new(), HashMap::new());
    for entry in &mut entries {
        let number = *numbers.entry(entry.kind).or_insert_with(|| {
            used.extend(usize::try_from(entry.kind).ok().and_then(|kind| kinds.get(kind)).cloned());
            u32::try_from(used.len() - 1).unwrap_or(u32::MAX)
        });
        entry.kind = number;
    }
    entries.shrink_to_fit();
    Plan { header: Header { kinds: used, ..header }, entries }
}
