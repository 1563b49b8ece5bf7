//! `node.drain`.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use lifeboat_kubernetes::{Eviction, ObjectPath};
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, ObjectRef, Period, Permission, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::pods::{belongs_to_node, blocking, pods_on};
use crate::api::{Api, Connection, refused};
use crate::fields::{controller, items, reference, uid};
use crate::planning::{plan_patch, review};
use crate::resources::{DISRUPTION_BUDGET, NODE, POD};
use crate::target::Target;

/// The time between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(2);

/// The action `node.drain`.
#[derive(Debug)]
pub(crate) struct Drain {
    connection: Connection,
}

impl Drain {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

fn five_minutes() -> Period {
    Period::seconds(300)
}

/// Which node, and how patiently.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A node, as `target.resolve` gives it.
    target: Target,
    /// Pods to leave there, as `NAMESPACE/NAME`: those with evidence.
    #[serde(default)]
    keep: Vec<String>,
    /// How long to ask again where a disruption budget blocks, and how long to wait for the pods to be gone.
    #[serde(default = "five_minutes")]
    within: Period,
    /// Evict also pods that nothing owns, and that nothing makes again.
    #[serde(default)]
    unowned: bool,
}

/// What was evicted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The pods.
    evicted: Vec<ObjectRef>,
}

/// What undoes the cordon: what was there before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    target: Target,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "nodes", verbs: &["get", "patch"] },
    Permission { group: "", resource: "pods", verbs: &["list"] },
    Permission { group: "", resource: "pods/eviction", verbs: &["create"] },
    Permission { group: "policy", resource: "poddisruptionbudgets", verbs: &["list"] },
];

const DESCRIPTION: &str = "\
Cordons the node and then asks the API server to evict its pods, which disruption budgets may forbid: it is asked again \
until `within` is over, and a pod that stays is named with the budget that blocks it. Pods of DaemonSets and static pods \
are left, and those under `keep`. Pods that nothing owns are refused, unless `unowned` says that they may go for good.

Pods that come after the plan was made are not evicted, and named by the proof. A rollback uncordons the node; pods do not \
move back.";

fn is_cordoned(node: &Value) -> bool {
    node.pointer("/spec/unschedulable") == Some(&Value::Bool(true))
}

fn change_id(pod: &ObjectRef) -> String {
    format!("{}/{}", pod.namespace.as_deref().unwrap_or_default(), pod.name)
}

fn eviction(pod: &Value) -> Change {
    let object = reference(pod);
    let volatile = items(pod, "/spec/volumes").any(|volume| volume.get("emptyDir").is_some());
    let change = Change {
        id: change_id(&object),
        verb: "evict".to_owned(),
        object,
        fields: Vec::new(),
        irreversible: None,
        loses: None,
    };
    let change = change.irreversible("an evicted pod does not come back; its owner makes another one");
    if volatile { change.loses("its emptyDir volumes") } else { change }
}

impl Inputs {
    fn is_to_go(&self, pod: &Value) -> bool {
        !belongs_to_node(pod) && !self.keep.contains(&change_id(&reference(pod)))
    }
}

