//! Steps that set fields of one object: they remember what was there, and put it back.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Api, Connection, refused};
use crate::fields::merged;
use crate::planning::{plan_patch, review};
use crate::resources::Resource;
use crate::target::Target;

/// What such a step is.
#[async_trait]
pub(crate) trait Switch: Send + Sync + 'static {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const DESCRIPTION: &'static str;
    const PERMISSIONS: &'static [Permission];
    const ATTACK: &'static [&'static str];
    const DEFEND: &'static [&'static str];
    const EXAMPLE: &'static str;

    fn resource() -> &'static Resource;

    /// The fields, by their paths, and what they are to be.
    fn fields() -> Vec<(&'static [&'static str], Value)>;

    /// What a person should know of this object.
    fn warnings(object: &Value) -> Vec<String>;

    /// What is seen besides of the fields themselves, when all of them are set.
    async fn seen(api: &Api, object: &Value) -> Result<Proof, ActionError>;
}

/// The action of a switch.
#[derive(Debug)]
pub(crate) struct Set<S> {
    connection: Connection,
    switch: std::marker::PhantomData<fn() -> S>,
}

impl<S> Set<S> {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, switch: std::marker::PhantomData }
    }
}

/// Which object.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// The object, as `target.resolve` gives it.
    target: Target,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// Whether anything had to be changed.
    changed: bool,
}

/// What undoes the write: what the fields were, in their order; null where there was none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    target: Target,
    before: Vec<Value>,
}

fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |object, member| object.get(member)).filter(|value| !value.is_null())
}

/// The patch that sets a field; null takes it away.
fn setting(path: &[&str], value: Value) -> Value {
    path.iter().rev().fold(value, |value, member| json!({*member: value}))
}

fn are_set<S: Switch>(object: &Value) -> bool {
    S::fields().iter().all(|(path, wanted)| at(object, path) == Some(wanted))
}

fn patch_of<S: Switch>() -> Value {
    S::fields().into_iter().fold(json!({}), |patch, (path, wanted)| merged(&patch, &setting(path, wanted)))
}

#[async_trait]
impl<S: Switch> Action for Set<S> {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: S::NAME,
            summary: S::SUMMARY,
            description: S::DESCRIPTION,
            permissions: S::PERMISSIONS,
            attack: S::ATTACK,
            defend: S::DEFEND,
            undo: Undo::Yes,
            repeat: Repeat::Safe,
            example: S::EXAMPLE,
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let object = target.read(&api, &[S::resource()]).await?;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, S::PERMISSIONS, target.namespace.as_deref()).await?;
        if are_set::<S>(&object) {
            plan.warnings.push(format!("{target} is so already"));
        } else {
            let place = target.place(&[S::resource()])?;
            plan_patch(&api, &mut plan, "fields", place, (&object, &patch_of::<S>())).await?;
        }
        plan.warnings.extend(S::warnings(&object));
        let before: Vec<Value> =
            S::fields().iter().map(|(path, _)| at(&object, path).cloned().unwrap_or_default()).collect();
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
        let target = &inputs.target;
        if plan.changes.is_empty() {
            return Ok(Outputs { changed: false });
        }
        let place = target.place(&[S::resource()])?;
        let before: Vec<Value> = plan.recall()?;
        let set = async |permit: Permit| {
            let patch = merged(&patch_of::<S>(), &json!({"metadata": {"uid": target.uid}}));
            api.patch(&permit, place, &patch).await.map(drop).map_err(refused)
        };
        writes.write("fields", Inverse::By(Undone { target: target.clone(), before }), set).await?;
        Ok(Outputs { changed: true })
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let object = target.read(&api, &[S::resource()]).await?;
        if !are_set::<S>(&object) {
            return Ok(Proof::NotObserved(format!("{target} is not as it was set; somebody else changed it")));
        }
        S::seen(&api, &object).await
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let Undone { target, before } = inverse;
        let place = target.place(&[S::resource()])?;
        let Some(found) = api.find(place, &target.uid).await? else {
            return Ok(Proof::Observed(format!("{target} is gone, and has nothing to put back")));
        };
        let mut patch = json!({"metadata": {"uid": target.uid}});
        let mut left = Vec::new();
        for ((path, wanted), before) in S::fields().into_iter().zip(before) {
            let now = at(&found, path);
            if now == Some(&wanted) {
                patch = merged_keeping_nulls(patch, setting(path, before));
            } else if now.cloned().unwrap_or_default() != before {
                left.push(path.join("."));
            }
        }
        api.patch(permit, place, &patch).await.map_err(refused)?;
        let object = target.read(&api, &[S::resource()]).await?;
        Ok(if !left.is_empty() {
            Proof::NotObserved(format!("somebody else changed {} of {target}, which was left", left.join(", ")))
        } else if are_set::<S>(&object) {
            Proof::NotObserved(format!("{target} is still as it was set"))
        } else {
            Proof::Observed(format!("{target} is as it was before"))
        })
    }
}

/// Two patches as one; a null in either takes a member away.
fn merged_keeping_nulls(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            for (key, value) in second {
                let before = first.remove(&key).unwrap_or_default();
                let value = if before.is_object() { merged_keeping_nulls(before, value) } else { value };
                first.insert(key, value);
            }
            Value::Object(first)
        }
        (_, second) => second,
    }
}
