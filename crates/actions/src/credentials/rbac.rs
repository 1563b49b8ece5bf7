//! `rbac.revoke`.

use async_trait::async_trait;
use lifeboat_kubernetes::SubjectAccess;
use lifeboat_playbook::{
    Action, ActionError, Inverse, ObjectRef, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo,
    Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::subject::{Kind, Subject};
use crate::api::{Api, Connection, Place, refused};
use crate::fields::{items, reference, text};
use crate::planning::{place_of, plan_patch, review};
use crate::resources::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Resource};
use crate::writing::{RACES, patch_as_read, raced};

/// The most rights that are asked about again.
const QUESTIONS: usize = 64;
/// How often they are asked about: the API server learns of changed bindings a moment later.
const ROUNDS: u32 = 10;

/// The action `rbac.revoke`.
#[derive(Debug)]
pub(crate) struct RevokeRbac {
    connection: Connection,
}

impl RevokeRbac {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// Whose rights.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A user, a group, or a service account with its namespace.
    subject: Subject,
}

/// What was revoked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The bindings that named the subject.
    bindings: Vec<Binding>,
}

/// A binding that named the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Binding {
    /// The binding.
    binding: ObjectRef,
    /// `Role` or `ClusterRole`.
    role_kind: String,
    /// The role's name.
    role: String,
}

/// What undoes one write: the subject is in the binding again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    binding: ObjectRef,
    subject: Subject,
}

const RBAC: &str = "rbac.authorization.k8s.io";
const PERMISSIONS: &[Permission] = &[
    Permission { group: RBAC, resource: "rolebindings", verbs: &["get", "list", "patch"] },
    Permission { group: RBAC, resource: "clusterrolebindings", verbs: &["get", "list", "patch"] },
    Permission { group: RBAC, resource: "roles", verbs: &["get", "bind"] },
    Permission { group: RBAC, resource: "clusterroles", verbs: &["get", "bind"] },
    Permission { group: "authorization.k8s.io", resource: "subjectaccessreviews", verbs: &["create"] },
];

const DESCRIPTION: &str = "\
Takes a user, a group or a service account out of every RoleBinding and ClusterRoleBinding that names it. Bindings \
themselves stay, empty ones too, so that a rollback can put the subject back. Then the API server is asked right by right \
(up to 64, as the roles' rules name them) whether the subject still has them; one that it still has, by a group for \
instance, is named and the step is `unverified`.

The API server lets nobody change a binding who does not have all of its role's rights, or the verb `bind` on it.

A user is also in groups that only the authenticator knows: bindings of those are not touched, and not asked about. A \
client certificate cannot be revoked at all, and `system:masters` bypasses RBAC.";

impl Binding {
    fn of(binding: &Value) -> Self {
        Self {
            binding: reference(binding),
            role_kind: text(binding, "/roleRef/kind").to_owned(),
            role: text(binding, "/roleRef/name").to_owned(),
        }
    }
}

fn change_id(binding: &ObjectRef) -> String {
    match &binding.namespace {
        Some(namespace) => format!("{}/{namespace}/{}", binding.kind, binding.name),
        None => format!("{}/{}", binding.kind, binding.name),
    }
}

/// The bindings that name the subject, in a fixed order.
async fn bindings(api: &Api, subject: &Subject) -> Result<Vec<Value>, ActionError> {
    let mut found = api.list(&ROLE_BINDING, None).await?;
    found.extend(api.list(&CLUSTER_ROLE_BINDING, None).await?);
    found.retain(|binding| items(binding, "/subjects").any(|entry| subject.is(entry)));
    found.sort_by_cached_key(|binding| change_id(&reference(binding)));
    Ok(found)
}

fn resource(binding: &ObjectRef) -> &'static Resource {
    if binding.kind == ROLE_BINDING.kind { &ROLE_BINDING } else { &CLUSTER_ROLE_BINDING }
}

fn place(binding: &ObjectRef) -> Place<'_> {
    Place::new(resource(binding), binding.namespace.as_deref(), &binding.name)
}

/// The patch that leaves the subject out.
fn without(binding: &Value, subject: &Subject) -> Value {
    let others: Vec<&Value> = items(binding, "/subjects").filter(|entry| !subject.is(entry)).collect();
    json!({"subjects": others})
}

