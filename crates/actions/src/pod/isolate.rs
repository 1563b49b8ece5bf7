//! `pod.isolate`.

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::owner::{Loss, reaction};
use super::quarantine::{is_quarantine, is_quarantined, policy, policy_name, quarantined, swap, swap_back};
use super::seen::{lost_services, other_policies, prove, refusal};
use crate::api::{Api, Connection, Place};
use crate::evidence::clocks;
use crate::fields::{Labels, labels};
use crate::planning::{plan_patch, review};
use crate::policy::residual;
use crate::resources::{NETWORK_POLICY, POD, SERVICE};
use crate::target::Target;
use crate::writing::{Own, RACES, patch_as_read, raced};

/// The action `pod.isolate`.
#[derive(Debug)]
pub(crate) struct Isolate {
    connection: Connection,
}

impl Isolate {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// Which pod, and how.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A pod, as `target.resolve` gives it.
    target: Target,
    /// Go on although policies that select every pod still allow some traffic. The plan names it.
    #[serde(default)]
    allow_residual: bool,
    /// Written on the quarantine for people who find it. Nothing ends the quarantine by itself.
    #[serde(default)]
    expires: Option<Period>,
}

/// What was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The name of the policy.
    policy: String,
    /// Traffic that is still allowed, where that was accepted.
    residual: Vec<String>,
}

/// What `apply` has to know of what `plan` saw.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    labels: Labels,
    residual: Vec<String>,
}

/// What undoes one write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Undone {
    /// The pod gets these labels back.
    Labels { target: Target, originals: Labels },
    /// The policy of that pod is deleted.
    Policy { namespace: String, pod: String },
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get", "patch"] },
    Permission { group: "", resource: "services", verbs: &["list"] },
    Permission { group: "apps", resource: "daemonsets", verbs: &["get"] },
    Permission { group: "networking.k8s.io", resource: "networkpolicies", verbs: &["get", "list", "create", "delete"] },
];

const DESCRIPTION: &str = "\
Creates a NetworkPolicy that allows nothing and selects this pod alone, and then replaces the pod's labels, in one \
patch that holds for exactly this pod at exactly this version, so that Services, ReplicaSets and every other policy \
let go of it. The labels that it had are kept in the annotation `lifeboat.dev/original-labels`.

Policies only ever add: one that selects every pod still applies. So all policies of the namespace are recomputed \
against the new labels, and where one still allows traffic, the step is refused with the rules that do, unless \
`allowResidual` says otherwise.

Pods of the host's network and mirrors of static pods are refused: policies do not reach them.

Whether packets are dropped is up to the network plugin, and is not tried: where everything that can be seen is in \
force, the step still ends `unverified`, with the words NOT PROVED ISOLATED. Let steps that have to run all the same \
`need` another one. Some plugins let connections that are open live on.

A rollback gives the labels back and then deletes the policy. The owner may adopt the pod again, and then delete it or \
another one, if it has too many.";