#[async_trait]
impl Action for Drain {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "node.drain",
            summary: "Move the pods of a node elsewhere, as their disruption budgets allow",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-PE"],
            undo: Undo::Partly("the node is uncordoned; evicted pods do not come back"),
            repeat: Repeat::Safe,
            example: "- id: drain\n  uses: node.drain\n  with:\n    keep: [shop/web-1]\n    within: 10m\n    target: \
                      {apiVersion: v1, kind: Node, name: worker-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let node = target.read(&api, &[&NODE]).await?;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, None).await?;
        if !is_cordoned(&node) {
            let patch = json!({"spec": {"unschedulable": true}});
            plan_patch(&api, &mut plan, "cordon", target.place(&[&NODE])?, (&node, &patch)).await?;
        }
        let pods = pods_on(&api, &target.name).await?;
        let (going, staying): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| inputs.is_to_go(pod));
        let named = |pods: &[&Value]| pods.iter().map(|pod| reference(pod).to_string()).collect::<Vec<_>>().join(", ");
        let unowned: Vec<&Value> = going.iter().copied().filter(|pod| controller(pod).is_none()).collect();
        if !unowned.is_empty() && !inputs.unowned {
            let pods = named(&unowned);
            return Err(ActionError::denied(format!(
                "nothing makes these pods again (keep them, or say unowned): {pods}"
            )));
        }
        if !staying.is_empty() {
            plan.warnings.push(format!("these pods stay: {}", named(&staying)));
        }
        plan.warnings.extend(blocked(&api, &going).await?);
        plan.changes.extend(going.into_iter().map(eviction));
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        writes: &mut Writes<'_, Undone>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        if plan.changes.iter().any(|change| change.id == "cordon") {
            let place = target.place(&[&NODE])?;
            let patch = json!({"metadata": {"uid": target.uid}, "spec": {"unschedulable": true}});
            let cordon = async |permit: Permit| api.patch(&permit, place, &patch).await.map(drop).map_err(refused);
            writes.write("cordon", Inverse::By(Undone { target: target.clone() }), cordon).await?;
        }
        let mut left: Vec<&Change> = plan.changes.iter().filter(|change| change.verb == "evict").collect();
        let mut evicted = Vec::new();
        let until = Instant::now() + inputs.within.duration();
        loop {
            let mut blocked = Vec::new();
            for change in left {
                if is_free(&api, &change.object).await? {
                    let evict = async |permit| evict(&api, &permit, &change.object).await;
                    writes.write(&change.id, Inverse::None, evict).await?;
                    evicted.push(change.object.clone());
                } else {
                    blocked.push(change);
                }
            }
            if blocked.is_empty() {
                return Ok(Outputs { evicted });
            }
            if Instant::now() >= until {
                return Err(ActionError::failed(format!("not drained: {}", why(&api, &blocked).await?.join("; "))));
            }
            left = blocked;
            context.sleep(PAUSE).await;
        }
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        let until = Instant::now() + inputs.within.duration();
        loop {
            let mut pods = pods_on(&api, &target.name).await?;
            pods.retain(|pod| inputs.is_to_go(pod));
            if pods.is_empty() {
                let node = target.read(&api, &[&NODE]).await?;
                return Ok(if is_cordoned(&node) {
                    Proof::Observed(format!("{target} is cordoned, and no pod is left on it that was to go"))
                } else {
                    Proof::NotObserved(format!("{target} is empty, but somebody uncordoned it"))
                });
            }
            if Instant::now() >= until {
                let names: Vec<String> = pods.iter().map(|pod| reference(pod).to_string()).collect();
                return Ok(Proof::NotObserved(format!("still on {target}: {}", names.join(", "))));
            }
            context.sleep(PAUSE).await;
        }
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let target = inverse.target;
        let place = target.place(&[&NODE])?;
        let found = api.get(place).await?.filter(|node| uid(node) == target.uid);
        let Some(node) = found else {
            return Ok(Proof::Observed(format!("{target} is gone")));
        };
        if is_cordoned(&node) {
            let patch = json!({"metadata": {"uid": target.uid}, "spec": {"unschedulable": null}});
            api.patch(permit, place, &patch).await.map_err(refused)?;
        }
        let node = target.read(&api, &[&NODE]).await?;
        Ok(if is_cordoned(&node) {
            Proof::NotObserved(format!("{target} is still cordoned"))
        } else {
            Proof::Observed(format!("{target} was read again and is schedulable"))
        })
    }
}

/// Whether a pod may go now, or is gone.
async fn is_free(api: &Api, pod: &ObjectRef) -> Result<bool, ActionError> {
    Ok(!matches!(ask(api, pod, true).await?, Eviction::Blocked { .. }))
}

async fn ask(api: &Api, pod: &ObjectRef, dry_run: bool) -> Result<Eviction, ActionError> {
    let kind = POD.resource_type();
    let path = ObjectPath { resource: &kind, namespace: pod.namespace.as_deref(), name: &pod.name };
    api.cluster.evict(path, pod.uid.as_deref().unwrap_or_default(), dry_run).await.map_err(refused)
}

async fn evict(api: &Api, _: &Permit, pod: &ObjectRef) -> Result<(), ActionError> {
    match ask(api, pod, false).await? {
        Eviction::Accepted | Eviction::Gone => Ok(()),
        // Another pod took the last disruption that was allowed a moment ago.
        Eviction::Blocked { message } => Err(ActionError::transient(format!("{pod} was not evicted: {message}"))),
    }
}

/// The pods that budgets block now, in words.
async fn blocked(api: &Api, pods: &[&Value]) -> Result<Vec<String>, ActionError> {
    let budgets = match api.list(&DISRUPTION_BUDGET, None).await {
        Ok(budgets) => budgets,
        // Which the plan says already.
        Err(ActionError::Denied { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut seen = BTreeSet::new();
    for pod in pods {
        for budget in blocking(&budgets, pod) {
            seen.insert(format!("PodDisruptionBudget {budget} lets {} go only later, or never", reference(pod)));
        }
    }
    Ok(seen.into_iter().collect())
}

/// Why pods did not go, with the budgets that block them by name.
async fn why(api: &Api, left: &[&Change]) -> Result<Vec<String>, ActionError> {
    let budgets = api.list(&DISRUPTION_BUDGET, None).await?;
    let pods = api.list(&POD, None).await?;
    let words = left.iter().map(|change| {
        let object = &change.object;
        let pod = pods.iter().find(|pod| Some(uid(pod)) == object.uid.as_deref());
        let blocking = pod.map(|pod| blocking(&budgets, pod)).unwrap_or_default();
        if blocking.is_empty() {
            return format!("{object} is blocked");
        }
        format!("{object} is blocked by PodDisruptionBudget {}", blocking.join(", "))
    });
    Ok(words.collect())
}
