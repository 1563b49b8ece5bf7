//! `workload.undo`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::revision::{Kept, Revision, current, is_of, revisions};
use super::rollout::{ROLLED, four_minutes, observe, refusal};
use crate::api::{Api, Connection};
use crate::fields::difference;
use crate::image::{images_of, is_image, is_one_of};
use crate::planning::{of_kind, plan_patch, review};
use crate::pod::LOST;
use crate::target::Target;
use crate::writing::{RACES, patch_as_read, raced};

/// The action `workload.undo`.
#[derive(Debug)]
pub(crate) struct UndoRollout {
    connection: Connection,
}

impl UndoRollout {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// What goes back to what.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A deployment, stateful set or daemon set, as `target.resolve` gives it.
    target: Target,
    /// The number of the revision, as `kubectl rollout history` has it. Without it, the newest before the present one.
    #[serde(default)]
    revision: Option<u64>,
    /// Images, by name or digest, that the revision must not have and no pod may run afterwards.
    #[serde(default)]
    #[schemars(length(max = 100))]
    without: Vec<String>,
    /// How long to wait for the new pods.
    #[serde(default = "four_minutes")]
    within: Period,
}

/// What it went back to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The number that the revision had.
    revision: u64,
    /// The images of its template.
    images: Vec<String>,
}

/// What undoes the write.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moved {
    target: Target,
    from: Kept,
    to: Kept,
}

/// What `apply` has to know of what `plan` saw.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    moved: Moved,
    outputs: Outputs,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "apps", resource: "deployments", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "statefulsets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "daemonsets", verbs: &["get", "list", "watch", "patch"] },
    Permission { group: "apps", resource: "replicasets", verbs: &["list"] },
    Permission { group: "apps", resource: "controllerrevisions", verbs: &["list"] },
    Permission { group: "", resource: "pods", verbs: &["list"] },
];

const DESCRIPTION: &str = "\
Gives a Deployment, StatefulSet or DaemonSet a pod template that it had before, from the ReplicaSets or \
ControllerRevisions that its controller keeps: the newest before the present one, or the one that `revision` names. With \
`without`, the newest that has none of these images. The controller replaces the pods by its own strategy; what is in the \
old ones is lost, so keep the evidence first. It is proved by looking at each pod: it is of that revision, ready, and runs \
none of the images.

Only the template goes back. What it refers to (Secrets, ConfigMaps, a tag of an image that was pushed over) is as it is \
now. Whatever else manages the workload, such as GitOps, may change it again. A rollback gives it the template that it \
had, from the controller's history, unless somebody else changed it since or the history does not have it any more.";

/// The revision that is wanted.
fn chosen<'a>(inputs: &Inputs, revisions: &'a [Revision], now: &Revision) -> Result<&'a Revision, ActionError> {
    let bad = |revision: &Revision| images_of(&revision.template).iter().any(|image| is_one_of(image, &inputs.without));
    let numbers = || revisions.iter().map(|revision| revision.number.to_string()).collect::<Vec<_>>().join(", ");
    let target = &inputs.target;
    match inputs.revision {
        Some(number) => {
            let found = revisions.iter().find(|revision| revision.number == number).ok_or_else(|| {
                ActionError::denied(format!("{target} has no revision {number}; there are: {}", numbers()))
            })?;
            if bad(found) {
                return Err(ActionError::denied(format!("revision {number} of {target} has an image of `without`")));
            }
            Ok(found)
        }
        None => {
            let mut older = revisions.iter().filter(|revision| revision.number < now.number);
            older.find(|revision| !bad(revision)).ok_or_else(|| {
                let all = numbers();
                ActionError::denied(format!("{target} has no earlier revision that would do; there are: {all}"))
            })
        }
    }
}

fn present<'a>(target: &Target, revisions: &'a [Revision], object: &Value) -> Result<&'a Revision, ActionError> {
    current(revisions, object)
        .ok_or_else(|| ActionError::transient(format!("the controller of {target} has not noted its present template")))
}

/// The patch that makes one template of another.
fn patch(object: &Value, wanted: &Value) -> Value {
    let template = object.pointer("/spec/template").cloned().unwrap_or_default();
    json!({"spec": {"template": difference(&template, wanted)}})
}

/// What became of giving a workload another template.
enum Given {
    Done,
    /// It has neither of the two.
    SomebodyElse,
    /// The history does not have it any more.
    Forgotten,
}

