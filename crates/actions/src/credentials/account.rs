//! `serviceaccount.revoke`.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifeboat_kubernetes::{BoundPod, ObjectPath, Token};
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, ObjectRef, Period, Permission, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canary::{Canary, LIFE, is_good, watch_die};
use super::recreate;
use crate::api::{Api, Connection, Place, refused};
use crate::evidence::clocks;
use crate::fields::{annotation, has_ended, reference, settled, text, uid};
use crate::planning::{plan_delete, review};
use crate::pod::{LOST, Loss, reaction};
use crate::resources::{POD, SECRET, SERVICE_ACCOUNT};
use crate::target::Target;

/// The action `serviceaccount.revoke`.
#[derive(Debug)]
pub(crate) struct RevokeAccount {
    connection: Connection,
}

impl RevokeAccount {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

/// Which tokens die, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    /// Those bound to a pod: the pod is deleted.
    #[default]
    Pod,
    /// Every bound token of the account: it is deleted and made again, with another UID.
    Recreate,
    /// The one in a Secret: it is deleted.
    LegacySecret,
}

fn five() -> u32 {
    5
}

fn three_minutes() -> Period {
    Period::seconds(180)
}

/// Of which account, and how.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// A pod, whose service account is meant, or a service account; as `target.resolve` gives it.
    target: Target,
    /// Which tokens die.
    #[serde(default)]
    mode: Mode,
    /// With `mode: legacySecret`: the Secret's name.
    #[serde(default)]
    secret: Option<String>,
    /// How often in a row the canary has to be refused.
    #[serde(default = "five")]
    #[schemars(range(min = 2, max = 100))]
    refusals: u32,
    /// How long to wait for that.
    #[serde(default = "three_minutes")]
    within: Period,
}

/// What was revoked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The account.
    account: String,
    /// What became of the canary.
    canary: Canary,
    /// Pods that hold dead tokens until they are restarted.
    consumers: Vec<ObjectRef>,
}

/// What `apply` has to know of what `plan` saw.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    /// The account's UID.
    account: String,
    /// What makes the account again.
    manifest: Value,
    /// The UID of the Secret.
    secret: Option<String>,
    consumers: Vec<ObjectRef>,
}

/// What undoes one write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Undone {
    /// The account is to be there.
    Account { manifest: Value, uid: String },
    /// It was there before, under another UID, and stays.
    Stays { account: String },
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["get", "list", "delete"] },
    Permission { group: "", resource: "serviceaccounts", verbs: &["get", "create", "delete", "patch"] },
    Permission { group: "", resource: "serviceaccounts/token", verbs: &["create"] },
    Permission { group: "", resource: "secrets", verbs: &["get", "delete"] },
    Permission { group: "authentication.k8s.io", resource: "tokenreviews", verbs: &["create"] },
];

const DESCRIPTION: &str = "\
What has to die for a token to die depends on the token. `mode: pod` deletes the pod that it is bound to, with all that \
is in the pod; its owner makes another one, which gets new tokens. `mode: recreate` deletes the service account and makes \
it again under another UID, so that all of its bound tokens and those in its Secrets are dead; bindings go by name and \
survive. Running pods of the account hold dead tokens then, and have to be restarted: the plan names them, and \
`steps.ID.consumers` has them. `mode: legacySecret` deletes the Secret that has the token.

Before that, a canary token of the same kind is made (or, of a legacy Secret, its own token is taken) and seen to be \
good. Afterwards the API server is asked about it until it was refused several times in a row: this may take a minute, \
since deleted pods are granted a leeway, and API servers remember good tokens for ten seconds. Without a canary, or when \
it is not refused in time, the step is `unverified`.

Not revoked: tokens that clouds check offline by the issuer's keys (IRSA, Workload Identity), and the rights themselves \
(`rbac.revoke`).";

