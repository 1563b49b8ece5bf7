//! `evidence.objects`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::clock;
use super::{EvidenceFolder, Outputs, prove, save};
use crate::api::{Api, Connection, Place};
use crate::fields::{controller, items, name, text};
use crate::planning::review;
use crate::resources::{
    CLUSTER_ROLE_BINDING, EVENT, JOB, NETWORK_POLICY, NODE, POD, ROLE_BINDING, Resource, SERVICE_ACCOUNT,
};
use crate::target::Target;

/// An owner of an owner of an owner is as far as Kubernetes' own controllers go.
const MAX_OWNERS: usize = 4;

/// The action `evidence.objects`.
#[derive(Debug)]
pub(crate) struct Objects {
    connection: Connection,
    folder: EvidenceFolder,
}

impl Objects {
    pub(crate) fn new(connection: Connection, folder: EvidenceFolder) -> Self {
        Self { connection, folder }
    }
}

/// Of what.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A pod, as `target.resolve` gives it.
    target: Target,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get"] },
    Permission { group: "", resource: "serviceaccounts", verbs: &["get"] },
    Permission { group: "", resource: "events", verbs: &["list"] },
    Permission { group: "", resource: "nodes", verbs: &["get"] },
    Permission { group: "apps", resource: "replicasets", verbs: &["get"] },
    Permission { group: "apps", resource: "deployments", verbs: &["get"] },
    Permission { group: "apps", resource: "statefulsets", verbs: &["get"] },
    Permission { group: "apps", resource: "daemonsets", verbs: &["get"] },
    Permission { group: "batch", resource: "jobs", verbs: &["get"] },
    Permission { group: "batch", resource: "cronjobs", verbs: &["get"] },
    Permission { group: "networking.k8s.io", resource: "networkpolicies", verbs: &["list"] },
    Permission { group: "rbac.authorization.k8s.io", resource: "rolebindings", verbs: &["list"] },
    Permission { group: "rbac.authorization.k8s.io", resource: "clusterrolebindings", verbs: &["list"] },
];

/// What was found, by the name of the file to be made of it.
#[derive(Default)]
struct Found {
    objects: Vec<(String, String, Value)>,
    missing: Vec<String>,
}

impl Found {
    fn note(&mut self, file: String, what: String, found: Result<Option<Value>, ActionError>) -> Option<Value> {
        match found {
            Ok(Some(object)) => {
                self.objects.push((file, what, object.clone()));
                Some(object)
            }
            Ok(None) => {
                self.missing.push(format!("{what} is not there"));
                None
            }
            Err(error) => {
                self.missing.push(format!("{what}: {}", error.chain()));
                None
            }
        }
    }

    async fn get(
        &mut self,
        api: &Api,
        resource: &'static Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Value> {
        let place = Place::new(resource, namespace.filter(|_| resource.namespaced), name);
        let found = api.get(place).await;
        self.note(format!("{}-{name}.json", resource.resource), place.to_string(), found)
    }

    async fn list(
        &mut self,
        api: &Api,
        resource: &'static Resource,
        namespace: Option<&str>,
        wanted: impl Fn(&Value) -> bool,
    ) {
        let found = api
            .list(resource, namespace)
            .await
            .map(|objects| Some(Value::Array(objects.into_iter().filter(|object| wanted(object)).collect())));
        self.note(format!("{}.json", resource.resource), format!("{}s that concern it", resource.kind), found);
    }
}

async fn gather(api: &Api, target: &Target, pod: Value) -> Found {
    let namespace = target.namespace.as_deref();
    let mut found = Found::default();
    let mut owner = controller(&pod);
    let account = text(&pod, "/spec/serviceAccountName").to_owned();
    let node = text(&pod, "/spec/nodeName").to_owned();
    found.note("pod.json".to_owned(), target.to_string(), Ok(Some(pod)));
    for _ in 0..MAX_OWNERS {
        let Some(wanted) = owner.take() else { break };
        let Some(resource) = Resource::of_kind(&wanted.api_version, &wanted.kind) else {
            found.missing.push(format!("{wanted} of {} is of a kind that is not known here", wanted.api_version));
            break;
        };
        owner = found.get(api, resource, namespace, &wanted.name).await.as_ref().and_then(controller);
    }
    if !node.is_empty() {
        found.get(api, &NODE, None, &node).await;
    }
    if !account.is_empty() {
        found.get(api, &SERVICE_ACCOUNT, namespace, &account).await;
    }
    let is_bound = |binding: &Value| {
        items(binding, "/subjects").any(|subject| {
            text(subject, "/kind") == "ServiceAccount"
                && text(subject, "/name") == account
                && Some(text(subject, "/namespace")) == namespace
        })
    };
    found.list(api, &ROLE_BINDING, None, is_bound).await;
    found.list(api, &CLUSTER_ROLE_BINDING, None, is_bound).await;
    found.list(api, &NETWORK_POLICY, namespace, |_| true).await;
    found.list(api, &EVENT, namespace, |event| text(event, "/involvedObject/uid") == target.uid).await;
    found
}

#[async_trait]
impl Action for Objects {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "evidence.objects",
            summary: "Keep the pod and everything in the API that concerns it",
            description: "Saves as JSON, each with its SHA-256: the pod, its owners up to the top, its node, its \
                          service account, the bindings of that account, the network policies of the namespace, and \
                          the events of the pod. What could not be read is named, and the step is then `unverified`: \
                          evidence with gaps is no success. Files are never overwritten.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-CI"],
            undo: Undo::No("evidence is only added; nothing in the cluster is changed"),
            repeat: Repeat::Safe,
            example: "- id: objects\n  uses: evidence.objects\n  with:\n    target: {apiVersion: v1, kind: Pod, \
                      namespace: shop, name: web-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let pod = inputs.target.read(&api, &[&POD]).await?;
        let mut plan = StepPlan { changes: vec![save(&inputs.target, "objects")], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, inputs.target.namespace.as_deref()).await?;
        plan.evidence = clocks(&api, &pod, context).await;
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let pod = inputs.target.read(&api, &[&POD]).await?;
        let found = gather(&api, &inputs.target, pod).await;
        writes.write("save", Inverse::None, async |permit| self.keep(&permit, found, context).await).await
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        prove(&self.folder, outputs, context).await
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Objects {
    async fn keep(&self, permit: &Permit, found: Found, context: &StepContext) -> Result<Outputs, ActionError> {
        let mut outputs = Outputs { evidence: Vec::new(), missing: found.missing };
        for (file, what, object) in found.objects {
            let bytes = serde_json::to_vec_pretty(&object)
                .map_err(|error| ActionError::failed(format!("{what} cannot be written down")).because(error))?;
            outputs.evidence.push(self.folder.put(permit, context, (&file, what), bytes).await?);
        }
        Ok(outputs)
    }
}

/// The evidence clock of a pod.
pub(crate) async fn clocks(api: &Api, pod: &Value, context: &StepContext) -> Vec<lifeboat_playbook::EvidenceClock> {
    let job = match controller(pod) {
        Some(owner) if owner.kind == JOB.kind => {
            // A job that cannot be read has no clock that could be told.
            let place = Place::new(&JOB, owner.namespace.as_deref(), &owner.name);
            api.get(place).await.ok().flatten().filter(|job| name(job) == owner.name)
        }
        _ => None,
    };
    clock(pod, job.as_ref(), context.now())
}
