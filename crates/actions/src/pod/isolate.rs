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
use super::probe::{Ends, Paths, Probe, Tried};
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
    /// Try over the network whether the pod is isolated. The quarantine waits up to two minutes until the probe works.
    #[serde(default)]
    probe: Option<Probe>,
}

/// What was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The name of the policy.
    policy: String,
    /// Traffic that is still allowed, where that was accepted.
    residual: Vec<String>,
    /// What was tried over the network, where a probe was asked for.
    tried: Option<Tried>,
}

/// What `apply` has to know of what `plan` saw.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    labels: Labels,
    residual: Vec<String>,
    probe: Option<Ends>,
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
    /// The pod that tried to reach that pod is deleted.
    Probe { ends: Ends, pod: String },
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

Whether packets are dropped is up to the network plugin. Without `probe` it is not tried: where everything that can be \
seen is in force, the step still ends `unverified`, with the words NOT PROVED ISOLATED. Let steps that have to run all \
the same `need` another one. Some plugins let connections that are open live on.

With `probe`, an ephemeral container in the pod and a pod beside it try to reach each other over TCP, on ports 61951 and \
61952, before the labels are swapped and afterwards. The step is a success only if both directions worked before, three \
tries in a row failed in each afterwards while both ends still answered themselves, and a connection that had been \
established carries nothing any more. If that one lives on, this is said, and the step is `unverified`. Other protocols, \
nodes and addresses are not tried. Where the probe does not come about in two minutes, the pod is isolated all the \
same, and the step is `unverified`. The pod beside it is deleted at the end; the ephemeral container ends by itself, and \
stays in the pod. A probe needs more rights, which `playbook rbac` does not print, since most have no use for them: \
`create`, `delete`, `list` and `watch` of `pods`, `patch` of `pods/ephemeralcontainers`, and `get` of `pods/log`, in the \
pod's namespace. The plan names those that are missing.

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
            undo: Undo::Partly("the ephemeral container of a probe stays in the pod"),
            repeat: Repeat::Safe,
            example: "- id: isolate\n  uses: pod.isolate\n  with:\n    expires: 24h\n    target: {apiVersion: v1, kind: \
                      Pod, namespace: shop, name: web-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let Inputs { target, allow_residual, expires, probe } = inputs;
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
        let ends = match probe {
            Some(probe) => probe.plan(&api, &mut plan, (target, &pod)).await?,
            None => None,
        };
        let name = policy_name(&target.uid);
        quarantine(&name, namespace, &target.uid, *expires).plan(&api, &mut plan, "policy").await?;
        if is_quarantined(&pod) {
            plan.warnings.push(format!("{target} bears the labels of the quarantine already"));
        } else {
            plan_patch(&api, &mut plan, "labels", target.place(&[&POD])?, (&pod, &swap(&pod))).await?;
            plan.warnings.push(reaction(&pod, Loss::Released));
            plan.warnings.extend(lost_services(&api.list(&SERVICE, Some(namespace)).await?, &pod));
        }
        plan.changes.extend(ends.as_ref().map(Ends::end));
        plan.warnings.extend(open.iter().cloned());
        plan.warnings.extend(other_policies(&api).await);
        plan.evidence = clocks(&api, &pod, context).await;
        plan.remember(&Memo { labels: labels(&pod), residual: open, probe: ends })?;
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
        let memo: Memo = plan.recall()?;
        let namespace = namespace(target)?;
        let open = open(&api, namespace, &target.uid).await?;
        if open.iter().any(|rule| !memo.residual.contains(rule)) {
            let reason = "policies changed since the plan, and traffic would still be allowed";
            return Err(ActionError::denied(format!("{reason}: {}", open.join("; "))));
        }
        let Some((probe, ends)) = inputs.probe.as_ref().zip(memo.probe.as_ref()) else {
            put_in_force(&api, inputs, plan, &memo, writes).await?;
            return Ok(Outputs { policy: policy_name(&target.uid), residual: memo.residual, tried: None });
        };
        let before = match reach(&api, (probe, ends), target, writes, context).await {
            Err(ActionError::Cancelled) => return Err(ActionError::Cancelled),
            before => before,
        };
        let done = put_in_force(&api, inputs, plan, &memo, writes).await;
        let tried = match &done {
            Ok(()) => Some(ends.tried(&api, target, before, context).await),
            Err(_) => None,
        };
        // That it is gone is looked at by the proof.
        let end = async |permit| ends.delete(&api, &permit, &target.uid).await;
        let ended = writes.write("end", Inverse::None, end).await;
        done?;
        match ended {
            Err(ActionError::Cancelled) => Err(ActionError::Cancelled),
            _ => Ok(Outputs { policy: policy_name(&target.uid), residual: memo.residual, tried }),
        }
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let proof = prove(&api, &inputs.target, outputs.tried.as_ref()).await?;
        match (&outputs.tried, proof) {
            (Some(_), Proof::Observed(text)) => match Ends::gone(&api, &inputs.target).await? {
                Proof::Observed(_) => Ok(Proof::Observed(text)),
                Proof::NotObserved(left) => Ok(Proof::NotObserved(format!("{text}; but {left}"))),
            },
            (_, proof) => Ok(proof),
        }
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        match inverse {
            Undone::Labels { target, originals } => restore_labels(&api, permit, &target, &originals).await,
            Undone::Policy { namespace, pod } => {
                quarantine(&policy_name(&pod), &namespace, &pod, None).take_away(&api, permit).await
            }
            Undone::Probe { ends, pod } => ends.remove(&api, permit, &pod).await,
        }
    }
}

/// Sets up both ends of a probe, and says what they reach while nothing is isolated yet.
async fn reach(
    api: &Api,
    (probe, ends): (&Probe, &Ends),
    target: &Target,
    writes: &mut Writes<'_, Undone>,
    context: &StepContext,
) -> Result<Paths, ActionError> {
    if is_quarantined(&target.read(api, &[&POD]).await?) {
        let reason = "the pod was in quarantine already, so that nobody knows what it could reach before";
        return Err(ActionError::failed(reason));
    }
    let inverse = Undone::Probe { ends: ends.clone(), pod: target.uid.clone() };
    let create = async |permit| probe.create(api, &permit, ends, target).await;
    writes.write("peer", Inverse::By(inverse), create).await?;
    let other = ends.other(api).await?;
    let listen = async |permit| probe.listen(api, &permit, (ends, target), &other).await;
    writes.write("listener", Inverse::None, listen).await?;
    ends.before(api, target, context).await
}

/// The writes that isolate.
async fn put_in_force(
    api: &Api,
    inputs: &Inputs,
    plan: &StepPlan<Outputs>,
    memo: &Memo,
    writes: &mut Writes<'_, Undone>,
) -> Result<(), ActionError> {
    let target = &inputs.target;
    let namespace = namespace(target)?;
    let planned = |id: &str| plan.changes.iter().any(|change| change.id == id);
    if planned("policy") {
        let inverse = Undone::Policy { namespace: namespace.to_owned(), pod: target.uid.clone() };
        let name = policy_name(&target.uid);
        let quarantine = quarantine(&name, namespace, &target.uid, inputs.expires);
        let create = async |permit: Permit| quarantine.create(api, &permit).await;
        writes.write("policy", Inverse::By(inverse), create).await?;
    }
    if planned("labels") {
        let inverse = Undone::Labels { target: target.clone(), originals: memo.labels.clone() };
        let change = async |permit| swap_labels(api, &permit, target, &memo.labels).await;
        writes.write("labels", Inverse::By(inverse), change).await?;
    }
    Ok(())
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
