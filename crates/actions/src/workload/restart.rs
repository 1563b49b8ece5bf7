//! `workload.restart`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rollout::{ROLLED, four_minutes, observe, refusal};
use crate::api::{Api, Connection, refused};
use crate::fields::counted;
use crate::planning::{of_kind, plan_patch, review};
use crate::pod::LOST;
use crate::target::Target;

/// How often the pods of a workload were replaced by this action. A time would make each plan another one.
const RESTARTS: &str = "lifeboat.dev/restarts";

/// The action `workload.restart`.
#[derive(Debug)]
pub(crate) struct Restart {
    connection: Connection,
}

impl Restart {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// What is restarted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A deployment, stateful set or daemon set, as `target.resolve` gives it.
    target: Target,
    /// How long to wait for the new pods.
    #[serde(default = "four_minutes")]
    within: Period,
}

/// How it is known that a pod is new.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// What the annotation `lifeboat.dev/restarts` of every new pod is.
    restarts: u64,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "apps", resource: "deployments", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "statefulsets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "daemonsets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "", resource: "pods", verbs: &["list"] },
];

fn patch(target: &Target, restarts: u64) -> Value {
    let metadata = json!({"annotations": {RESTARTS: restarts.to_string()}});
    json!({"metadata": {"uid": target.uid}, "spec": {"template": {"metadata": metadata}}})
}

/// What the count of a workload is.
pub(crate) fn restarts(workload: &Value) -> u64 {
    workload.pointer("/spec/template").map_or(0, |template| counted(template, RESTARTS))
}

/// Notes in a plan that the pods of a workload are replaced.
pub(crate) async fn plan_restart<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    id: &str,
    target: &Target,
) -> Result<u64, ActionError> {
    let object = target.read(api, &ROLLED).await?;
    if let Some(reason) = refusal(&object) {
        return Err(ActionError::denied(format!("{target} cannot be restarted: {reason}")));
    }
    let count = restarts(&object).saturating_add(1);
    plan_patch(api, plan, id, target.place(&ROLLED)?, (&object, &patch(target, count))).await?;
    if let Some(change) = plan.changes.last_mut() {
        change.irreversible = Some("pods that were replaced do not come back".to_owned());
        change.loses = Some(format!("of the pods that go: {LOST}"));
    }
    Ok(count)
}

/// Makes the controller replace the pods.
pub(crate) async fn restart(api: &Api, permit: &Permit, target: &Target, count: u64) -> Result<(), ActionError> {
    let object = target.read(api, &ROLLED).await?;
    if restarts(&object) >= count {
        return Ok(());
    }
    api.patch(permit, target.place(&ROLLED)?, &patch(target, count)).await.map(drop).map_err(refused)
}

/// Whether the pods are those that were made since.
pub(crate) async fn prove_restart(
    api: &Api,
    target: &Target,
    restarts: u64,
    within: Period,
) -> Result<Proof, ActionError> {
    let new = |pod: &Value| {
        if counted(pod, RESTARTS) >= restarts { Ok(()) } else { Err("it is of before the restart".to_owned()) }
    };
    observe(api, target, within.duration(), new).await
}

#[async_trait]
impl Action for Restart {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "workload.restart",
            summary: "Replace every pod of a workload by a new one",
            description: "Counts up an annotation of the pod template of a Deployment, StatefulSet or DaemonSet, so \
                          that its controller replaces the pods by its own strategy: they read Secrets anew, and get \
                          new tokens. What is in the old pods is lost, so keep the evidence first. It is proved by \
                          looking at each pod: it bears the new count and is ready. A workload that is paused, or \
                          whose strategy is OnDelete, is refused.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-RS"],
            undo: Undo::No("pods that were replaced do not come back"),
            repeat: Repeat::Safe,
            example: "- id: restart\n  uses: workload.restart\n  with:\n    target: {apiVersion: apps/v1, kind: \
                      Deployment, namespace: shop, name: web, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(
            &api,
            &mut plan,
            &of_kind(PERMISSIONS, &ROLLED, target.place(&ROLLED)?.resource),
            target.namespace.as_deref(),
        )
        .await?;
        let count = plan_restart(&api, &mut plan, "template", target).await?;
        plan.remember(&count)?;
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
        let restarts = plan.recall()?;
        let change = async |permit: Permit| restart(&api, &permit, &inputs.target, restarts).await;
        writes.write("template", Inverse::None, change).await?;
        Ok(Outputs { restarts })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        prove_restart(&api, &inputs.target, outputs.restarts, inputs.within).await
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