#[async_trait]
impl Action for RevokeAccount {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "serviceaccount.revoke",
            summary: "Kill the tokens of a service account, and watch one die",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1528", "T1550.001"],
            defend: &["D3-CR"],
            undo: Undo::Partly("the account is made again if it is missing; tokens, pods and Secrets stay dead"),
            repeat: Repeat::Safe,
            example: "- id: revoke\n  uses: serviceaccount.revoke\n  with:\n    mode: recreate\n    target: {apiVersion: \
                      v1, kind: ServiceAccount, namespace: shop, name: web, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let api = self.connection.api().await?;
        let found = Found::of(&api, inputs).await?;
        let mut plan = StepPlan { targets: vec![inputs.target.reference()], ..StepPlan::default() };
        review(&api, &mut plan, &needed(inputs.mode), inputs.target.namespace.as_deref()).await?;
        let account = &found.account;
        if inputs.mode != Mode::LegacySecret {
            plan.changes.push(canary_change(account));
        }
        let mut memo = Memo {
            account: uid(account).to_owned(),
            manifest: recreate::manifest(account),
            secret: None,
            consumers: Vec::new(),
        };
        match inputs.mode {
            Mode::Pod => {
                let change = |change: Change| change.irreversible("a deleted pod does not come back").loses(LOST);
                plan_delete(&api, &mut plan, inputs.target.place(&[&POD])?, &found.subject, change, "pod").await?;
                plan.warnings.push(reaction(&found.subject, Loss::Deleted));
                plan.evidence = clocks(&api, &found.subject, context).await;
            }
            Mode::Recreate => {
                memo.consumers = consumers(&api, account).await?;
                plan_recreation(&api, &mut plan, account, &memo).await?;
            }
            Mode::LegacySecret => {
                memo.secret = Some(uid(&found.subject).to_owned());
                let change = |change: Change| change.irreversible("a token that is dead stays dead");
                let place = secret_place(inputs)?;
                plan_delete(&api, &mut plan, place, &found.subject, change, "secret").await?;
            }
        }
        plan.seconds = Some(15);
        plan.remember(&memo)?;
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
        let memo: Memo = plan.recall()?;
        let run = Revocation { api: &api, inputs, memo: &memo };
        let token = run.canary(writes).await?;
        run.revoke(writes).await?;
        let canary = match token {
            Ok(token) => watch_die(&api, &token, inputs.refusals, inputs.within, context).await?,
            Err(why) => Canary::none(why),
        };
        let account = reference(&memo.manifest).to_string();
        Ok(Outputs { account, canary, consumers: memo.consumers })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let Canary { good_before, refusals, words } = &outputs.canary;
        if !good_before {
            return Ok(Proof::NotObserved(format!("there was no canary token to watch: {words}")));
        }
        if *refusals < inputs.refusals {
            return Ok(Proof::NotObserved(format!("the canary token was refused {refusals} times in a row: {words}")));
        }
        let api = self.connection.api().await?;
        if inputs.mode == Mode::Pod && api.find(inputs.target.place(&[&POD])?, &inputs.target.uid).await?.is_some() {
            let target = &inputs.target;
            return Ok(Proof::NotObserved(format!("the canary token was refused, but {target} is not gone yet")));
        }
        Ok(Proof::Observed(format!(
            "a canary token of {} was good before, and was then refused {refusals} times in a row: {words}",
            outputs.account
        )))
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {
            Undone::Stays { account } => {
                Ok(Proof::Observed(format!("{account} was there before, and stays; its tokens of before are dead")))
            }
            Undone::Account { manifest, uid: old } => {
                let api = self.connection.api().await?;
                let object = reference(&manifest);
                let place = Place::new(&SERVICE_ACCOUNT, object.namespace.as_deref(), &object.name);
                if api.get(place).await?.is_none() {
                    recreate::create(&api, permit, &manifest, &old).await?;
                }
                Ok(match api.get(place).await? {
                    Some(_) => Proof::Observed(format!("{object} is there")),
                    None => Proof::NotObserved(format!("{object} is not there")),
                })
            }
        }
    }
}

