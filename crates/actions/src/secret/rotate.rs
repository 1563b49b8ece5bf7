//! `secret.rotate`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::consumers;
use super::rotation::{Rotation, value};
use super::value::{NewValue, Random};
use crate::api::{Api, Connection, Place};
use crate::fields::{controller, reference, text};
use crate::planning::review;
use crate::resources::SECRET;
use crate::target::Target;
use crate::workload::{ROLLED, four_minutes, plan_restart, prove_restart, restart, restarts};

/// The action `secret.rotate`.
#[derive(Debug)]
pub(crate) struct Rotate {
    connection: Connection,
    random: Random,
}

impl Rotate {
    pub(crate) fn new(connection: Connection, random: Random) -> Self {
        Self { connection, random }
    }
}

/// Which Secret, and which of its keys.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// The Secret's namespace.
    namespace: String,
    /// The Secret's name.
    name: String,
    /// The keys that get new values, each `{key, length}` or `{key, file}`. The others stay as they are.
    #[schemars(length(min = 1, max = 100))]
    keys: Vec<NewValue>,
    /// Restart the deployments, stateful sets and daemon sets whose pods read it.
    #[serde(default)]
    restart: bool,
    /// How long to wait for their new pods, each.
    #[serde(default = "four_minutes")]
    within: Period,
}

/// What was rotated.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The Secret beside it that has the old values.
    copy: String,
    /// The workloads whose pods read the Secret.
    consumers: Vec<Target>,
    /// Pods that read it and that nothing here can restart.
    others: Vec<String>,
}

/// What `apply` has to know of what `plan` saw.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    rotation: Rotation,
    consumers: Vec<Target>,
    /// What the count of each consumer is to be, in their order; none where they are left alone.
    restarts: Vec<u64>,
}

/// What undoes one write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Undone {
    /// The copy is not needed any more.
    Copy(Rotation),
    /// The old values are to be there.
    Values(Rotation),
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "secrets", verbs: &["get", "create", "patch", "delete"] },
    Permission { group: "", resource: "pods", verbs: &["list"] },
    Permission { group: "apps", resource: "deployments", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "statefulsets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "daemonsets", verbs: &["get", "list", "watch", "patch"] },
];

const DESCRIPTION: &str = "\
Puts new values into keys of a Secret: random letters and digits, or what is in a file. Values are in no plan, no journal \
and no log. The old ones are kept in an immutable Secret beside it, `NAME-before-N`, which only those may read who could \
read the Secret; delete it when it is not needed any more.

**Whatever checks the secret has to learn the new value too**: the database, the cloud, the other party. That is not done \
here. A value that nobody revoked where it is checked is as good to the thief as before.

The plan names the workloads whose pods read the Secret, by environment, volume or as a pull secret, and with `restart` \
replaces their pods. It is proved that the Secret has values other than the copy's, and that every pod of these \
workloads was made afterwards. Without `restart`, pods may still hold the old value, and the step is `unverified`; so it \
is where bare pods or jobs read the Secret.

Tokens of service accounts (`serviceaccount.revoke`) and immutable Secrets are refused. A rollback puts the old values \
back from the copy and deletes it, unless somebody else has rotated since; restart the consumers again then.";

