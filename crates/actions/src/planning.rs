//! What is common to the plans of steps: access reviews, and writes found out by dry runs.

use lifeboat_kubernetes::{Access, Error};
use lifeboat_playbook::{ActionError, Change, ObjectRef, Permission, StepPlan};
use serde_json::{Value, json};

use crate::api::{Api, Place, refused};
use crate::fields::{merged, namespace, reference, settled};
use crate::resources::Resource;

/// The permissions of an action that takes several kinds of objects, for one kind.
pub(crate) fn of_kind(permissions: &[Permission], kinds: &[&Resource], wanted: &Resource) -> Vec<Permission> {
    let mut needed = permissions.to_vec();
    needed.retain(|permission| {
        let is = |kind: &&Resource| kind.group == permission.group && kind.resource == permission.resource;
        !kinds.iter().any(is) || is(&wanted)
    });
    needed
}

/// Notes in a plan which of the permissions are missing, in a namespace or, for objects of the cluster, everywhere.
pub(crate) async fn review<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    permissions: &[Permission],
    namespace: Option<&str>,
) -> Result<(), ActionError> {
    let mut questions = Vec::new();
    for permission in permissions {
        let (resource, subresource) = permission.resource.split_once('/').unwrap_or((permission.resource, ""));
        let within = namespace.filter(|_| !Resource::is_of_cluster(permission.group, resource));
        questions.extend(permission.verbs.iter().map(|verb| Access {
            verb,
            group: permission.group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: within.unwrap_or_default().to_owned(),
            name: String::new(),
        }));
    }
    let decisions = api.cluster.may(&questions).await.map_err(refused)?;
    for (question, _) in questions.iter().zip(&decisions).filter(|(_, decision)| !decision.allowed) {
        let missing = words(question);
        if !plan.missing.contains(&missing) {
            plan.missing.push(missing);
        }
    }
    Ok(())
}

/// `patch pods/eviction in namespace shop`.
fn words(question: &Access) -> String {
    let Access { verb, group, resource, subresource, namespace, .. } = question;
    let mut text = format!("{verb} {resource}");
    if !group.is_empty() {
        text = format!("{text}.{group}");
    }
    if !subresource.is_empty() {
        text = format!("{text}/{subresource}");
    }
    if namespace.is_empty() { text } else { format!("{text} in namespace {namespace}") }
}

/// What a dry run came to; nothing where this identity may not even ask, which an access review has noted.
pub(crate) fn asked<T>(answer: Result<T, Error>) -> Result<Option<T>, ActionError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Forbidden { .. }) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

/// A patch of one object, as the server would store it. `patch` need not have the UID: it is put in.
pub(crate) async fn plan_patch<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    id: &str,
    place: Place<'_>,
    (current, patch): (&Value, &Value),
) -> Result<(), ActionError> {
    let patch = merged(patch, &json!({"metadata": {"uid": crate::fields::uid(current)}}));
    let after = match asked(api.dry_patch(place, &patch).await)? {
        Some((after, warnings)) => {
            plan.warnings.extend(warnings);
            after
        }
        None => merged(current, &patch),
    };
    plan.changes.push(Change::new(id, "patch", reference(current), &settled(current.clone()), &settled(after)));
    Ok(())
}

/// A creation of one object, as the server would store it.
pub(crate) async fn plan_create<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    id: &str,
    place: Place<'_>,
    object: &Value,
) -> Result<(), ActionError> {
    let after = match asked(api.dry_create(place, object).await)? {
        Some((after, warnings)) => {
            plan.warnings.extend(warnings);
            after
        }
        None => object.clone(),
    };
    let object = ObjectRef { uid: None, ..reference(object) };
    plan.changes.push(Change::new(id, "create", object, &Value::Null, &settled(after)));
    Ok(())
}

/// A deletion of one object.
pub(crate) async fn plan_delete<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    place: Place<'_>,
    object: &Value,
    change: impl FnOnce(Change) -> Change,
    id: &str,
) -> Result<(), ActionError> {
    asked(api.dry_delete(place, crate::fields::uid(object)).await)?;
    plan.changes.push(change(Change {
        id: id.to_owned(),
        verb: "delete".to_owned(),
        object: reference(object),
        fields: Vec::new(),
        irreversible: None,
        loses: None,
    }));
    Ok(())
}

/// Where an object lies.
pub(crate) fn place_of<'a>(resource: &'static Resource, object: &'a Value) -> Place<'a> {
    Place::new(resource, namespace(object), crate::fields::name(object))
}
