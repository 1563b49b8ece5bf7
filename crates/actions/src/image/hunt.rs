//! `image.hunt`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, NoInverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{images_of, is_image, is_one_of};
use crate::api::{Api, Connection};
use crate::fields::{has_ended, name, namespace};
use crate::planning::review;
use crate::resources::POD;
use crate::target::Target;

/// How many pods that came later are named.
const NAMED: usize = 10;

/// The action `image.hunt`.
#[derive(Debug)]
pub(crate) struct Hunt {
    connection: Connection,
}

impl Hunt {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

fn hundred() -> u32 {
    100
}

/// What is looked for, and where.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// Images: a digest, a name with a tag, or a name for all its tags.
    #[schemars(length(min = 1, max = 100))]
    images: Vec<String>,
    /// The namespaces. Without any, all.
    #[serde(default)]
    #[schemars(length(max = 100))]
    namespaces: Vec<String>,
    /// The most pods that are given. That there are more is told, and the step is then `unverified`.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The pods that run one of the images, by namespace and name.
    pods: Vec<Target>,
    /// How many there are in all.
    count: u64,
}

const PERMISSIONS: &[Permission] = &[Permission { group: "", resource: "pods", verbs: &["list"] }];

fn runs(pod: &Value, images: &[String]) -> bool {
    // What has ended does nothing any more.
    !has_ended(pod) && images_of(pod).into_iter().any(|image| is_one_of(image, images))
}

/// The namespaces to look in, each once; `None` for all of them.
fn places(inputs: &Inputs) -> Vec<Option<&str>> {
    let mut places: Vec<Option<&str>> = inputs.namespaces.iter().map(|name| Some(name.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    if places.is_empty() {
        places.push(None);
    }
    places
}

async fn hunt(api: &Api, inputs: &Inputs) -> Result<Outputs, ActionError> {
    let mut found = Vec::new();
    for place in places(inputs) {
        let mut pods = api.list(&POD, place).await?;
        pods.retain(|pod| runs(pod, &inputs.images));
        found.extend(pods);
    }
    found.sort_by_cached_key(|pod| (namespace(pod).map(str::to_owned), name(pod).to_owned()));
    let pods = found.iter().take(inputs.limit as usize).map(Target::of).collect();
    Ok(Outputs { pods, count: found.len() as u64 })
}

#[async_trait]
impl Action for Hunt {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "image.hunt",
            summary: "Find every pod that runs an image",
            description: "Looks through the pods of all namespaces, or of some, for images by digest or by name: in \
                          what their containers ask for, init and ephemeral ones included, and in what the kubelet \
                          says that they run. A digest finds only pods whose image is known by it. Pods that have \
                          ended are left out. Later steps take `steps.ID.pods` by `forEach`. What the plan found is \
                          what later steps act on; when other pods have come since, or there are more than `limit`, \
                          they are named and the step is `unverified`.",
            permissions: PERMISSIONS,
            attack: &["T1525", "T1204.003"],
            defend: &["D3-SWI"],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: hunt\n  uses: image.hunt\n  with: {images: [\"registry.example.com/web:2\"], limit: 50}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        if let Some(wrong) = inputs.images.iter().find(|image| !is_image(image)) {
            return Err(ActionError::denied(format!("'{wrong}' is no image")));
        }
        let api = self.connection.api().await?;
        let mut missing = StepPlan::<Outputs>::default();
        for namespace in places(inputs) {
            review(&api, &mut missing, PERMISSIONS, namespace).await?;
        }
        let outputs = hunt(&api, inputs).await?;
        let more = outputs.count.saturating_sub(outputs.pods.len() as u64);
        let mut plan = StepPlan { missing: missing.missing, ..StepPlan::of_outputs(outputs) };
        if more > 0 {
            plan.warnings.push(format!("{more} more pods run it than the limit allows"));
        }
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        match &plan.outputs {
            Some(planned) => Ok(planned.clone()),
            None => hunt(&self.connection.api().await?, inputs).await,
        }
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let now = hunt(&self.connection.api().await?, inputs).await?;
        let is_known = |pod: &&Target| outputs.pods.iter().any(|known| known.uid == pod.uid);
        let new: Vec<String> =
            now.pods.iter().filter(|pod| !is_known(pod)).take(NAMED).map(ToString::to_string).collect();
        let given = outputs.pods.len() as u64;
        Ok(if !new.is_empty() {
            Proof::NotObserved(format!("pods that the plan did not have run it too: {}", new.join(", ")))
        } else if outputs.count > given {
            Proof::NotObserved(format!("{} pods run it, and the first {given} were taken", outputs.count))
        } else {
            Proof::Observed(format!("{} pods were found; a second look found no other", outputs.count))
        })
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