#[async_trait]
impl Action for Rotate {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "secret.rotate",
            summary: "Put new values into a Secret, and restart who reads it",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1552.007"],
            defend: &["D3-CRO"],
            undo: Undo::Partly("the old values come back; pods that were restarted do not"),
            repeat: Repeat::Safe,
            example: "- id: rotate\n  uses: secret.rotate\n  with: {namespace: shop, name: db, keys: [{key: password, \
                      length: 40}], restart: true}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let secret = read(&api, inputs).await?;
        for new in &inputs.keys {
            new.check()?;
        }
        let mut plan = StepPlan { targets: vec![reference(&secret)], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, Some(&inputs.namespace)).await?;
        let rotation = Rotation::of(&secret, &inputs.keys);
        rotation.plan(&api, &mut plan, &secret, &inputs.keys).await?;
        let (consumers, others) = consumers::find(&api, &inputs.namespace, &inputs.name).await?;
        let mut restarts = Vec::new();
        for consumer in consumers.iter().filter(|_| inputs.restart) {
            plan.targets.push(consumer.reference());
            restarts.push(plan_restart(&api, &mut plan, &restart_id(consumer), consumer).await?);
        }
        let left: Vec<String> = consumers.iter().filter(|_| !inputs.restart).map(ToString::to_string).collect();
        if !left.is_empty() {
            plan.warnings.push(format!("these may hold the old value until they are restarted: {}", left.join(", ")));
        }
        if !others.is_empty() {
            plan.warnings.push(format!("pods that read it and cannot be restarted here: {}", others.join(", ")));
        }
        if let Some(owner) = controller(&secret) {
            plan.warnings.push(format!("{owner} controls the Secret, and may write it again"));
        }
        plan.warnings.push("whatever checks the secret has to learn the new value too".to_owned());
        plan.remember(&Memo { rotation, consumers, restarts })?;
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
        let Memo { rotation, consumers, restarts } = plan.recall()?;
        let copy = async |permit: Permit| rotation.keep(&api, &permit).await;
        writes.write("copy", Inverse::By(Undone::Copy(rotation.clone())), copy).await?;
        let give = async |permit: Permit| rotation.give(&api, &permit, &inputs.keys, self.random).await;
        writes.write("values", Inverse::By(Undone::Values(rotation.clone())), give).await?;
        for (consumer, count) in consumers.iter().zip(restarts) {
            let again = async |permit: Permit| restart(&api, &permit, consumer, count).await;
            writes.write(&restart_id(consumer), Inverse::None, again).await?;
        }
        let (_, others) = consumers::find(&api, &inputs.namespace, &inputs.name).await?;
        Ok(Outputs { copy: rotation.copy(), consumers, others })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let place = Place::new(&SECRET, Some(&inputs.namespace), &inputs.name);
        let copy = api.get(Place::new(&SECRET, Some(&inputs.namespace), &outputs.copy)).await?.unwrap_or_default();
        let now = api.get(place).await?.unwrap_or_default();
        let is_new = |new: &NewValue| value(&now, &new.key).is_some_and(|now| Some(now) != value(&copy, &new.key));
        if let Some(same) = inputs.keys.iter().find(|new| !is_new(new)) {
            let key = &same.key;
            return Ok(Proof::NotObserved(format!("'{key}' of {place} has no value other than it had")));
        }
        let mut seen = vec![format!("{} keys of {place} have values that the copy does not", inputs.keys.len())];
        for consumer in outputs.consumers.iter().filter(|_| inputs.restart) {
            let object = consumer.read(&api, &ROLLED).await?;
            match prove_restart(&api, consumer, restarts(&object), inputs.within).await? {
                Proof::Observed(words) => seen.push(words),
                Proof::NotObserved(words) => return Ok(Proof::NotObserved(words)),
            }
        }
        let mut left: Vec<String> = outputs.others.iter().map(|pod| format!("Pod {pod}")).collect();
        left.extend(outputs.consumers.iter().filter(|_| !inputs.restart).map(ToString::to_string));
        let seen = seen.join("; ");
        Ok(if left.is_empty() {
            Proof::Observed(seen)
        } else {
            Proof::NotObserved(format!("{seen}; these may hold the old value: {}", left.join(", ")))
        })
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        match inverse {
            Undone::Values(rotation) => rotation.give_back(&api, permit).await,
            Undone::Copy(rotation) => rotation.forget(&api, permit).await,
        }
    }
}

fn restart_id(consumer: &Target) -> String {
    format!("restart {} {}", consumer.kind, consumer.name)
}

/// The Secret, if it may be rotated.
async fn read(api: &Api, inputs: &Inputs) -> Result<Value, ActionError> {
    let place = Place::new(&SECRET, Some(&inputs.namespace), &inputs.name);
    let secret = api.get(place).await?.ok_or_else(|| ActionError::denied(format!("{place} is not there")))?;
    if text(&secret, "/type") == "kubernetes.io/service-account-token" {
        return Err(ActionError::denied(format!("{place} is a token: serviceaccount.revoke is for those")));
    }
    if secret.get("immutable") == Some(&Value::Bool(true)) {
        return Err(ActionError::denied(format!("{place} is immutable")));
    }
    if let Some(unknown) = inputs.keys.iter().find(|new| value(&secret, &new.key).is_none()) {
        return Err(ActionError::denied(format!("{place} has no key '{}'", unknown.key)));
    }
    let mut keys: Vec<&str> = inputs.keys.iter().map(|new| new.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() < inputs.keys.len() {
        return Err(ActionError::denied("a key is named twice"));
    }
    Ok(secret)
}
