//! `namespace.lockdown`.

use std::time::Duration;

use async_trait::async_trait;
use lifeboat_playbook::{
    Action, ActionError, Inverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::locks::{NAME, STANDARD, is_lock, is_ours, is_standard, policy, probe, quota, relabel, standard_of};
use crate::api::{Api, Connection, Place, refused};
use crate::fields::{Labels, labels, name, text};
use crate::planning::{plan_patch, review};
use crate::policy::residual;
use crate::resources::{NAMESPACE, NETWORK_POLICY, POD, RESOURCE_QUOTA};
use crate::target::Target;
use crate::writing::Own;

/// How long between two looks at what admission says.
const PAUSE: Duration = Duration::from_millis(500);

/// The action `namespace.lockdown`.
#[derive(Debug)]
pub(crate) struct Lockdown {
    connection: Connection,
}

impl Lockdown {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

fn yes() -> bool {
    true
}

fn one_minute() -> Period {
    Period::seconds(60)
}

/// Which namespace, and what of it.
#[expect(clippy::struct_excessive_bools, reason = "each lock is taken or left by itself")]
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A namespace, as `target.resolve` gives it.
    target: Target,
    /// Make room for no new pod, by a quota.
    #[serde(default = "yes")]
    pods: bool,
    /// Hold new pods to the standard `restricted`.
    #[serde(default = "yes")]
    security: bool,
    /// Deny all traffic of its pods, by a policy. Whether that is so is not tried: the step is then `unverified` at best.
    #[serde(default = "yes")]
    network: bool,
    /// Go on although policies of the namespace still let traffic through.
    #[serde(default)]
    allow_residual: bool,
    /// How long to wait until new pods are refused.
    #[serde(default = "one_minute")]
    within: Period,
}

/// What is still open.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The traffic that other policies allowed when the plan was made.
    residual: Vec<String>,
}

/// What undoes one write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Undone {
    /// The lock is to be gone.
    Lock { target: Target, quota: bool },
    /// The labels are to be these.
    Labels { target: Target, before: Labels },
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "namespaces", verbs: &["get", "patch"] },
    Permission { group: "", resource: "resourcequotas", verbs: &["get", "create", "delete"] },
    Permission { group: "networking.k8s.io", resource: "networkpolicies", verbs: &["get", "list", "create", "delete"] },
    Permission { group: "", resource: "pods", verbs: &["list", "create"] },
];

const DESCRIPTION: &str = "\
Three locks, each of which can be left out: a ResourceQuota with room for no pod, the labels of pod security for \
`restricted`, and a NetworkPolicy that selects every pod and allows nothing.

Pods that run go on; no new one is made, by nobody, rollouts and restarts of the namespace included. Policies only ever \
add, so that what other policies of the namespace allow stays allowed: the step is refused with these rules, unless \
`allowResidual` says otherwise.

That new pods are refused is proved by dry runs: one of a harmless pod, which the quota refuses once its controller has \
counted, and one of a pod that the standard refuses. Whether packets are dropped is up to the network plugin, and is not \
tried: with `network` the step ends `unverified`, with the words NOT PROVED ISOLATED.

A rollback gives the labels back and deletes quota and policy. What somebody else has changed since is left, and told.";

/// The lock by a quota, or by a policy.
fn lock(target: &Target, is_quota: bool) -> Own<'_, impl Fn(&Value) -> bool> {
    let (resource, object) = if is_quota {
        (&RESOURCE_QUOTA, quota(&target.name, &target.uid))
    } else {
        (&NETWORK_POLICY, policy(&target.name, &target.uid))
    };
    let wanted = object.clone();
    let is_it = move |found: &Value| is_lock(found, &wanted, &target.uid);
    Own { place: Place::new(resource, Some(&target.name), NAME), object, what: "the lock", is_it }
}

/// What other policies allow the pods that there are.
async fn open(api: &Api, target: &Target) -> Result<Vec<String>, ActionError> {
    let mut policies = api.list(&NETWORK_POLICY, Some(&target.name)).await?;
    policies.retain(|policy| !(name(policy) == NAME && is_ours(policy, &target.uid)));
    let pods = api.list(&POD, Some(&target.name)).await?;
    let none = [Labels::new()];
    let found = pods.iter().map(labels).chain(none);
    let mut words: Vec<String> =
        found.flat_map(|labels| residual(&policies, &labels)).map(|rule| rule.to_string()).collect();
    words.sort_unstable();
    words.dedup();
    Ok(words)
}

