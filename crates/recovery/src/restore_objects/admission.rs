//! What of the target decides about new objects: Pod Security, quotas; and what [`super::webhooks`] needs.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_kubernetes::{Error as KubernetesError, ObjectPath};
use lifeboat_model::ResourceType;
use serde_json::Value;

use super::plan::{Finding, Plan, PlannedKind, Verdict};
use super::preflight::built_in;
use super::target::Target;
use super::wanted::{parse, text};
use crate::error::{Error, Result};

/// The label that says how strictly a namespace's pods are judged.
/// <https://kubernetes.io/docs/concepts/security/pod-security-admission/>
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Resource names of a quota that count objects, besides `count/...`.
/// <https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-on-object-count>
const COUNTED: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];

/// What keeps the target from taking the objects of a plan. `workloads` are the namespaces that get pods.
pub(super) async fn findings(plan: &Plan, target: &Target, workloads: &BTreeSet<String>) -> Result<Vec<Finding>> {
    let mut found = pod_security(target, workloads).await?;
    found.extend(quotas(plan, target).await?);
    Ok(found)
}

pub(super) fn warning(code: &str, message: String) -> Finding {
    Finding { blocks: false, code: code.to_owned(), message }
}

/// All objects of a kind; none where we may not see them or the target does not serve them.
pub(super) async fn all(target: &Target, kind: &ResourceType) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let listed = target
        .list(kind, None, |_, json| {
            found.push(parse(json)?);
            Ok(false)
        })
        .await;
    match listed {
        Ok(_) => Ok(found),
        Err(Error::Kubernetes(
            KubernetesError::Forbidden { .. } | KubernetesError::NotServed { .. } | KubernetesError::NotFound { .. },
        )) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether somebody is behind a service. Where nobody can be asked about that, somebody is.
pub(super) async fn has_endpoints(target: &Target, namespace: &str, service: &str) -> Result<bool> {
    let slices = built_in("discovery.k8s.io", "endpointslices", "EndpointSlice", true);
    let mut ready = false;
    let listed = target
        .list(&slices, Some(namespace), |_, json| {
            if !ready {
                let slice = parse(json)?;
                let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
                // Absent means ready, as the API defines it.
                let is_ready = |endpoint: &Value| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
                ready = slice.pointer("/metadata/labels/kubernetes.io~1service-name").and_then(Value::as_str)
                    == Some(service)
                    && endpoints.into_iter().any(is_ready);
            }
            Ok(false)
        })
        .await;
    match listed {
        Ok(_) => Ok(ready),
        Err(Error::Kubernetes(KubernetesError::Forbidden { .. })) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Namespaces that are there, get pods, and refuse some.
async fn pod_security(target: &Target, workloads: &BTreeSet<String>) -> Result<Vec<Finding>> {
    let namespaces = built_in("", "namespaces", "Namespace", false);
    let mut found = Vec::new();
    for name in workloads {
        let path = ObjectPath { resource: &namespaces, namespace: None, name };
        let Some(json) = target.cluster.get(path).await? else { continue };
        let namespace = parse(&json)?;
        let labels = namespace.pointer("/metadata/labels");
        let level = labels.and_then(|labels| labels.get(ENFORCE)).and_then(Value::as_str).unwrap_or_default();
        if matches!(level, "baseline" | "restricted") {
            let message = format!("namespace '{name}' enforces Pod Security '{level}': pods that break it are refused");
            found.push(warning("podSecurity", message));
        }
    }
    Ok(found)
}

/// Quotas on numbers of objects that the plan would exceed. Others are asked of the API server, object by object.
async fn quotas(plan: &Plan, target: &Target) -> Result<Vec<Finding>> {
    let mut created: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for entry in plan.entries.iter().filter(|entry| matches!(entry.verdict, Verdict::Create { .. })) {
        if let Some(namespace) = entry.namespace {
            *created.entry((namespace, entry.kind)).or_default() += 1;
        }
    }
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for quota in all(target, &built_in("", "resourcequotas", "ResourceQuota", true)).await? {
        let (namespace, name) = (text(&quota, "/metadata/namespace"), text(&quota, "/metadata/name"));
        let hard = quota.pointer("/status/hard").and_then(Value::as_object);
        for (resource, hard) in hard.into_iter().flatten() {
            if !COUNTED.contains(&resource.as_str()) && !resource.starts_with("count/") {
                continue;
            }
            let number =
                |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok());
            let used = quota.pointer("/status/used").and_then(|used| used.get(resource));
            let (Some(hard), Some(used)) = (number(Some(hard)), number(used)) else { continue };
            let more: u64 = created
                .iter()
                .filter(|((place, kind), _)| *place == namespace && counts(plan, *kind, resource))
                .map(|(_, count)| count)
                .sum();
            if more > 0 && used + more > hard {
                let message = format!(
                    "quota '{name}' of namespace '{namespace}' allows {hard} of {resource}: there are {used}, and {more} would come"
                );
                found.push(warning("quota", message));
            }
        }
    }
    Ok(found)
}

/// Whether a quota's resource name counts objects of that kind.
fn counts(plan: &Plan, kind: u32, resource: &str) -> bool {
    let kind = usize::try_from(kind).ok().and_then(|kind| plan.header.kinds.get(kind));
    kind.is_some_and(|PlannedKind { resource: known, .. }| {
        let name = known.group_resource().to_string();
        resource == name || resource.strip_prefix("count/") == Some(&name)
    })
}
