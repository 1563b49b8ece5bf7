//! One rotation of one Secret: keeping the old values, giving new ones, and back.

use lifeboat_playbook::{ActionError, Change, ObjectRef, Permit, Proof, StepPlan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::value::{NewValue, Random};
use crate::api::{Api, Place, refused};
use crate::fields::{annotation, counted, name, namespace, reference, uid};
use crate::planning::asked;
use crate::resources::SECRET;
use crate::writing::{Own, at_version, remove};

/// How often a Secret was given new values by this action.
const ROTATIONS: &str = "lifeboat.dev/rotations";
/// Of which Secret something is a copy, by its UID.
const COPY_OF: &str = "lifeboat.dev/copy-of";
/// What is shown of a value.
const HIDDEN: &str = "(not shown)";

/// One rotation of one Secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rotation {
    namespace: String,
    name: String,
    uid: String,
    keys: Vec<String>,
    /// How many there were with this one.
    number: u64,
}

fn rotations(secret: &Value) -> u64 {
    counted(secret, ROTATIONS)
}

/// The value of a key, in base64.
pub(super) fn value<'a>(secret: &'a Value, key: &str) -> Option<&'a str> {
    secret.get("data").and_then(|data| data.get(key)).and_then(Value::as_str)
}

impl Rotation {
    /// The next one.
    pub(super) fn of(secret: &Value, keys: &[NewValue]) -> Self {
        Self {
            namespace: namespace(secret).unwrap_or_default().to_owned(),
            name: name(secret).to_owned(),
            uid: uid(secret).to_owned(),
            keys: keys.iter().map(|new| new.key.clone()).collect(),
            number: rotations(secret).saturating_add(1),
        }
    }

    /// The name of the Secret that keeps the old values.
    pub(super) fn copy(&self) -> String {
        // A name has at most 253 bytes, all of them ASCII.
        let name: String = self.name.chars().take(220).collect();
        format!("{name}-before-{}", self.number)
    }