#[async_trait]
impl Action for Lockdown {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "namespace.lockdown",
            summary: "Let no new pod and no traffic into or out of a namespace",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1486", "T1610"],
            defend: &["D3-EI", "D3-NI"],
            undo: Undo::Yes,
            repeat: Repeat::Safe,
            example: "- id: lock\n  uses: namespace.lockdown\n  with:\n    allowResidual: true\n    target: {apiVersion: \
                      v1, kind: Namespace, name: shop, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let target = &inputs.target;
        if !(inputs.pods || inputs.security || inputs.network) {
            return Err(ActionError::denied("no lock is wanted"));
        }
        let namespace = target.read(&api, &[&NAMESPACE]).await?;
        let mut plan = StepPlan { targets: vec![target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, PERMISSIONS, Some(&target.name)).await?;
        let open = if inputs.network { open(&api, target).await? } else { Vec::new() };
        if !open.is_empty() && !inputs.allow_residual {
            let reason = "traffic would still be allowed (allowResidual accepts it)";
            return Err(ActionError::denied(format!("{target} would not be locked, {reason}: {}", open.join("; "))));
        }
        for (wanted, is_quota, id) in [(inputs.network, false, "policy"), (inputs.pods, true, "quota")] {
            if wanted {
                lock(target, is_quota).plan(&api, &mut plan, id).await?;
            }
        }
        if inputs.security && !is_standard(&namespace) {
            let patch = relabel(&target.uid, &standard());
            plan_patch(&api, &mut plan, "labels", target.place(&[&NAMESPACE])?, (&namespace, &patch)).await?;
        }
        if inputs.pods || inputs.security {
            let words = "pods that run go on, and none is made in place of one that is lost";
            plan.warnings.push(words.to_owned());
        }
        plan.warnings.extend(open.iter().cloned());
        plan.remember(&(standard_of(&namespace), open))?;
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
        let (before, residual): (Labels, Vec<String>) = plan.recall()?;
        let planned = |id: &str| plan.changes.iter().any(|change| change.id == id);
        for (is_quota, id) in [(false, "policy"), (true, "quota")] {
            if planned(id) {
                let inverse = Undone::Lock { target: target.clone(), quota: is_quota };
                let create = async |permit: Permit| {
                    // A namespace that was made anew since the plan is another one.
                    target.read(&api, &[&NAMESPACE]).await?;
                    lock(target, is_quota).create(&api, &permit).await
                };
                writes.write(id, Inverse::By(inverse), create).await?;
            }
        }
        if planned("labels") {
            let inverse = Undone::Labels { target: target.clone(), before };
            let place = target.place(&[&NAMESPACE])?;
            let change = async |permit: Permit| {
                api.patch(&permit, place, &relabel(&target.uid, &standard())).await.map(drop).map_err(refused)
            };
            writes.write("labels", Inverse::By(inverse), change).await?;
        }
        Ok(Outputs { residual })
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let mut seen = Vec::new();
        for (wanted, host, by) in [(inputs.pods, false, "exceeded quota"), (inputs.security, true, "PodSecurity")] {
            if !wanted {
                continue;
            }
            if let Err(words) = is_refused(&api, inputs, host, by, context).await {
                return Ok(Proof::NotObserved(words));
            }
            seen.push(if host {
                "a dry run of a pod on the host is refused"
            } else {
                "a dry run of any pod is refused"
            });
        }
        if !inputs.network {
            return Ok(Proof::Observed(seen.join(", and ")));
        }
        let target = &inputs.target;
        let policy = lock(target, false);
        let in_force = api.get(policy.place).await?.is_some_and(|found| (policy.is_it)(&found));
        let open = open(&api, target).await?;
        let words = if !in_force {
            "NOT ISOLATED: the policy is not as it was made".to_owned()
        } else if open.is_empty() {
            "NOT PROVED ISOLATED: the policy is in force, and whether packets are dropped was not tried".to_owned()
        } else {
            format!("NOT ISOLATED: {}", open.join("; "))
        };
        seen.push(&words);
        Ok(Proof::NotObserved(seen.join("; ")))
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        match inverse {
            Undone::Lock { target, quota } => lock(&target, quota).take_away(&api, permit).await,
            Undone::Labels { target, before } => restore_labels(&api, permit, &target, &before).await,
        }
    }
}

fn standard() -> Labels {
    STANDARD.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether admission refuses a pod by that lock. The quota counts only once its controller has seen it.
async fn is_refused(api: &Api, inputs: &Inputs, host: bool, by: &str, context: &StepContext) -> Result<(), String> {
    let namespace = &inputs.target.name;
    let pod = probe(namespace, host);
    let place = Place::new(&POD, Some(namespace), name(&pod));
    let mut left = inputs.within.duration();
    loop {
        let words = match api.dry_create(place, &pod).await {
            Ok(_) => "a dry run of a new pod is not refused".to_owned(),
            Err(error) => {
                let refusal = refused(error);
                let words = refusal.chain();
                if words.contains(by) {
                    return Ok(());
                }
                format!("a dry run of a new pod was refused by something else: {words}")
            }
        };
        if left.is_zero() {
            return Err(words);
        }
        context.sleep(PAUSE).await;
        left = left.saturating_sub(PAUSE);
    }
}

async fn restore_labels(api: &Api, permit: &Permit, target: &Target, before: &Labels) -> Result<Proof, ActionError> {
    let place = target.place(&[&NAMESPACE])?;
    let Some(found) = api.find(place, &target.uid).await? else {
        return Ok(Proof::Observed(format!("{target} is gone, and has no labels to give back")));
    };
    if standard_of(&found) != *before {
        if !is_standard(&found) {
            let enforce = text(&found, "/metadata/labels/pod-security.kubernetes.io~1enforce");
            let words = format!("somebody else set the standard of {target} to '{enforce}', which was left");
            return Ok(Proof::NotObserved(words));
        }
        api.patch(permit, place, &relabel(&target.uid, before)).await.map_err(refused)?;
    }
    let found = target.read(api, &[&NAMESPACE]).await?;
    Ok(if standard_of(&found) == *before {
        Proof::Observed(format!("{target} has the labels that it had"))
    } else {
        Proof::NotObserved(format!("{target} does not have the labels that it had"))
    })
}