/// Gives a workload the template `to`, if it has `from`.
async fn give(api: &Api, permit: &Permit, target: &Target, from: &Kept, to: &Kept) -> Result<Given, ActionError> {
    for _ in 0..RACES {
        let object = target.read(api, &ROLLED).await?;
        let revisions = revisions(api, target).await?;
        match current(&revisions, &object) {
            Some(now) if now.kept == *to => return Ok(Given::Done),
            Some(now) if now.kept == *from => {}
            _ => return Ok(Given::SomebodyElse),
        }
        let Some(wanted) = revisions.iter().find(|revision| revision.kept == *to) else {
            return Ok(Given::Forgotten);
        };
        let change = (&object, &patch(&object, &wanted.template));
        if patch_as_read(api, permit, target.place(&ROLLED)?, change).await? {
            return Ok(Given::Done);
        }
    }
    Err(raced(target))
}

#[async_trait]
impl Action for UndoRollout {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Moved;

    fn statement(&self) -> Statement {
        Statement {
            name: "workload.undo",
            summary: "Give a workload the pod template that it had before",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1525"],
            defend: &["D3-RS"],
            undo: Undo::Partly("the template comes back; what was in the pods does not"),
            repeat: Repeat::Safe,
            example: "- id: back\n  uses: workload.undo\n  with:\n    without: [\"registry.example.com/web:2\"]\n    \
                      target: {apiVersion: apps/v1, kind: Deployment, namespace: shop, name: web, uid: \
                      2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        if let Some(wrong) = inputs.without.iter().find(|image| !is_image(image)) {
            return Err(ActionError::denied(format!("'{wrong}' is no image")));
        }
        let object = target.read(&api, &ROLLED).await?;
        if let Some(reason) = refusal(&object) {
            return Err(ActionError::denied(format!("{target} cannot go back: {reason}")));
        }
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(
            &api,
            &mut plan,
            &of_kind(PERMISSIONS, &ROLLED, target.place(&ROLLED)?.resource),
            target.namespace.as_deref(),
        )
        .await?;
        let revisions = revisions(&api, target).await?;
        let now = present(target, &revisions, &object)?;
        let wanted = chosen(inputs, &revisions, now)?;
        if wanted.kept == now.kept {
            plan.warnings.push(format!("{target} has revision {} already", wanted.number));
        } else {
            let place = target.place(&ROLLED)?;
            plan_patch(&api, &mut plan, "template", place, (&object, &patch(&object, &wanted.template))).await?;
            if let Some(change) = plan.changes.last_mut() {
                change.loses = Some(format!("of the pods that go: {LOST}"));
            }
        }
        let moved = Moved { target: target.clone(), from: now.kept.clone(), to: wanted.kept.clone() };
        let images = images_of(&wanted.template).into_iter().map(str::to_owned).collect();
        plan.remember(&Memo { moved, outputs: Outputs { revision: wanted.number, images } })?;
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        writes: &mut Writes<'_, Moved>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let Memo { moved, outputs } = plan.recall()?;
        if !plan.changes.is_empty() {
            let target = &inputs.target;
            let change = async |permit: Permit| match give(&api, &permit, target, &moved.from, &moved.to).await? {
                Given::Done => Ok(()),
                Given::SomebodyElse => Err(ActionError::denied(format!("{target} was changed since the plan"))),
                Given::Forgotten => Err(ActionError::denied(format!("the revision of {target} is gone"))),
            };
            writes.write("template", Inverse::By(moved.clone()), change).await?;
        }
        Ok(outputs)
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let object = target.read(&api, &ROLLED).await?;
        let revisions = revisions(&api, target).await?;
        let now = present(target, &revisions, &object)?;
        if images_of(&now.template) != outputs.images {
            return Ok(Proof::NotObserved(format!("somebody else changed {target}")));
        }
        let new = |pod: &Value| {
            if !is_of(pod, &now.kept) {
                return Err(format!("it is not of {}", now.kept.name));
            }
            match images_of(pod).into_iter().find(|image| is_one_of(image, &inputs.without)) {
                Some(image) => Err(format!("it runs {image}")),
                None => Ok(()),
            }
        };
        observe(&api, target, inputs.within.duration(), new).await
    }

    async fn undo(&self, inverse: Moved, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let Moved { target, from, to } = inverse;
        if api.find(target.place(&ROLLED)?, &target.uid).await?.is_none() {
            return Ok(Proof::Observed(format!("{target} is gone, and has no template to give back")));
        }
        Ok(match give(&api, permit, &target, &to, &from).await? {
            Given::SomebodyElse => Proof::NotObserved(format!("somebody else changed {target}, which was left")),
            Given::Forgotten => Proof::NotObserved(format!("{target} keeps no copy any more of what it had before")),
            Given::Done => {
                let object = target.read(&api, &ROLLED).await?;
                match current(&revisions(&api, &target).await?, &object) {
                    Some(now) if now.kept == from => {
                        Proof::Observed(format!("{target} has the template that it had, of {}", from.name))
                    }
                    _ => Proof::NotObserved(format!("{target} does not have the template that it had")),
                }
            }
        })
    }
}