#[async_trait]
impl Action for Isolate {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "pod.isolate",
            summary: "Cut a pod off from the network, from its Services and from its owner",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1046", "T1071"],
            defend: &["D3-NI"],
            undo: Undo::Yes,
            repeat: Repeat::Safe,
            example: "- id: isolate\n  uses: pod.isolate\n  with:\n    expires: 24h\n    target: {apiVersion: v1, kind: \
                      Pod, namespace: shop, name: web-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let Inputs { target, allow_residual, expires } = inputs;
        let pod = target.read(&api, &[&POD]).await?;
        if let Some(reason) = refusal(&pod) {
            return Err(ActionError::denied(format!("{target} cannot be isolated: {reason}")));
        }
        let namespace = namespace(target)?;
        let open = open(&api, namespace, &target.uid).await?;
        if !open.is_empty() && !allow_residual {
            let reason = "traffic would still be allowed (allowResidual accepts it)";
            return Err(ActionError::denied(format!("{target} would not be isolated, {reason}: {}", open.join("; "))));
        }
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, Some(namespace)).await?;
        let name = policy_name(&target.uid);
        quarantine(&name, namespace, &target.uid, *expires).plan(&api, &mut plan, "policy").await?;
        if is_quarantined(&pod) {
            plan.warnings.push(format!("{target} bears the labels of the quarantine already"));
        } else {
            plan_patch(&api, &mut plan, "labels", target.place(&[&POD])?, (&pod, &swap(&pod))).await?;
            plan.warnings.push(reaction(&pod, Loss::Released));
            plan.warnings.extend(lost_services(&api.list(&SERVICE, Some(namespace)).await?, &pod));
        }
        plan.warnings.extend(open.iter().cloned());
        plan.warnings.extend(other_policies(&api).await);
        plan.evidence = clocks(&api, &pod, context).await;
        plan.remember(&Memo { labels: labels(&pod), residual: open })?;
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
        let memo: Memo = plan.recall()?;
        let namespace = namespace(target)?;
        let open = open(&api, namespace, &target.uid).await?;
        if open.iter().any(|rule| !memo.residual.contains(rule)) {
            let reason = "policies changed since the plan, and traffic would still be allowed";
            return Err(ActionError::denied(format!("{reason}: {}", open.join("; "))));
        }
        let planned = |id: &str| plan.changes.iter().any(|change| change.id == id);
        if planned("policy") {
            let inverse = Undone::Policy { namespace: namespace.to_owned(), pod: target.uid.clone() };
            let name = policy_name(&target.uid);
            let quarantine = quarantine(&name, namespace, &target.uid, inputs.expires);
            let create = async |permit: Permit| quarantine.create(&api, &permit).await;
            writes.write("policy", Inverse::By(inverse), create).await?;
        }
        if planned("labels") {
            let inverse = Undone::Labels { target: target.clone(), originals: memo.labels.clone() };
            let change = async |permit| swap_labels(&api, &permit, target, &memo.labels).await;
            writes.write("labels", Inverse::By(inverse), change).await?;
        }
        Ok(Outputs { policy: policy_name(&target.uid), residual: memo.residual })
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        prove(&self.connection.api().await?, &inputs.target).await
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        match inverse {
            Undone::Labels { target, originals } => restore_labels(&api, permit, &target, &originals).await,
            Undone::Policy { namespace, pod } => {
                quarantine(&policy_name(&pod), &namespace, &pod, None).take_away(&api, permit).await
            }
        }
    }
}

fn namespace(target: &Target) -> Result<&str, ActionError> {
    target.namespace.as_deref().ok_or_else(|| ActionError::denied(format!("{target} has no namespace")))
}

/// What the namespace's policies would still allow the pod, once it bears the labels of the quarantine.
async fn open(api: &Api, namespace: &str, pod: &str) -> Result<Vec<String>, ActionError> {
    let policies = api.list(&NETWORK_POLICY, Some(namespace)).await?;
    Ok(residual(&policies, &quarantined(pod)).iter().map(ToString::to_string).collect())
}

/// The quarantine of a pod; `name` is its policy's.
fn quarantine<'a>(
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
    expires: Option<Period>,
) -> Own<'a, impl Fn(&Value) -> bool + use<'a>> {
    Own {
        place: Place::new(&NETWORK_POLICY, Some(namespace), name),
        object: policy(namespace, pod, expires),
        what: "the quarantine",
        is_it: move |found: &Value| is_quarantine(found, pod),
    }
}

/// Swaps the labels of the pod at the version that it was just read at.
async fn swap_labels(api: &Api, permit: &Permit, target: &Target, planned: &Labels) -> Result<(), ActionError> {
    for _ in 0..RACES {
        let pod = target.read(api, &[&POD]).await?;
        if is_quarantined(&pod) {
            return Ok(());
        }
        if labels(&pod) != *planned {
            return Err(ActionError::denied(format!("the labels of {target} are others than in the plan")));
        }
        if patch_as_read(api, permit, target.place(&[&POD])?, (&pod, &swap(&pod))).await? {
            return Ok(());
        }
    }
    Err(raced(target))
}

async fn restore_labels(api: &Api, permit: &Permit, target: &Target, originals: &Labels) -> Result<Proof, ActionError> {
    let place = target.place(&[&POD])?;
    for _ in 0..RACES {
        let Some(pod) = api.find(place, &target.uid).await? else {
            return Ok(Proof::Observed(format!("{target} is gone, and has no labels to give back")));
        };
        let found = labels(&pod);
        if !found.contains_key(super::quarantine::LABEL) {
            let as_before = originals.iter().all(|(key, value)| found.get(key) == Some(value));
            return Ok(if as_before {
                Proof::Observed(format!("{target} has the labels that it had"))
            } else {
                Proof::NotObserved(format!("somebody else changed the labels of {target}; they were left as they are"))
            });
        }
        // Whatever came of it, the next look sees it.
        patch_as_read(api, permit, place, (&pod, &swap_back(originals))).await?;
    }
    Err(raced(target))
}
