//! `target.resolve`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, NoInverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Target, find};
use crate::api::{Api, Connection, Place};
use crate::fields::{reference, uid};
use crate::planning::review;
use crate::resources::{
    CRON_JOB, DAEMON_SET, DEPLOYMENT, JOB, NAMESPACE, NODE, POD, REPLICA_SET, Resource, SERVICE_ACCOUNT, STATEFUL_SET,
};

/// The most candidates that are named.
const NAMED: usize = 5;

/// The action `target.resolve`.
#[derive(Debug)]
pub(crate) struct Resolve {
    connection: Connection,
}

impl Resolve {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// What can be a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Kind {
    /// A pod.
    #[default]
    Pod,
    /// A node.
    Node,
    /// A namespace.
    Namespace,
    /// A service account.
    ServiceAccount,
    /// A deployment.
    Deployment,
    /// A replica set.
    ReplicaSet,
    /// A stateful set.
    StatefulSet,
    /// A daemon set.
    DaemonSet,
    /// A job.
    Job,
    /// A cron job.
    CronJob,
}

impl Kind {
    fn resource(self) -> &'static Resource {
        match self {
            Self::Pod => &POD,
            Self::Node => &NODE,
            Self::Namespace => &NAMESPACE,
            Self::ServiceAccount => &SERVICE_ACCOUNT,
            Self::Deployment => &DEPLOYMENT,
            Self::ReplicaSet => &REPLICA_SET,
            Self::StatefulSet => &STATEFUL_SET,
            Self::DaemonSet => &DAEMON_SET,
            Self::Job => &JOB,
            Self::CronJob => &CRON_JOB,
        }
    }
}

/// What is looked for. Everything that is given has to fit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Inputs {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its namespace. Without one, pods are looked for in all.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Its UID.
    pub(crate) uid: Option<String>,
    /// Of a pod: the id of a container, at least its first twelve digits.
    pub(crate) container_id: Option<String>,
    /// Of a pod: its address.
    pub(crate) ip: Option<String>,
    /// Of a pod: the id or digest of an image that it runs.
    pub(crate) image: Option<String>,
    /// Of a pod: its service account.
    pub(crate) service_account: Option<String>,
    /// Of a pod: its node.
    pub(crate) node: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The one object that fits.
    pub(crate) target: Target,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get", "list"] },
    Permission { group: "", resource: "nodes", verbs: &["get"] },
    Permission { group: "", resource: "namespaces", verbs: &["get"] },
    Permission { group: "", resource: "serviceaccounts", verbs: &["get"] },
    Permission { group: "apps", resource: "deployments", verbs: &["get"] },
    Permission { group: "apps", resource: "replicasets", verbs: &["get"] },
    Permission { group: "apps", resource: "statefulsets", verbs: &["get"] },
    Permission { group: "apps", resource: "daemonsets", verbs: &["get"] },
    Permission { group: "batch", resource: "jobs", verbs: &["get"] },
    Permission { group: "batch", resource: "cronjobs", verbs: &["get"] },
];

async fn resolve(api: &Api, inputs: &Inputs) -> Result<Value, ActionError> {
    let resource = inputs.kind.resource();
    let namespace = inputs.namespace.as_deref().filter(|_| resource.namespaced);
    let found = match &inputs.name {
        Some(name) if namespace.is_some() || !resource.namespaced => {
            api.get(Place::new(resource, namespace, name)).await?.into_iter().collect()
        }
        _ if inputs.kind == Kind::Pod => {
            if [&inputs.name, &inputs.uid, &inputs.container_id, &inputs.ip, &inputs.image, &inputs.service_account]
                .iter()
                .all(|given| given.is_none())
            {
                return Err(ActionError::denied("nothing is said of the pod that is meant"));
            }
            api.list(resource, namespace).await?
        }
        _ => return Err(ActionError::denied(format!("a {} is found by its name only", resource.kind))),
    };
    let mut fitting = found.into_iter().filter(|object| match inputs.kind {
        Kind::Pod => find::fits(object, inputs),
        _ => inputs.uid.as_deref().is_none_or(|wanted| wanted == uid(object)),
    });
    let Some(first) = fitting.next() else {
        return Err(ActionError::denied(format!("no {} is what was described", resource.kind)));
    };
    let others: Vec<Value> = fitting.collect();
    if others.is_empty() {
        return Ok(first);
    }
    let named: Vec<String> =
        std::iter::once(&first).chain(&others).take(NAMED).map(|object| reference(object).to_string()).collect();
    let count = others.len() + 1;
    Err(ActionError::denied(format!("{count} objects are what was described, and one is needed: {}", named.join(", "))))
}

#[async_trait]
impl Action for Resolve {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "target.resolve",
            summary: "Find the one object that is meant, and pin it by its UID",
            description: "Looks an object up by its name, or a pod by what runs in it: container id, address, image \
                          digest, service account, node. Exactly one object has to fit; none or several are refused, \
                          so that nothing is done to a neighbour. Later steps take `steps.ID.target` and refuse \
                          another object of the same name.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-AI"],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: find\n  uses: target.resolve\n  with: {kind: Pod, namespace: shop, name: web-1}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = Target::of(&resolve(&api, inputs).await?);
        let mut plan = StepPlan::of_outputs(Outputs { target });
        let resource = inputs.kind.resource();
        let needed: Vec<Permission> = PERMISSIONS
            .iter()
            .copied()
            .filter(|permission| permission.group == resource.group && permission.resource == resource.resource)
            .collect();
        review(&api, &mut plan, &needed, inputs.namespace.as_deref()).await?;
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let target = Target::of(&resolve(&api, inputs).await?);
        match &plan.outputs {
            Some(planned) if planned.target.uid != target.uid => {
                let uid = &planned.target.uid;
                Err(ActionError::denied(format!("{target} is another one than in the plan, whose UID is {uid}")))
            }
            _ => Ok(Outputs { target }),
        }
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let Target { kind, api_version, .. } = &outputs.target;
        let Some(resource) = Resource::of_kind(api_version, kind) else {
            return Ok(Proof::NotObserved(format!("{kind} of {api_version} is not known")));
        };
        let target = &outputs.target;
        target.read(&api, &[resource]).await?;
        let node = target.node.as_deref().map_or_else(String::new, |node| format!(" on node {node}"));
        Ok(Proof::Observed(format!("{target} is there with UID {}{node}", target.uid)))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
