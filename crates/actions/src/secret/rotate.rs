//! `secret.rotate`.

use async_trait::async_trait;
use lifeboat_kubernetes::Error;
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, ObjectRef, Period, Permission, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::consumers;
use super::value::{NewValue, Random};
use crate::api::{Api, Connection, Place, refused};
use crate::fields::{controller, reference, text, uid};
use crate::planning::review;
use crate::resources::SECRET;
use crate::target::Target;
use crate::workload::{plan_restart, prove_restart, restart};

/// How often a Secret was given new values by this action.
const ROTATIONS: &str = "lifeboat.dev/rotations";
/// Of which Secret something is a copy, by its UID.
const COPY_OF: &str = "lifeboat.dev/copy-of";
/// What is shown of a value.
const HIDDEN: &str = "(not shown)";

/// The action `secret.rotate`.
#[derive(Debug)]
pub(crate) struct Rotate {
    connection: Connection,
    random: Random,
    /// Whether a value may come from a file.
    local_files: bool,
}

impl Rotate {
    pub(crate) fn new(connection: Connection, random: Random, local_files: bool) -> Self {
        Self { connection, random, local_files }
    }
}

fn four_minutes() -> Period {
    Period::seconds(240)
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

/// One rotation of one Secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rotation {
    namespace: String,
    name: String,
    uid: String,
    keys: Vec<String>,
    /// How many there were with this one.
    number: u64,
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
Puts new values into keys of a Secret: random letters and digits, or what is in a file (from the command line alone). Values are in no plan, no journal \
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
            new.check(self.local_files)?;
        }
        let mut plan = StepPlan { targets: vec![reference(&secret)], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, Some(&inputs.namespace)).await?;
        let rotation = Rotation {
            namespace: inputs.namespace.clone(),
            name: inputs.name.clone(),
            uid: uid(&secret).to_owned(),
            keys: inputs.keys.iter().map(|new| new.key.clone()).collect(),
            number: rotations(&secret) + 1,
        };
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
        plan.memo = serde_json::to_value(Memo { rotation, consumers, restarts })
            .map_err(|error| ActionError::failed("no memo").because(error))?;
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
        let Memo { rotation, consumers, restarts } = serde_json::from_value(plan.memo.clone())
            .map_err(|error| ActionError::failed("the plan is not of this action").because(error))?;
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
            let object = consumer.read(&api, &crate::workload::ROLLED).await?;
            match prove_restart(&api, consumer, crate::workload::restarts(&object), inputs.within).await? {
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

fn rotations(secret: &Value) -> u64 {
    let key = ROTATIONS.replace('/', "~1");
    text(secret, &format!("/metadata/annotations/{key}")).parse().unwrap_or(0)
}

fn value<'a>(secret: &'a Value, key: &str) -> Option<&'a str> {
    secret.get("data").and_then(|data| data.get(key)).and_then(Value::as_str)
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

impl Rotation {
    fn copy(&self) -> String {
        // A name has at most 253 bytes, all of them ASCII.
        let name: String = self.name.chars().take(220).collect();
        format!("{name}-before-{}", self.number)
    }

