//! `node.taint`.

use std::time::Duration;

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pods::{pods_on, tolerates};
use crate::api::{Api, Connection};
use crate::fields::{items, reference, text};
use crate::planning::{plan_patch, review};
use crate::resources::NODE;
use crate::target::Target;
use crate::writing::{RACES, patch_as_read, raced};

/// The time between two looks at the pods.
const PAUSE: Duration = Duration::from_secs(2);

/// The action `node.taint`.
#[derive(Debug)]
pub(crate) struct Taint {
    connection: Connection,
}

impl Taint {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Effect {
    /// Pods that do not tolerate it are deleted.
    #[default]
    NoExecute,
    /// Pods that do not tolerate it are not put there.
    NoSchedule,
}

impl Effect {
    fn name(self) -> &'static str {
        match self {
            Self::NoExecute => "NoExecute",
            Self::NoSchedule => "NoSchedule",
        }
    }
}

fn contained() -> String {
    "lifeboat.dev/contained".to_owned()
}

/// Which node, and which taint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A node, as `target.resolve` gives it.
    target: Target,
    /// The taint's key.
    #[serde(default = "contained")]
    key: String,
    /// The taint's value.
    #[serde(default)]
    value: String,
    /// What it does.
    #[serde(default)]
    effect: Effect,
}

/// What was there.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// How many pods did not tolerate the taint when it was planned.
    pods: u64,
}

/// What undoes the write: the taint goes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    target: Target,
    key: String,
    effect: Effect,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "nodes", verbs: &["get", "patch"] },
    Permission { group: "", resource: "pods", verbs: &["list"] },
];

fn is_it(taint: &Value, key: &str, effect: Effect) -> bool {
    text(taint, "/key") == key && text(taint, "/effect") == effect.name()
}

fn has(node: &Value, key: &str, effect: Effect) -> bool {
    items(node, "/spec/taints").any(|taint| is_it(taint, key, effect))
}

fn patch(taints: &[Value]) -> Value {
    json!({"spec": {"taints": taints}})
}

fn added(node: &Value, inputs: &Inputs) -> Vec<Value> {
    let mut taints: Vec<Value> = items(node, "/spec/taints").cloned().collect();
    taints.push(json!({"key": inputs.key, "value": inputs.value, "effect": inputs.effect.name()}));
    taints
}

impl Inputs {
    /// The pods that the taint drives away.
    async fn driven_away(&self, api: &Api) -> Result<Vec<Value>, ActionError> {
        let mut pods = pods_on(api, &self.target.name).await?;
        pods.retain(|pod| !tolerates(pod, (&self.key, &self.value, self.effect.name())));
        Ok(pods)
    }
}

#[async_trait]
impl Action for Taint {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "node.taint",
            summary: "Taint a node, so that pods leave it or stay away",
            description: "Adds a taint. With `NoExecute` (which is meant if nothing is said) the control plane deletes \
                          every pod that does not tolerate it, whatever disruption budgets say, with all that is in \
                          them: keep the evidence first. With `NoSchedule` no new ones come. Pods that tolerate \
                          everything stay, as those of many DaemonSets. With `NoExecute` the step is proved when the \
                          pods are gone. A rollback takes the taint away; pods come back as their owners decide.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-PE"],
            undo: Undo::Partly("the taint goes; the pods that it drove away were deleted"),
            repeat: Repeat::Safe,
            example: "- id: taint\n  uses: node.taint\n  with:\n    effect: NoExecute\n    target: {apiVersion: v1, kind: \
                      Node, name: worker-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let node = target.read(&api, &[&NODE]).await?;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, None).await?;
        if has(&node, &inputs.key, inputs.effect) {
            plan.warnings.push(format!("{target} has the taint already"));
        } else {
            let change = (&node, &patch(&added(&node, inputs)));
            plan_patch(&api, &mut plan, "taint", target.place(&[&NODE])?, change).await?;
        }
        let mut pods = 0_u64;
        if inputs.effect == Effect::NoExecute {
            let names: Vec<String> =
                inputs.driven_away(&api).await?.iter().map(|pod| reference(pod).to_string()).collect();
            if !names.is_empty() {
                plan.warnings.push(format!("these pods are deleted: {}", names.join(", ")));
                for change in &mut plan.changes {
                    change.loses = Some(format!("of {} pods: {}", names.len(), crate::pod::LOST));
                }
            }
            pods = names.len() as u64;
        }
        plan.remember(&pods)?;
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
        if !plan.changes.is_empty() {
            let Inputs { target, key, effect, .. } = inputs;
            let inverse = Undone { target: target.clone(), key: key.clone(), effect: *effect };
            let taint = async |permit| add(&api, &permit, inputs).await;
            writes.write("taint", Inverse::By(inverse), taint).await?;
        }
        Ok(Outputs { pods: plan.recall()? })
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let node = target.read(&api, &[&NODE]).await?;
        if !has(&node, &inputs.key, inputs.effect) {
            return Ok(Proof::NotObserved(format!("{target} does not have the taint; somebody else took it away")));
        }
        if inputs.effect == Effect::NoSchedule {
            return Ok(Proof::Observed(format!("{target} was read again and has the taint")));
        }
        let until = tokio::time::Instant::now() + crate::PATIENCE;
        loop {
            let left = inputs.driven_away(&api).await?;
            if left.is_empty() {
                return Ok(Proof::Observed(format!(
                    "{target} has the taint, and no pod is left on it that does not tolerate it"
                )));
            }
            if tokio::time::Instant::now() >= until {
                let names: Vec<String> = left.iter().map(|pod| reference(pod).to_string()).collect();
                return Ok(Proof::NotObserved(format!("still on {target}: {}", names.join(", "))));
            }
            context.sleep(PAUSE).await;
        }
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let Undone { target, key, effect } = inverse;
        let place = target.place(&[&NODE])?;
        for _ in 0..RACES {
            let Some(node) = api.find(place, &target.uid).await? else {
                return Ok(Proof::Observed(format!("{target} is gone, and its taint with it")));
            };
            if !has(&node, &key, effect) {
                return Ok(Proof::Observed(format!("{target} does not have the taint")));
            }
            let left: Vec<Value> =
                items(&node, "/spec/taints").filter(|taint| !is_it(taint, &key, effect)).cloned().collect();
            // Whatever came of it, the next look sees it.
            patch_as_read(&api, permit, place, (&node, &patch(&left))).await?;
        }
        Err(raced(&target))
    }
}

async fn add(api: &Api, permit: &Permit, inputs: &Inputs) -> Result<(), ActionError> {
    let target = &inputs.target;
    for _ in 0..RACES {
        let node = target.read(api, &[&NODE]).await?;
        if has(&node, &inputs.key, inputs.effect) {
            return Ok(());
        }
        let change = (&node, &patch(&added(&node, inputs)));
        if patch_as_read(api, permit, target.place(&[&NODE])?, change).await? {
            return Ok(());
        }
    }
    Err(raced(target))
}
