//! What is common to the writes of steps: objects of our own, changes that others may come before, and deletions.

use std::fmt::Display;

use lifeboat_kubernetes::Error;
use lifeboat_playbook::{ActionError, Permit, Proof, StepPlan};
use serde_json::{Value, json};

use crate::api::{Api, Place, refused};
use crate::fields::{merged, text, uid};
use crate::planning::plan_create;

/// How often somebody else may change an object between our look at it and our write.
pub(crate) const RACES: usize = 8;

/// What is said after [`RACES`] tries.
pub(crate) fn raced(what: impl Display) -> ActionError {
    ActionError::transient(format!("{what} is changed too often by somebody else"))
}

/// A patch that is done to that object only, and only as it is.
pub(crate) fn at_version(patch: &Value, object: &Value) -> Value {
    let version = text(object, "/metadata/resourceVersion");
    merged(patch, &json!({"metadata": {"uid": uid(object), "resourceVersion": version}}))
}

/// Changes an object as it was read. `false` if somebody else has changed or deleted it since: the next look tells.
pub(crate) async fn patch_as_read(
    api: &Api,
    permit: &Permit,
    place: Place<'_>,
    (object, patch): (&Value, &Value),
) -> Result<bool, ActionError> {
    match api.patch(permit, place, &at_version(patch, object)).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict { .. } | Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

/// Deletes an object, and looks.
pub(crate) async fn remove(api: &Api, permit: &Permit, place: Place<'_>, uid: &str) -> Result<Proof, ActionError> {
    api.delete(permit, place, uid, None).await?;
    Ok(match api.get(place).await? {
        None => Proof::Observed(format!("{place} is gone")),
        Some(_) => Proof::NotObserved(format!("{place} is still there")),
    })
}

/// An object that a step makes for itself, and that a rollback takes away.
pub(crate) struct Own<'a, F> {
    pub(crate) place: Place<'a>,
    /// As it is made.
    pub(crate) object: Value,
    /// What it is: `the quarantine`.
    pub(crate) what: &'static str,
    /// Whether one that is there is this one, as it was made.
    pub(crate) is_it: F,
}

impl<F: Fn(&Value) -> bool> Own<'_, F> {
    fn taken(&self) -> ActionError {
        ActionError::denied(format!("{} is there, and is not {}", self.place, self.what))
    }

    /// Notes its creation in a plan, unless it is there.
    pub(crate) async fn plan<O>(&self, api: &Api, plan: &mut StepPlan<O>, id: &str) -> Result<(), ActionError> {
        match api.get(self.place).await? {
            None => plan_create(api, plan, id, self.place, &self.object).await,
            Some(found) if (self.is_it)(&found) => Ok(()),
            Some(_) => Err(self.taken()),
        }
    }

    /// Makes it. One that is there already is of before the run was killed.
    pub(crate) async fn create(&self, api: &Api, permit: &Permit) -> Result<(), ActionError> {
        match api.create(permit, self.place, &self.object).await {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. }) => match api.get(self.place).await? {
                Some(found) if (self.is_it)(&found) => Ok(()),
                _ => Err(self.taken()),
            },
            Err(error) => Err(refused(error)),
        }
    }

    /// Takes it away, if nobody has changed it.
    pub(crate) async fn take_away(&self, api: &Api, permit: &Permit) -> Result<Proof, ActionError> {
        let Self { place, what, .. } = self;
        match api.get(*place).await? {
            None => Ok(Proof::Observed(format!("{place} is gone"))),
            Some(found) if (self.is_it)(&found) => remove(api, permit, *place, uid(&found)).await,
            Some(_) => Ok(Proof::NotObserved(format!("{place} is not {what} as it was made, and was left as it is"))),
        }
    }
}