/// The permissions that a mode needs.
fn needed(mode: Mode) -> Vec<Permission> {
    let one = |resource, verbs| Permission { group: "", resource, verbs };
    let mut needed = vec![
        one("serviceaccounts", &["get"][..]),
        Permission { group: "authentication.k8s.io", resource: "tokenreviews", verbs: &["create"] },
    ];
    match mode {
        Mode::Pod => {
            needed.extend([one("pods", &["get", "delete"][..]), one("serviceaccounts/token", &["create"][..])]);
        }
        Mode::Recreate => needed.extend([
            one("pods", &["list"][..]),
            one("serviceaccounts", &["create", "delete", "patch"][..]),
            one("serviceaccounts/token", &["create"][..]),
        ]),
        Mode::LegacySecret => needed.push(one("secrets", &["get", "delete"][..])),
    }
    needed
}

/// The account, and what is deleted for its tokens to die.
struct Found {
    account: Value,
    subject: Value,
}

impl Found {
    async fn of(api: &Api, inputs: &Inputs) -> Result<Self, ActionError> {
        let target = &inputs.target;
        let object = target.read(api, &[&POD, &SERVICE_ACCOUNT]).await?;
        let is_pod = target.kind == POD.kind;
        let name = if is_pod { text(&object, "/spec/serviceAccountName") } else { target.name.as_str() };
        let place = Place::new(&SERVICE_ACCOUNT, target.namespace.as_deref(), name);
        let Some(account) = api.get(place).await? else {
            return Err(ActionError::denied(format!("{place} is not there: its tokens are dead")));
        };
        let subject = match inputs.mode {
            Mode::Pod if is_pod => object,
            Mode::Pod => return Err(ActionError::denied(format!("mode pod needs a pod, and not {target}"))),
            Mode::Recreate => account.clone(),
            Mode::LegacySecret => legacy_secret(api, inputs, name).await?,
        };
        Ok(Self { account, subject })
    }
}

fn secret_place(inputs: &Inputs) -> Result<Place<'_>, ActionError> {
    let name =
        inputs.secret.as_deref().ok_or_else(|| ActionError::denied("mode legacySecret needs the Secret's name"))?;
    Ok(Place::new(&SECRET, inputs.target.namespace.as_deref(), name))
}

async fn legacy_secret(api: &Api, inputs: &Inputs, account: &str) -> Result<Value, ActionError> {
    let place = secret_place(inputs)?;
    let secret = api.get(place).await?.ok_or_else(|| ActionError::denied(format!("{place} is not there")))?;
    let is_token = text(&secret, "/type") == "kubernetes.io/service-account-token";
    if is_token && annotation(&secret, "kubernetes.io/service-account.name") == account {
        return Ok(secret);
    }
    Err(ActionError::denied(format!("{place} has no token of the service account {account}")))
}

fn canary_change(account: &Value) -> Change {
    let object = ObjectRef { kind: "TokenRequest".to_owned(), uid: None, ..reference(account) };
    Change {
        id: "canary".to_owned(),
        verb: "create".to_owned(),
        object,
        fields: Vec::new(),
        irreversible: Some("a token of ten minutes, which is kept nowhere and is to die at once".to_owned()),
        loses: None,
    }
}

async fn plan_recreation<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    account: &Value,
    memo: &Memo,
) -> Result<(), ActionError> {
    let object = reference(account);
    let place = Place::new(&SERVICE_ACCOUNT, object.namespace.as_deref(), &object.name);
    plan_delete(api, plan, place, account, |change| change, "account").await?;
    let again = ObjectRef { uid: None, ..object.clone() };
    plan.changes.push(Change::new("again", "create", again, &Value::Null, &settled(memo.manifest.clone())));
    let names: Vec<&str> = memo.consumers.iter().map(|pod| pod.name.as_str()).collect();
    if !names.is_empty() {
        let pods = names.join(", ");
        plan.warnings.push(format!("these pods hold dead tokens until they are restarted: {pods}"));
    }
    Ok(())
}

/// The pods of the account's namespace that run as it.
async fn consumers(api: &Api, account: &Value) -> Result<Vec<ObjectRef>, ActionError> {
    let object = reference(account);
    let pods = api.list(&POD, object.namespace.as_deref()).await?;
    let runs = |pod: &&Value| text(pod, "/spec/serviceAccountName") == object.name && !has_ended(pod);
    Ok(pods.iter().filter(runs).map(reference).collect())
}

