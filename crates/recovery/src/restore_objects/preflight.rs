//! What would keep a restore from succeeding, found before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lifeboat_kubernetes::{Access, Error as KubernetesError};
use lifeboat_model::ResourceType;
use serde_json::Value;

use super::candidates::UidKey;
use super::entries::Entry;
use super::plan::{Finding, Mode, Plan, PlannedKind, Verdict};
use super::target::Target;
use super::wanted::text;
use super::webhooks::{Asked, Webhooks};
use super::write::is_of_all;
use crate::error::{Error, Result};

/// Things of the target that objects of a plan name, each with the first object that does.
#[derive(Debug, Default)]
pub(super) struct Needs {
    storage_classes: BTreeMap<String, String>,
    ingress_classes: BTreeMap<String, String>,
    priority_classes: BTreeMap<String, String>,
    runtime_classes: BTreeMap<String, String>,
    /// Namespaces in which pods will be.
    workloads: BTreeSet<String>,
    /// The UIDs in the backup of candidates that own others, or are owned by others.
    pub(super) owners: HashMap<UidKey, Box<str>>,
    /// Namespaces that are restored, as they will be.
    namespaces: BTreeMap<String, Value>,
    /// The webhooks that would be asked.
    pub(super) asked: Asked,
}

/// Where kinds keep the template of their pods.
fn pod_spec<'a>(kind: &PlannedKind, object: &'a Value) -> Option<&'a Value> {
    let pointer = match kind.resource.kind.as_str() {
        "Pod" if kind.is("", "pods") => "/spec",
        "CronJob" if kind.is("batch", "cronjobs") => "/spec/jobTemplate/spec/template/spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "ReplicationController" => {
            "/spec/template/spec"
        }
        _ => return None,
    };
    object.pointer(pointer)
}

impl Needs {
    /// Takes note of owners that are among the candidates, and of what they own: either may have to be found again.
    pub(super) fn owned(&mut self, own: &str, references: &[Value], candidates: &HashSet<UidKey>) {
        for uid in references.iter().map(|reference| text(reference, "/uid")) {
            let Some(key) = UidKey::of(uid).filter(|key| candidates.contains(key)) else { continue };
            self.owners.entry(key).or_insert_with(|| uid.into());
            if let Some(key) = UidKey::of(own) {
                self.owners.entry(key).or_insert_with(|| own.into());
            }
        }
    }

    /// Takes note of what a prepared object names.
    pub(super) fn observe(&mut self, kind: &PlannedKind, entry: Entry<'_>, object: &Value) {
        if kind.is("", "namespaces") {
            self.namespaces.insert(entry.name.to_owned(), object.clone());
        }
        let mut note = |map: fn(&mut Self) -> &mut BTreeMap<String, String>, of: &Value, pointer: &str| {
            let name = text(of, pointer);
            if !name.is_empty() {
                let namespace = entry.namespace.map(|name| format!(" -n {name}")).unwrap_or_default();
                let by = || format!("{}/{}{namespace}", kind.resource.group_resource(), entry.name);
                map(self).entry(name.to_owned()).or_insert_with(by);
            }
        };
        match kind.resource.kind.as_str() {
            "PersistentVolumeClaim" | "PersistentVolume" => {
                note(|needs| &mut needs.storage_classes, object, "/spec/storageClassName");
            }
            "StatefulSet" => {
                let claims = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
                for claim in claims.into_iter().flatten() {
                    note(|needs| &mut needs.storage_classes, claim, "/spec/storageClassName");
                }
            }
            "Ingress" => note(|needs| &mut needs.ingress_classes, object, "/spec/ingressClassName"),
            _ => {}
        }
        if let Some(spec) = pod_spec(kind, object) {
            note(|needs| &mut needs.priority_classes, spec, "/priorityClassName");
            note(|needs| &mut needs.runtime_classes, spec, "/runtimeClassName");
            self.workloads.extend(entry.namespace.map(str::to_owned));
        }
    }
}

fn finding(blocks: bool, code: &str, message: String) -> Finding {
    Finding { blocks, code: code.to_owned(), message }
}

/// A resource of Kubernetes itself.
pub(super) fn built_in(group: &str, resource: &str, kind: &str, namespaced: bool) -> ResourceType {
    ResourceType {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        namespaced,
    }
}