    fn place(&self) -> Place<'_> {
        Place::new(&SECRET, Some(&self.namespace), &self.name)
    }

    fn is_copy(&self, found: &Value) -> bool {
        text(found, "/metadata/annotations/lifeboat.dev~1copy-of") == self.uid
    }

    fn copied(&self, secret: &Value) -> Value {
        let labels = json!({"app.kubernetes.io/managed-by": "lifeboat"});
        let metadata = json!({
            "name": self.copy(), "namespace": self.namespace, "labels": labels, "annotations": {COPY_OF: self.uid},
        });
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "immutable": true,
            "data": secret.get("data"),
        })
    }

    fn patch(&self, values: &Map<String, Value>, number: u64, version: &str) -> Value {
        let count = if number == 0 { Value::Null } else { number.to_string().into() };
        let metadata = json!({"uid": self.uid, "resourceVersion": version, "annotations": {ROTATIONS: count}});
        json!({"metadata": metadata, "data": values})
    }

    /// Notes the two writes, by dry runs, and without any value.
    async fn plan<O>(
        &self,
        api: &Api,
        plan: &mut StepPlan<O>,
        secret: &Value,
        keys: &[NewValue],
    ) -> Result<(), ActionError> {
        let copy = self.copy();
        let place = Place::new(&SECRET, Some(&self.namespace), &copy);
        if api.get(place).await?.is_some() {
            return Err(ActionError::denied(format!("{place} is there already")));
        }
        let allowed = |answer: Result<(Value, Vec<String>), Error>| match answer {
            Ok(_) | Err(Error::Forbidden { .. }) => Ok(()),
            Err(error) => Err(refused(error)),
        };
        allowed(api.dry_create(place, &self.copied(secret)).await)?;
        let same: Map<String, Value> = self.keys.iter().map(|key| (key.clone(), json!(value(secret, key)))).collect();
        let version = text(secret, "/metadata/resourceVersion");
        allowed(api.dry_patch(self.place(), &self.patch(&same, self.number, version)).await)?;
        let hidden = |words: &dyn Fn(&NewValue) -> String| {
            keys.iter().map(|new| (new.key.clone(), words(new).into())).collect::<Map<String, Value>>()
        };
        let old = json!({"data": hidden(&|_| HIDDEN.to_owned())});
        let object = ObjectRef { name: copy, uid: None, ..reference(secret) };
        plan.changes.push(Change::new("copy", "create", object, &Value::Null, &old));
        let new = json!({"data": hidden(&NewValue::words)});
        plan.changes.push(Change::new("values", "patch", reference(secret), &old, &new));
        Ok(())
    }

    /// Keeps the old values.
    async fn keep(&self, api: &Api, permit: &Permit) -> Result<(), ActionError> {
        let copy = self.copy();
        let place = Place::new(&SECRET, Some(&self.namespace), &copy);
        let secret = api.get_same(self.place(), &self.uid).await?;
        if rotations(&secret) >= self.number {
            // Before a kill, this run had come further; or somebody else did the same.
            let found = api.get(place).await?.is_some_and(|found| self.is_copy(&found));
            return if found { Ok(()) } else { Err(ActionError::denied("somebody else rotated it since the plan")) };
        }
        match api.create(permit, place, &self.copied(&secret)).await {
            Ok(_) => Ok(()),
            // Ours, of before the run was killed.
            Err(Error::AlreadyExists { .. }) => match api.get(place).await? {
                Some(found) if self.is_copy(&found) && found.get("data") == secret.get("data") => Ok(()),
                _ => Err(ActionError::denied(format!("{place} is there, and is not the copy"))),
            },
            Err(error) => Err(refused(error)),
        }
    }

    /// Gives new values, to exactly what was copied.
    async fn give(&self, api: &Api, permit: &Permit, keys: &[NewValue], random: Random) -> Result<(), ActionError> {
        let secret = api.get_same(self.place(), &self.uid).await?;
        if rotations(&secret) >= self.number {
            return Ok(());
        }
        let copy = self.copy();
        let kept = api.get(Place::new(&SECRET, Some(&self.namespace), &copy)).await?;
        if kept.as_ref().and_then(|kept| kept.get("data")) != secret.get("data") {
            return Err(ActionError::denied(format!("{} was changed since it was copied", self.place())));
        }
        let mut values = Map::new();
        for new in keys {
            values.insert(new.key.clone(), new.make(random)?.into());
        }
        let version = text(&secret, "/metadata/resourceVersion");
        api.patch(permit, self.place(), &self.patch(&values, self.number, version)).await.map(drop).map_err(refused)
    }

    async fn give_back(&self, api: &Api, permit: &Permit) -> Result<Proof, ActionError> {
        let place = self.place();
        let Some(secret) = api.get(place).await?.filter(|secret| uid(secret) == self.uid) else {
            return Ok(Proof::Observed(format!("{place} is gone, and has no values to put back")));
        };
        let now = rotations(&secret);
        if now > self.number {
            return Ok(Proof::NotObserved(format!("somebody else rotated {place} since, which was left")));
        }
        if now < self.number {
            return Ok(Proof::Observed(format!("{place} has its old values")));
        }
        let copy = self.copy();
        let Some(kept) = api.get(Place::new(&SECRET, Some(&self.namespace), &copy)).await? else {
            return Ok(Proof::NotObserved(format!("the copy {copy} is gone, and with it the old values")));
        };
        let values = self.keys.iter().map(|key| (key.clone(), json!(value(&kept, key)))).collect();
        let version = text(&secret, "/metadata/resourceVersion");
        let patch = self.patch(&values, self.number.saturating_sub(1), version);
        api.patch(permit, place, &patch).await.map_err(refused)?;
        let found = api.get_same(place, &self.uid).await?;
        Ok(if self.keys.iter().all(|key| value(&found, key) == value(&kept, key)) {
            Proof::Observed(format!("{place} has its old values; who reads it may hold the others until restarted"))
        } else {
            Proof::NotObserved(format!("{place} does not have its old values"))
        })
    }

    /// Deletes the copy, once it is not all that is left of the old values.
    async fn forget(&self, api: &Api, permit: &Permit) -> Result<Proof, ActionError> {
        let copy = self.copy();
        let place = Place::new(&SECRET, Some(&self.namespace), &copy);
        let Some(found) = api.get(place).await?.filter(|found| self.is_copy(found)) else {
            return Ok(Proof::Observed(format!("{place} is gone")));
        };
        let secret = api.get(self.place()).await?.filter(|secret| uid(secret) == self.uid);
        if secret.is_none_or(|secret| rotations(&secret) >= self.number) {
            return Ok(Proof::NotObserved(format!("{place} is all that is left of the old values, and was kept")));
        }
        match api.delete(permit, place, uid(&found), None).await {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(refused(error)),
        }
        Ok(match api.get(place).await? {
            None => Proof::Observed(format!("{place} is gone")),
            Some(_) => Proof::NotObserved(format!("{place} is still there")),
        })
    }
}
