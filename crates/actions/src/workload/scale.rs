//! `workload.scale`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Api, Connection, refused};
use crate::fields::{has_ended, labels, name, text};
use crate::planning::{of_kind, plan_patch, review};
use crate::policy::selects;
use crate::resources::{AUTOSCALER, DEPLOYMENT, POD, REPLICA_SET, Resource, STATEFUL_SET};
use crate::target::Target;

static SCALED: [&Resource; 3] = [&DEPLOYMENT, &STATEFUL_SET, &REPLICA_SET];

/// The action `workload.scale`.
#[derive(Debug)]
pub(crate) struct Scale {
    connection: Connection,
}

impl Scale {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// What, and how many.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A deployment, stateful set or replica set, as `target.resolve` gives it.
    target: Target,
    /// How many pods there are to be.
    #[schemars(range(max = 100_000))]
    replicas: u32,
}

/// What it was.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// How many pods there were to be before.
    before: u64,
}

/// What undoes the write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    target: Target,
    before: u64,
    after: u64,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "apps", resource: "deployments", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "statefulsets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "replicasets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "autoscaling", resource: "horizontalpodautoscalers", verbs: &["list"] },
    Permission { group: "", resource: "pods", verbs: &["list"] },
];

fn replicas(object: &Value) -> u64 {
    object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

fn patch(target: &Target, replicas: u64) -> Value {
    json!({"metadata": {"uid": target.uid}, "spec": {"replicas": replicas}})
}

#[async_trait]
impl Action for Scale {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "workload.scale",
            summary: "Change how many pods a workload has",
            description: "Sets `spec.replicas` of a Deployment, StatefulSet or ReplicaSet. With 0, every pod of it is \
                          deleted with what is in it, so keep the evidence first. An autoscaler is named: it leaves a \
                          workload of 0 alone and may change any other number again. So does whatever else manages the \
                          workload, such as GitOps. A rollback sets the old number, unless somebody else changed it.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-PE"],
            undo: Undo::Partly("the number comes back; what was in the pods does not"),
            repeat: Repeat::Safe,
            example: "- id: stop\n  uses: workload.scale\n  with:\n    replicas: 0\n    target: {apiVersion: apps/v1, kind: \
                      Deployment, namespace: shop, name: web, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let Inputs { target, replicas: wanted } = inputs;
        let object = target.read(&api, &SCALED).await?;
        let place = target.place(&SCALED)?;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, &of_kind(PERMISSIONS, &SCALED, place.resource), target.namespace.as_deref()).await?;
        let before = replicas(&object);
        if before == u64::from(*wanted) {
            plan.warnings.push(format!("{target} is to have {wanted} pods already"));
        } else {
            plan_patch(&api, &mut plan, "replicas", place, (&object, &patch(target, u64::from(*wanted)))).await?;
        }
        if u64::from(*wanted) < before {
            let lost = crate::pod::LOST;
            for change in &mut plan.changes {
                change.loses = Some(format!("of the pods that go: {lost}"));
            }
        }
        plan.warnings.extend(autoscalers(&api, target).await?);
        plan.remember(&before)?;
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        writes: &mut Writes<'_, Undone>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let Inputs { target, replicas } = inputs;
        let before: u64 = plan.recall()?;
        if !plan.changes.is_empty() {
            let place = target.place(&SCALED)?;
            let after = u64::from(*replicas);
            let scale = async |permit: Permit| {
                api.patch(&permit, place, &patch(target, after)).await.map(drop).map_err(refused)
            };
            let inverse = Undone { target: target.clone(), before, after };
            writes.write("replicas", Inverse::By(inverse), scale).await?;
        }
        Ok(Outputs { before })
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        observe(&api, &inputs.target, u64::from(inputs.replicas)).await
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let Undone { target, before, after } = inverse;
        let place = target.place(&SCALED)?;
        let Some(found) = api.find(place, &target.uid).await? else {
            return Ok(Proof::Observed(format!("{target} is gone, and has no number to put back")));
        };
        let now = replicas(&found);
        if now != before && now != after {
            return Ok(Proof::NotObserved(format!("somebody else scaled {target} to {now}, which was left")));
        }
        if now == after {
            api.patch(permit, place, &patch(&target, before)).await.map_err(refused)?;
        }
        let found = target.read(&api, &SCALED).await?;
        Ok(if replicas(&found) == before {
            Proof::Observed(format!("{target} is to have {before} pods again"))
        } else {
            Proof::NotObserved(format!("{target} is to have {} pods", replicas(&found)))
        })
    }
}

/// Waits for the controller, and counts the pods.
async fn observe(api: &Api, target: &Target, wanted: u64) -> Result<Proof, ActionError> {
    let place = target.place(&SCALED)?;
    let settled = |object: &Value| {
        let number = |pointer| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        number("/status/observedGeneration") >= number("/metadata/generation") && number("/status/replicas") == wanted
    };
    if !api.wait_for(place, crate::PATIENCE, settled).await? {
        return Ok(Proof::NotObserved(format!("the controller of {target} does not say that it has {wanted} pods")));
    }
    let object = target.read(api, &SCALED).await?;
    let selector = object.pointer("/spec/selector").cloned().unwrap_or_default();
    let mut pods = api.list(&POD, target.namespace.as_deref()).await?;
    pods.retain(|pod| selects(&selector, &labels(pod)) && !has_ended(pod));
    if pods.len() as u64 == wanted {
        return Ok(Proof::Observed(format!("{wanted} pods of {target} are listed")));
    }
    let names: Vec<&str> = pods.iter().take(10).map(name).collect();
    let count = pods.len();
    Ok(Proof::NotObserved(format!("{count} pods of {target} are listed, not {wanted}: {}", names.join(", "))))
}

/// The autoscalers of a workload, in words.
async fn autoscalers(api: &Api, target: &Target) -> Result<Vec<String>, ActionError> {
    let all = match api.list(&AUTOSCALER, target.namespace.as_deref()).await {
        Ok(all) => all,
        // Which the plan says already.
        Err(ActionError::Denied { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_of = |scaler: &&Value| {
        text(scaler, "/spec/scaleTargetRef/kind") == target.kind
            && text(scaler, "/spec/scaleTargetRef/name") == target.name
    };
    let words = |scaler: &Value| {
        let number = |pointer| scaler.pointer(pointer).and_then(Value::as_u64).unwrap_or(1);
        let (least, most) = (number("/spec/minReplicas"), number("/spec/maxReplicas"));
        format!("HorizontalPodAutoscaler {} wants {least} to {most} pods, and leaves 0 alone", name(scaler))
    };
    Ok(all.iter().filter(is_of).map(words).collect())
}
