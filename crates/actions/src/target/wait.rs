//! `wait.for`.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lifeboat_kubernetes::{Error, ObjectPath};
use lifeboat_playbook::{
    Action, ActionError, Condition, NoInverse, Period, Permission, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{Connection, Place, refused};
use crate::fields::uid;
use crate::planning::{of_kind, review};
use crate::resources::{
    DAEMON_SET, DEPLOYMENT, JOB, NAMESPACE, NODE, POD, REPLICA_SET, Resource, SERVICE_ACCOUNT, STATEFUL_SET,
};

/// What can be waited for.
static WAITED: [&Resource; 9] =
    [&POD, &NAMESPACE, &NODE, &SERVICE_ACCOUNT, &DEPLOYMENT, &REPLICA_SET, &STATEFUL_SET, &DAEMON_SET, &JOB];

/// The action `wait.for`.
#[derive(Debug)]
pub(crate) struct Wait {
    connection: Connection,
}

impl Wait {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

fn five_minutes() -> Period {
    Period::seconds(300)
}

fn core() -> String {
    "v1".to_owned()
}

/// Which object, and what of it. The object need not be there when the playbook begins.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// `v1`, `apps/v1`, `batch/v1`.
    #[serde(default = "core")]
    api_version: String,
    /// `Pod`, `Namespace`, `Node`, `ServiceAccount`, `Deployment`, `ReplicaSet`, `StatefulSet`, `DaemonSet` or `Job`.
    kind: String,
    /// Its namespace; none for those of the cluster.
    #[serde(default)]
    namespace: Option<String>,
    /// Its name.
    name: String,
    /// A condition in CEL over `object`, such as `object.status.readyReplicas >= 2`. A field that is not there makes it
    /// false.
    #[serde(default)]
    condition: Option<String>,
    /// Wait until the object is gone.
    #[serde(default)]
    gone: bool,
    /// How long to wait.
    #[serde(default = "five_minutes")]
    within: Period,
}

/// What came.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The object's UID; null where it is gone.
    uid: Option<String>,
}

const fn seen(group: &'static str, resource: &'static str) -> Permission {
    Permission { group, resource, verbs: &["get", "list", "watch"] }
}

const PERMISSIONS: &[Permission] = &[
    seen("", "pods"),
    seen("", "namespaces"),
    seen("", "nodes"),
    seen("", "serviceaccounts"),
    seen("apps", "deployments"),
    seen("apps", "replicasets"),
    seen("apps", "statefulsets"),
    seen("apps", "daemonsets"),
    seen("batch", "jobs"),
];

/// What is waited for.
enum Wanted {
    Condition(Condition),
    Gone,
}

impl Wanted {
    fn reached(&self, object: Option<&Value>) -> Result<bool, String> {
        match (self, object) {
            (Self::Gone, object) => Ok(object.is_none()),
            (Self::Condition(_), None) => Ok(false),
            (Self::Condition(condition), Some(object)) => condition.matches(object),
        }
    }
}

impl Inputs {
    fn resource(&self) -> Result<&'static Resource, ActionError> {
        let found = Resource::of_kind(&self.api_version, &self.kind).filter(|known| WAITED.contains(known));
        found.ok_or_else(|| {
            let known: Vec<String> = WAITED.iter().map(|one| format!("{} ({})", one.kind, one.api_version())).collect();
            let Self { api_version, kind, .. } = self;
            ActionError::denied(format!("{kind} of {api_version} is not known here; known are: {}", known.join(", ")))
        })
    }

    fn place(&self) -> Result<Place<'_>, ActionError> {
        let resource = self.resource()?;
        if resource.namespaced != self.namespace.is_some() {
            let words = if resource.namespaced { "needs a namespace" } else { "has no namespace" };
            return Err(ActionError::denied(format!("a {} {words}", resource.kind)));
        }
        Ok(Place::new(resource, self.namespace.as_deref(), &self.name))
    }

    fn wanted(&self) -> Result<Wanted, ActionError> {
        match (&self.condition, self.gone) {
            (Some(source), false) => Condition::compile(source, "object")
                .map(Wanted::Condition)
                .map_err(|error| ActionError::denied(format!("the condition is wrong: {error}"))),
            (None, true) => Ok(Wanted::Gone),
            _ => Err(ActionError::denied("either `condition` or `gone: true` is needed")),
        }
    }

    fn words(&self) -> String {
        self.condition.clone().unwrap_or_else(|| "it is gone".to_owned())
    }
}

#[async_trait]
impl Action for Wait {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "wait.for",
            summary: "Wait until an object is as it should be, or gone",
            description: "Watches one object until a condition in CEL over it is true, or until it is gone. When that \
                          does not come about in time, the step is `failed`. Afterwards the object is read again: \
                          where it is not so any more, the step is `unverified`.",
            permissions: PERMISSIONS,
            attack: &[],
            defend: &[],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: ready\n  uses: wait.for\n  with:\n    apiVersion: apps/v1\n    kind: Deployment\n    \
                      namespace: shop\n    name: web\n    condition: object.status.readyReplicas >= 2\n    within: 10m\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let place = inputs.place()?;
        inputs.wanted()?;
        let api = self.connection.api().await?;
        let mut plan = StepPlan::default();
        review(&api, &mut plan, &of_kind(PERMISSIONS, &WAITED, place.resource), place.namespace).await?;
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let (place, wanted) = (inputs.place()?, inputs.wanted()?);
        let api = self.connection.api().await?;
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        let wrong = Mutex::new(None);
        let reached = |object: Option<&Value>| match wanted.reached(object) {
            Ok(reached) => reached,
            Err(error) => {
                *wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                true
            }
        };
        let waited = api.cluster.wait_until(path, inputs.within.duration(), reached).await;
        if let Some(error) = wrong.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(ActionError::failed(format!("the condition cannot be asked of {place}: {error}")));
        }
        match waited {
            Ok(object) => Ok(Outputs { uid: object.as_ref().map(|object| uid(object).to_owned()) }),
            Err(Error::NotReached { .. }) => {
                let (within, words) = (inputs.within, inputs.words());
                Err(ActionError::failed(format!("{place}: not within {within}: {words}")))
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn prove(&self, inputs: &Inputs, _: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let (place, wanted) = (inputs.place()?, inputs.wanted()?);
        let object = self.connection.api().await?.get(place).await?;
        let words = inputs.words();
        Ok(match wanted.reached(object.as_ref()) {
            Ok(true) => Proof::Observed(format!("{place} was read again: {words}")),
            Ok(false) => Proof::NotObserved(format!("{place} was so, and is not any more: {words}")),
            Err(error) => Proof::NotObserved(format!("{place} cannot be asked any more: {error}")),
        })
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
