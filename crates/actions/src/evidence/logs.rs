//! `evidence.logs`.

use async_trait::async_trait;
use lifeboat_kubernetes::{LogOptions, ObjectPath};
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::objects::clocks;
use super::{EvidenceFolder, Outputs, prove, save};
use crate::api::{Api, Connection, refused};
use crate::fields::{items, text};
use crate::planning::review;
use crate::resources::POD;
use crate::target::Target;

/// The most that is kept of one log, unless it is said.
const LOG_BYTES: u32 = 8 * 1024 * 1024;

/// The action `evidence.logs`.
#[derive(Debug)]
pub(crate) struct Logs {
    connection: Connection,
    folder: EvidenceFolder,
}

impl Logs {
    pub(crate) fn new(connection: Connection, folder: EvidenceFolder) -> Self {
        Self { connection, folder }
    }
}

fn yes() -> bool {
    true
}

fn log_bytes() -> u32 {
    LOG_BYTES
}

/// Of what, and how much.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A pod, as `target.resolve` gives it.
    target: Target,
    /// Of containers that were restarted, also what they wrote before.
    #[serde(default = "yes")]
    previous: bool,
    /// The most that is kept of each log, in bytes, from its beginning.
    #[serde(default = "log_bytes")]
    #[schemars(range(min = 1, max = 33_554_432))]
    max_bytes: u32,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get"] },
    Permission { group: "", resource: "pods/log", verbs: &["get"] },
];

/// The containers of a pod, each with whether it was restarted.
fn containers(pod: &Value) -> Vec<(String, bool)> {
    let kinds = [
        ("/spec/initContainers", "/status/initContainerStatuses"),
        ("/spec/containers", "/status/containerStatuses"),
        ("/spec/ephemeralContainers", "/status/ephemeralContainerStatuses"),
    ];
    let of_kind = |(spec, status): (&'static str, &'static str)| {
        items(pod, spec).map(move |container| {
            let name = text(container, "/name");
            let status = items(pod, status).find(|status| text(status, "/name") == name);
            let restarts = status.and_then(|status| status.get("restartCount")).and_then(Value::as_u64);
            (name.to_owned(), restarts.unwrap_or(0) > 0)
        })
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

#[async_trait]
impl Action for Logs {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "evidence.logs",
            summary: "Keep the logs of every container of a pod",
            description: "Reads the log of each container, init and ephemeral ones included, and of restarted ones \
                          also that of the instance before, with times. Each is saved with its SHA-256. The kubelet of \
                          the pod's node is asked through the API server: where it does not answer, nothing can be \
                          had, and the step is `failed`. Where some logs could not be had, or one was longer than \
                          `maxBytes`, that is named and the step is `unverified`.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-FA"],
            undo: Undo::No("evidence is only added; nothing in the cluster is changed"),
            repeat: Repeat::Safe,
            example: "- id: logs\n  uses: evidence.logs\n  with:\n    target: {apiVersion: v1, kind: Pod, \
                      namespace: shop, name: web-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let pod = inputs.target.read(&api, &[&POD]).await?;
        let mut plan = StepPlan { changes: vec![save(&inputs.target, "logs")], ..StepPlan::default() };
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
        writes.write("save", Inverse::None, async |permit| self.keep(&permit, &api, inputs, &pod, context).await).await
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        prove(&self.folder, outputs, context).await
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Logs {
    async fn keep(
        &self,
        permit: &Permit,
        api: &Api,
        inputs: &Inputs,
        pod: &Value,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let mut outputs = Outputs::default();
        let mut last = None;
        for (container, restarted) in containers(pod) {
            for previous in [false, true].into_iter().take(if restarted && inputs.previous { 2 } else { 1 }) {
                let before = if previous { ", before its last restart" } else { "" };
                let what = format!("log of container {container}{before}");
                let options = LogOptions { container: &container, previous, limit: inputs.max_bytes };
                let kind = POD.resource_type();
                let target = &inputs.target;
                let path = ObjectPath { resource: &kind, namespace: target.namespace.as_deref(), name: &target.name };
                let bytes = match api.cluster.logs(path, options).await {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        let error = refused(error);
                        outputs.missing.push(format!("{what}: {}", error.chain()));
                        last = Some(error);
                        continue;
                    }
                };
                if bytes.len() >= usize::try_from(inputs.max_bytes).unwrap_or(usize::MAX) {
                    outputs.missing.push(format!("{what}, after its first {} bytes", bytes.len()));
                }
                let file = format!("{container}{}.log", if previous { ".previous" } else { "" });
                outputs.evidence.push(self.folder.put(permit, context, (&file, what), bytes).await?);
            }
        }
        match last {
            Some(error) if outputs.evidence.is_empty() => {
                Err(ActionError::failed(format!("no log of {} could be read", inputs.target)).because(error))
            }
            _ => Ok(outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_container_has_a_log() {
        let pod = json!({
            "spec": {
                "initContainers": [{"name": "init"}],
                "containers": [{"name": "web"}, {"name": "side"}],
                "ephemeralContainers": [{"name": "debug"}],
            },
            "status": {"containerStatuses": [{"name": "web", "restartCount": 2}, {"name": "side", "restartCount": 0}]},
        });
        let found = containers(&pod);
        let names: Vec<(&str, bool)> = found.iter().map(|(name, restarted)| (name.as_str(), *restarted)).collect();
        assert_eq!(names, [("init", false), ("web", true), ("side", false), ("debug", false)]);
    }
}
