//! `pod.delete`.

use std::time::Duration;

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::owner::{Loss, reaction};
use crate::api::Connection;
use crate::evidence::clocks;
use crate::fields::uid;
use crate::planning::{plan_delete, review};
use crate::resources::POD;
use crate::target::Target;

/// What a pod takes with it.
pub(crate) const LOST: &str =
    "the memory and processes of its containers, their writable layers, and its emptyDir volumes";
/// What is waited for a pod to be gone, beyond the time that it has to end.
const PATIENCE: u64 = 60;

/// The action `pod.delete`.
#[derive(Debug)]
pub(crate) struct Delete {
    connection: Connection,
}

impl Delete {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// Which pod, and how fast.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A pod, as `target.resolve` gives it.
    target: Target,
    /// How many seconds its processes have to end; without it, what the pod says. With 0 the API server forgets the pod
    /// at once, whether or not its processes have ended.
    #[serde(default)]
    grace_seconds: Option<u32>,
}

/// What was deleted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// How long it was given to end, in seconds.
    grace_seconds: u64,
}

const PERMISSIONS: &[Permission] =
    &[Permission { group: "", resource: "pods", verbs: &["get", "list", "watch", "delete"] }];

fn grace(inputs: &Inputs, pod: &Value) -> u64 {
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
    inputs.grace_seconds.map_or_else(|| own.unwrap_or(30), u64::from)
}

#[async_trait]
impl Action for Delete {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "pod.delete",
            summary: "Delete a pod",
            description: "Deletes exactly this pod, by its UID, and waits until it is gone. Everything in it is lost, so \
                          keep the evidence first. Its owner makes another one of the same template. Tokens that are \
                          bound to the pod die with it.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-PT", "D3-PE"],
            undo: Undo::No("a deleted pod does not come back; its owner makes another one"),
            repeat: Repeat::Safe,
            example: "- id: delete\n  uses: pod.delete\n  with:\n    target: {apiVersion: v1, kind: Pod, namespace: shop, \
                      name: web-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let pod = target.read(&api, &[&POD]).await?;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, target.namespace.as_deref()).await?;
        let change =
            |change: lifeboat_playbook::Change| change.irreversible("a deleted pod does not come back").loses(LOST);
        plan_delete(&api, &mut plan, target.place(&[&POD])?, &pod, change, "pod").await?;
        plan.warnings.push(reaction(&pod, Loss::Deleted));
        plan.evidence = clocks(&api, &pod, context).await;
        plan.seconds = Some(grace(inputs, &pod));
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let place = inputs.target.place(&[&POD])?;
        let Inputs { target, grace_seconds } = inputs;
        let delete = async |permit: Permit| api.delete(&permit, place, &target.uid, *grace_seconds).await;
        writes.write("pod", Inverse::None, delete).await?;
        Ok(Outputs { grace_seconds: plan.seconds.unwrap_or(0) })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let place = target.place(&[&POD])?;
        let patience = Duration::from_secs(outputs.grace_seconds.saturating_add(PATIENCE));
        if !api.wait_gone(place, &target.uid, patience).await? {
            return Ok(Proof::NotObserved(format!("{target} is still there after {} s", patience.as_secs())));
        }
        Ok(Proof::Observed(match api.get(place).await? {
            None => format!("there is no {target} any more"),
            Some(other) => format!("{target} is another pod now, with UID {}", uid(&other)),
        }))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