#[async_trait]
impl Action for RevokeRbac {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "rbac.revoke",
            summary: "Take a user, a group or a service account out of all bindings",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1098.006"],
            defend: &["D3-UAP"],
            undo: Undo::Yes,
            repeat: Repeat::Safe,
            example: "- id: rights\n  uses: rbac.revoke\n  with:\n    subject: {kind: ServiceAccount, namespace: shop, name: \
                      web}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let subject = &inputs.subject;
        subject.check()?;
        let mut plan = StepPlan::default();
        // To bind is needed only by those who lack a right of the role, which the dry run finds out.
        let needed: Vec<Permission> =
            PERMISSIONS.iter().filter(|permission| !permission.verbs.contains(&"bind")).copied().collect();
        review(&api, &mut plan, &needed, None).await?;
        for binding in bindings(&api, subject).await? {
            let object = reference(&binding);
            let change = (&binding, &without(&binding, subject));
            plan_patch(&api, &mut plan, &change_id(&object), place_of(resource(&object), &binding), change).await?;
            plan.targets.push(object);
        }
        if plan.changes.is_empty() {
            plan.warnings.push(format!("no binding names {subject}"));
        }
        if subject.kind == Kind::User {
            plan.warnings.push(format!("the groups of {subject} are not known here; what they give stays"));
        }
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
        let subject = &inputs.subject;
        let mut revoked = Vec::new();
        for change in &plan.changes {
            let object = &change.object;
            let inverse = Undone { binding: object.clone(), subject: subject.clone() };
            let drop_it = async |permit| drop_subject(&api, &permit, object, subject).await;
            revoked.push(writes.write(&change.id, Inverse::By(inverse), drop_it).await?);
        }
        Ok(Outputs { bindings: revoked })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let subject = &inputs.subject;
        let mut questions = Vec::new();
        for binding in &outputs.bindings {
            questions.extend(rights(&api, subject, binding, QUESTIONS - questions.len()).await?);
        }
        if !bindings(&api, subject).await?.is_empty() {
            return Ok(Proof::NotObserved(format!("bindings still name {subject}")));
        }
        if questions.is_empty() {
            return Ok(Proof::Observed(format!("no binding names {subject}, and it had no rights to ask about")));
        }
        let mut left = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 {
                context.sleep(std::time::Duration::from_secs(1)).await;
            }
            left = allowed(&api, &questions).await?;
            if left.is_empty() {
                let count = questions.len();
                return Ok(Proof::Observed(format!("asked about {count} rights of {subject}: all are refused now")));
            }
        }
        Ok(Proof::NotObserved(format!("{subject} may still: {}", left.join("; "))))
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        let api = self.connection.api().await?;
        let Undone { binding, subject } = &inverse;
        for _ in 0..RACES {
            let meant = binding.uid.as_deref().unwrap_or_default();
            let Some(found) = api.find(place(binding), meant).await? else {
                return Ok(Proof::NotObserved(format!("{binding} is gone; {subject} cannot be put back")));
            };
            if items(&found, "/subjects").any(|entry| subject.is(entry)) {
                return Ok(Proof::Observed(format!("{binding} names {subject}")));
            }
            let mut subjects: Vec<Value> = items(&found, "/subjects").cloned().collect();
            subjects.push(subject.entry());
            // Whatever came of it, the next look sees it.
            patch_as_read(&api, permit, place(binding), (&found, &json!({"subjects": subjects}))).await?;
        }
        Err(raced(binding))
    }
}

async fn drop_subject(
    api: &Api,
    permit: &Permit,
    object: &ObjectRef,
    subject: &Subject,
) -> Result<Binding, ActionError> {
    for _ in 0..RACES {
        let found = api.get_same(place(object), object.uid.as_deref().unwrap_or_default()).await?;
        if !items(&found, "/subjects").any(|entry| subject.is(entry)) {
            return Ok(Binding::of(&found));
        }
        if patch_as_read(api, permit, place(object), (&found, &without(&found, subject))).await? {
            return Ok(Binding::of(&found));
        }
    }
    Err(raced(object))
}

/// What the binding's role gave the subject.
async fn rights(
    api: &Api,
    subject: &Subject,
    binding: &Binding,
    most: usize,
) -> Result<Vec<SubjectAccess>, ActionError> {
    let namespace = binding.binding.namespace.as_deref();
    let of_cluster = binding.role_kind == CLUSTER_ROLE.kind;
    let resource = if of_cluster { &CLUSTER_ROLE } else { &ROLE };
    let Some(role) = api.get(Place::new(resource, namespace.filter(|_| !of_cluster), &binding.role)).await? else {
        return Ok(Vec::new());
    };
    let rules: Vec<Value> = items(&role, "/rules").cloned().collect();
    Ok(if most == 0 { Vec::new() } else { subject.questions(&rules, namespace, most) })
}

/// The rights that it still has, in words.
async fn allowed(api: &Api, questions: &[SubjectAccess]) -> Result<Vec<String>, ActionError> {
    let mut left = Vec::new();
    for question in questions {
        let decision = api.cluster.may_subject(question).await.map_err(refused)?;
        if decision.allowed {
            left.push(format!("{} {} ({})", question.verb, question.resource, decision.reason));
        }
    }
    Ok(left)
}