/// Looks for what would keep a plan from succeeding.
pub(super) async fn findings(
    plan: &Plan,
    target: &Target,
    needs: &mut Needs,
    webhooks: &Webhooks,
) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if plan.header.backup_cluster != plan.header.target_cluster {
        let message = format!(
            "the backup is of cluster {}, and this is another one, {}",
            plan.header.backup_cluster, plan.header.target_cluster
        );
        found.push(finding(false, "otherCluster", message));
    }
    found.extend(versions(plan));
    let acts = plan.entries.iter().any(|entry| entry.verdict.acts());
    if acts {
        found.extend(match permissions(plan, target).await {
            // Webhooks can be in the way of the question itself.
            Err(Error::Kubernetes(error)) if !is_of_all(&error) => {
                vec![finding(false, "permission", format!("permissions are not known: {}", crate::chain(&error)))]
            }
            found => found?,
        });
        found.extend(classes(plan, target, needs).await?);
        found.extend(super::admission::findings(plan, target, &needs.workloads).await?);
        for entry in plan.entries.iter().filter(|entry| matches!(entry.verdict, Verdict::Prune { .. })) {
            let Some(kind) = plan.kind(entry) else { continue };
            needs.asked.note(&webhooks.of_deletion(kind, entry.verdict), entry.namespace, kind);
        }
        found.extend(webhooks.findings(target, &needs.asked, &needs.namespaces).await?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Kinds that the target serves otherwise, or not at all.
fn versions(plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, kind) in (0_u32..).zip(&plan.header.kinds) {
        let resource = &kind.resource;
        let name = resource.group_resource();
        match &kind.served {
            Some(version) if *version != resource.version => {
                let message = format!(
                    "{name} are in the backup at version {}, and the target serves them at {version}: they are asked for at that",
                    resource.version
                );
                found.push(finding(false, "otherVersion", message));
            }
            Some(_) => {}
            None => {
                let blocked =
                    |entry: &Entry<'_>| entry.kind == number && matches!(entry.verdict, Verdict::Blocked { .. });
                let count = plan.entries.iter().filter(blocked).count();
                if count > 0 {
                    let message = format!("the target does not serve {name}: {count} objects of it cannot be restored");
                    found.push(finding(false, "notServed", message));
                }
            }
        }
    }
    found
}

/// The verbs that an entry needs.
fn verbs(verdict: &Verdict, mode: Mode) -> &'static [&'static str] {
    match verdict {
        // What the target makes by itself meanwhile is merged into; owners that come late are set by a patch.
        Verdict::Create { .. } => &["get", "create", "patch"],
        Verdict::Apply { .. } => &["get", "update"],
        Verdict::Recreate { .. } => &["get", "delete", "create"],
        Verdict::Prune { .. } => &["get", "delete"],
        Verdict::Unchanged { .. } | Verdict::Leave { .. } if mode != Mode::Skip => &["get"],
        _ => &[],
    }
}

async fn permissions(plan: &Plan, target: &Target) -> Result<Vec<Finding>> {
    let everything = Access { verb: "*", group: "*".to_owned(), resource: "*".to_owned(), ..Access::default() };
    let answers = target.cluster.may(&[everything]).await?;
    if answers.first().is_some_and(|answer| answer.allowed) {
        return Ok(Vec::new());
    }
    // Of all namespaces first: few questions serve most.
    let mut needed: BTreeMap<(u32, &'static str), BTreeSet<&str>> = BTreeMap::new();
    for entry in &plan.entries {
        for verb in verbs(entry.verdict, plan.header.settings.mode) {
            needed.entry((entry.kind, verb)).or_default().insert(entry.namespace.unwrap_or_default());
        }
    }
    let question = |(kind, verb): (u32, &'static str), namespace: &str| {
        let kind = usize::try_from(kind).ok().and_then(|kind| plan.header.kinds.get(kind));
        let resource = kind.map_or_else(|| String::new().into(), |kind| kind.resource.group_resource());
        Access {
            verb,
            group: resource.group,
            resource: resource.resource,
            namespace: namespace.to_owned(),
            ..Access::default()
        }
    };
    let anywhere: Vec<Access> = needed.keys().map(|key| question(*key, "")).collect();
    let answers = target.cluster.may(&anywhere).await?;
    let refused = needed.iter().zip(&answers).filter(|(_, answer)| !answer.allowed).map(|(needed, _)| needed);
    let single: Vec<Access> =
        refused.flat_map(|(key, namespaces)| namespaces.iter().map(|namespace| question(*key, namespace))).collect();
    let answers = target.cluster.may(&single).await?;
    let refused = single.iter().zip(answers).filter(|(_, answer)| !answer.allowed);
    let messages = refused.map(|(access, answer)| {
        let resource = if access.group.is_empty() {
            access.resource.clone()
        } else {
            format!("{}.{}", access.resource, access.group)
        };
        let place = if access.namespace.is_empty() { String::new() } else { format!(" in '{}'", access.namespace) };
        let reason = if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
        finding(true, "permission", format!("not allowed to {} {resource}{place}{reason}", access.verb))
    });
    Ok(messages.collect())
}

/// Classes that objects name and that neither the target nor the plan has.
async fn classes(plan: &Plan, target: &Target, needs: &Needs) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let all = [
        ("storage.k8s.io", "storageclasses", "StorageClass", "storageClass", &needs.storage_classes),
        ("networking.k8s.io", "ingressclasses", "IngressClass", "ingressClass", &needs.ingress_classes),
        ("scheduling.k8s.io", "priorityclasses", "PriorityClass", "priorityClass", &needs.priority_classes),
        ("node.k8s.io", "runtimeclasses", "RuntimeClass", "runtimeClass", &needs.runtime_classes),
    ];
    for (group, resource, kind, code, named) in all {
        if named.is_empty() {
            continue;
        }
        let planned = |name: &str| {
            plan.entries.iter().any(|entry| {
                entry.name == name
                    && matches!(entry.verdict, Verdict::Create { .. })
                    && plan.kind(entry).is_some_and(|planned| planned.is(group, resource))
            })
        };
        let missing: Vec<(&str, &String)> =
            named.iter().map(|(name, by)| (name.as_str(), by)).filter(|(name, _)| !planned(name)).collect();
        let places: Vec<_> = missing.iter().map(|(name, _)| (None, *name)).collect();
        let there = match target.survey(&built_in(group, resource, kind, false), &places).await {
            Ok(there) => there,
            // Not to be told is no reason not to restore.
            Err(Error::Kubernetes(KubernetesError::Forbidden { .. } | KubernetesError::NotServed { .. })) => continue,
            Err(error) => return Err(error),
        };
        for ((name, by), _) in missing.iter().zip(there).filter(|(_, live)| live.is_none()) {
            found.push(finding(false, code, format!("the target has no {kind} '{name}', which {by} names")));
        }
    }
    Ok(found)
}