    fn place(&self) -> Place<'_> {
        self.beside(&self.name)
    }

    fn is_copy(&self, found: &Value) -> bool {
        annotation(found, COPY_OF) == self.uid
    }

    fn copied(&self, secret: &Value) -> Value {
        let labels = json!({"app.kubernetes.io/managed-by": "lifeboat"});
        let metadata = json!({
            "name": self.copy(), "namespace": self.namespace, "labels": labels, "annotations": {COPY_OF: self.uid},
        });
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "immutable": true,
            "data": secret.get("data"),
        })
    }

    /// Another Secret of its namespace.
    fn beside<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place::new(&SECRET, Some(&self.namespace), name)
    }

    /// The patch of exactly that Secret, as it is.
    fn patch(secret: &Value, values: &Map<String, Value>, number: u64) -> Value {
        let count = if number == 0 { Value::Null } else { number.to_string().into() };
        at_version(&json!({"metadata": {"annotations": {ROTATIONS: count}}, "data": values}), secret)
    }

    /// Notes the two writes, by dry runs, and without any value.
    pub(super) async fn plan<O>(
        &self,
        api: &Api,
        plan: &mut StepPlan<O>,
        secret: &Value,
        keys: &[NewValue],
    ) -> Result<(), ActionError> {
        let copy = self.copy();
        let place = self.beside(&copy);
        if api.get(place).await?.is_some() {
            return Err(ActionError::denied(format!("{place} is there already")));
        }
        asked(api.dry_create(place, &self.copied(secret)).await)?;
        let same: Map<String, Value> = self.keys.iter().map(|key| (key.clone(), json!(value(secret, key)))).collect();
        asked(api.dry_patch(self.place(), &Self::patch(secret, &same, self.number)).await)?;
        let hidden = |words: &dyn Fn(&NewValue) -> String| {
            keys.iter().map(|new| (new.key.clone(), words(new).into())).collect::<Map<String, Value>>()
        };
        let old = json!({"data": hidden(&|_| HIDDEN.to_owned())});
        let object = ObjectRef { name: copy, uid: None, ..reference(secret) };
        plan.changes.push(Change::new("copy", "create", object, &Value::Null, &old));
        let new = json!({"data": hidden(&NewValue::words)});
        plan.changes.push(Change::new("values", "patch", reference(secret), &old, &new));
        Ok(())
    }

    /// Keeps the old values.
    pub(super) async fn keep(&self, api: &Api, permit: &Permit) -> Result<(), ActionError> {
        let copy = self.copy();
        let place = self.beside(&copy);
        let secret = api.get_same(self.place(), &self.uid).await?;
        if rotations(&secret) >= self.number {
            // Before a kill, this run had come further; or somebody else did the same.
            let found = api.get(place).await?.is_some_and(|found| self.is_copy(&found));
            return if found { Ok(()) } else { Err(ActionError::denied("somebody else rotated it since the plan")) };
        }
        let is_it = |found: &Value| self.is_copy(found) && found.get("data") == secret.get("data");
        Own { place, object: self.copied(&secret), what: "the copy", is_it }.create(api, permit).await
    }

    /// Gives new values, to exactly what was copied.
    pub(super) async fn give(
        &self,
        api: &Api,
        permit: &Permit,
        keys: &[NewValue],
        random: Random,
    ) -> Result<(), ActionError> {
        let secret = api.get_same(self.place(), &self.uid).await?;
        if rotations(&secret) >= self.number {
            return Ok(());
        }
        let copy = self.copy();
        let kept = api.get(self.beside(&copy)).await?;
        if kept.as_ref().and_then(|kept| kept.get("data")) != secret.get("data") {
            return Err(ActionError::denied(format!("{} was changed since it was copied", self.place())));
        }
        let mut values = Map::new();
        for new in keys {
            values.insert(new.key.clone(), new.make(random)?.into());
        }
        let patch = Self::patch(&secret, &values, self.number);
        api.patch(permit, self.place(), &patch).await.map(drop).map_err(refused)
    }

    pub(super) async fn give_back(&self, api: &Api, permit: &Permit) -> Result<Proof, ActionError> {
        let place = self.place();
        let Some(secret) = api.find(place, &self.uid).await? else {
            return Ok(Proof::Observed(format!("{place} is gone, and has no values to put back")));
        };
        let now = rotations(&secret);
        if now > self.number {
            return Ok(Proof::NotObserved(format!("somebody else rotated {place} since, which was left")));
        }
        if now < self.number {
            return Ok(Proof::Observed(format!("{place} has its old values")));
        }
        let copy = self.copy();
        let Some(kept) = api.get(self.beside(&copy)).await? else {
            return Ok(Proof::NotObserved(format!("the copy {copy} is gone, and with it the old values")));
        };
        let values = self.keys.iter().map(|key| (key.clone(), json!(value(&kept, key)))).collect();
        let patch = Self::patch(&secret, &values, self.number.saturating_sub(1));
        api.patch(permit, place, &patch).await.map_err(refused)?;
        let found = api.get_same(place, &self.uid).await?;
        Ok(if self.keys.iter().all(|key| value(&found, key) == value(&kept, key)) {
            Proof::Observed(format!("{place} has its old values; who reads it may hold the others until restarted"))
        } else {
            Proof::NotObserved(format!("{place} does not have its old values"))
        })
    }

    /// Deletes the copy, once it is not all that is left of the old values.
    pub(super) async fn forget(&self, api: &Api, permit: &Permit) -> Result<Proof, ActionError> {
        let copy = self.copy();
        let place = self.beside(&copy);
        let Some(found) = api.get(place).await?.filter(|found| self.is_copy(found)) else {
            return Ok(Proof::Observed(format!("{place} is gone")));
        };
        let secret = api.find(self.place(), &self.uid).await?;
        if secret.is_none_or(|secret| rotations(&secret) >= self.number) {
            return Ok(Proof::NotObserved(format!("{place} is all that is left of the old values, and was kept")));
        }
        remove(api, permit, place, uid(&found)).await
    }
}