struct Revocation<'a> {
    api: &'a Api,
    inputs: &'a Inputs,
    memo: &'a Memo,
}

impl Revocation<'_> {
    fn account(&self) -> Place<'_> {
        let target = &self.inputs.target;
        Place::new(&SERVICE_ACCOUNT, target.namespace.as_deref(), text(&self.memo.manifest, "/metadata/name"))
    }

    /// A token that is good now, or why there is none. That there is none keeps nobody from revoking.
    async fn canary(&self, writes: &mut Writes<'_, Undone>) -> Result<Result<Token, String>, ActionError> {
        let token = match self.inputs.mode {
            Mode::LegacySecret => self.legacy_token().await?,
            Mode::Pod | Mode::Recreate => {
                writes.write("canary", Inverse::None, async |_: Permit| Ok(self.mint().await)).await?
            }
        };
        let Ok(token) = token else { return Ok(token) };
        Ok(if is_good(self.api, &token).await? { Ok(token) } else { Err("it was not good to begin with".to_owned()) })
    }

    async fn mint(&self) -> Result<Token, String> {
        let target = &self.inputs.target;
        let kind = SERVICE_ACCOUNT.resource_type();
        let path = ObjectPath {
            resource: &kind,
            namespace: target.namespace.as_deref(),
            name: text(&self.memo.manifest, "/metadata/name"),
        };
        let pod = (self.inputs.mode == Mode::Pod).then_some(BoundPod { name: &target.name, uid: &target.uid });
        let minted = self.api.cluster.request_token(path, pod, LIFE).await;
        minted.map_err(|error| refused(error).chain())
    }

    async fn legacy_token(&self) -> Result<Result<Token, String>, ActionError> {
        let found = self.api.get(secret_place(self.inputs)?).await?;
        let Some(secret) = found.filter(|secret| Some(uid(secret)) == self.memo.secret.as_deref()) else {
            return Ok(Err("the Secret is not there any more".to_owned()));
        };
        let token = STANDARD.decode(text(&secret, "/data/token")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(token.filter(|token| !token.is_empty()).map(Token::new).ok_or_else(|| "the Secret has no token".to_owned()))
    }

    async fn revoke(&self, writes: &mut Writes<'_, Undone>) -> Result<(), ActionError> {
        let (api, memo) = (self.api, self.memo);
        match self.inputs.mode {
            Mode::Pod => {
                let place = self.inputs.target.place(&[&POD])?;
                self.delete(writes, "pod", place, &self.inputs.target.uid).await
            }
            Mode::LegacySecret => {
                let uid = memo.secret.as_deref().unwrap_or_default();
                self.delete(writes, "secret", secret_place(self.inputs)?, uid).await
            }
            Mode::Recreate => {
                let inverse = Undone::Account { manifest: memo.manifest.clone(), uid: memo.account.clone() };
                let delete = async |permit| recreate::delete(api, &permit, &memo.manifest, &memo.account).await;
                writes.write("account", Inverse::By(inverse), delete).await?;
                let inverse = Undone::Stays { account: self.account().to_string() };
                let create = async |permit| recreate::create(api, &permit, &memo.manifest, &memo.account).await;
                writes.write("again", Inverse::By(inverse), create).await
            }
        }
    }

    async fn delete(
        &self,
        writes: &mut Writes<'_, Undone>,
        change: &str,
        place: Place<'_>,
        uid: &str,
    ) -> Result<(), ActionError> {
        let delete = async |permit: Permit| self.api.delete(&permit, place, uid, None).await;
        writes.write(change, Inverse::None, delete).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_is_made_again_as_people_wrote_it() {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "creationTimestamp": "x",
                "labels": {"a": "b"}, "managedFields": [],
            },
            "imagePullSecrets": [{"name": "registry"}],
            "automountServiceAccountToken": false,
        });
        assert_eq!(
            recreate::manifest(&account),
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
                "imagePullSecrets": [{"name": "registry"}],
                "automountServiceAccountToken": false,
            })
        );
    }
}
