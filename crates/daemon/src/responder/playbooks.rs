//! Playbooks that are objects: whether they can be run, and what is wrong with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use kube::runtime::reflector::Store;
use kube::{Resource as _, ResourceExt as _};
use lifeboat_kubernetes::ObjectPath;
use lifeboat_model::{Condition, ResourceType, YamlKind, YamlNode, YamlPlace, parse_yaml_tree, set_condition};
use lifeboat_playbook::{LoadErrors, Playbook as Loaded, PlaybookFault, PlaybookStatus, Registry, load};
use lifeboat_recovery::chain;
use serde_json::{Value, json};

use super::Shared;
use crate::controllers::driver::{Failure, Guarded, drive};
use crate::controllers::observed;
use crate::resources::Playbook;

/// One after the other: they are judged in no time.
const AT_A_TIME: u16 = 1;
/// The step that calls another playbook.
const CALL: &str = "playbook";

type Object = Guarded<Playbook>;

pub(super) async fn run(shared: &Arc<Shared>) {
    drive(
        shared.api::<Playbook>(),
        |_| true,
        AT_A_TIME,
        |object, store| {
            let shared = Arc::clone(shared);
            async move { step(&shared, &object, &store).await }.boxed()
        },
    )
    .await;
}

async fn step(shared: &Shared, object: &Object, store: &Store<Object>) -> Result<(), Failure> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let known = store.state();
    judge(shared, object, &known).await?;
    // What calls others may have become right, or wrong, by this one.
    for other in known.iter().filter(|other| other.name_any() != object.name_any() && calls(other)) {
        judge(shared, other, &known).await?;
    }
    Ok(())
}

fn calls(object: &Object) -> bool {
    let Ok(playbook) = &object.0 else { return true };
    let spec = &playbook.spec.0;
    spec.steps.iter().chain(&spec.finally).any(|step| step.uses == CALL)
}

async fn judge(shared: &Shared, object: &Object, known: &[Arc<Object>]) -> Result<(), Failure> {
    let stored = object.0.as_ref().ok().and_then(|playbook| playbook.status.clone());
    let mut status = stored.clone().unwrap_or_default();
    let (faults, reason, message) = match loaded(shared, object, known).await? {
        Ok(playbook) => {
            let actions = playbook.actions();
            status.steps = u32::try_from(playbook.document().spec.steps.len()).unwrap_or(u32::MAX);
            status.actions = actions.into_iter().map(str::to_owned).collect();
            (Vec::new(), "Loaded", "it can be run".to_owned())
        }
        Err(faults) => {
            let message = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            status = PlaybookStatus { steps: 0, actions: Vec::new(), ..status };
            (faults, "Faulty", message)
        }
    };
    status.observed_generation = object.meta().generation;
    let condition = Condition::new("Ready", faults.is_empty(), reason, &message, shared.now());
    set_condition(&mut status.conditions, observed(object, condition));
    status.faults = PlaybookFault::list(faults);
    if stored.as_ref() == Some(&status) {
        return Ok(());
    }
    shared.show(object, &status).await
}

/// The playbook of an object, with those that it calls; or all that is wrong with it.
pub(super) async fn loaded(
    shared: &Shared,
    object: &Object,
    known: &[Arc<Object>],
) -> Result<Result<Loaded, Vec<PlaybookFault>>, Failure> {
    let name = object.name_any();
    let text = match text(object) {
        Some(text) => text,
        // It does not fit the type; what is wrong with it is seen in what is stored.
        None => match raw(shared, &name).await? {
            Some(text) => text,
            None => return Ok(Err(Vec::new())),
        },
    };
    let library: BTreeMap<String, String> =
        known.iter().filter_map(|other| Some((other.name_any(), text_of(other)?))).collect();
    Ok(load_text(&name, &text, &shared.registry, &library))
}

fn text_of(object: &Arc<Object>) -> Option<String> {
    text(object)
}

/// An object as a document: with its name and its spec, and nothing that the cluster adds.
fn text(object: &Object) -> Option<String> {
    let playbook = object.0.as_ref().ok()?;
    document(&object.name_any(), &serde_json::to_value(&playbook.spec).ok()?)
}

fn document(name: &str, spec: &Value) -> Option<String> {
    let document = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": {"name": name}, "spec": spec,
    });
    serde_json::to_string_pretty(&document).ok()
}

/// The same of an object that does not fit the type.
async fn raw(shared: &Shared, name: &str) -> Result<Option<String>, Failure> {
    let kind = ResourceType {
        group: "lifeboat.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        resource: "playbooks".to_owned(),
        kind: "Playbook".to_owned(),
        singular: "playbook".to_owned(),
        short_names: Vec::new(),
        namespaced: true,
    };
    let path = ObjectPath { resource: &kind, namespace: Some(&shared.namespace), name };
    match shared.cluster.get(path).await {
        Ok(found) => {
            let object: Option<Value> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            Ok(object.and_then(|object| document(name, object.get("spec")?)))
        }
        Err(error) => {
            tracing::warn!(playbook = name, error = chain(&error), "a playbook cannot be read");
            Err(Failure::Busy)
        }
    }
}

fn load_text(
    name: &str,
    text: &str,
    registry: &Registry,
    library: &BTreeMap<String, String>,
) -> Result<Loaded, Vec<PlaybookFault>> {
    load(name, text, registry, library).map_err(|LoadErrors(errors)| {
        let faults = errors.into_iter().map(|error| {
            let of = if error.source_name == name {
                Some(text)
            } else {
                library.get(&error.source_name).map(String::as_str)
            };
            let place = YamlPlace { line: error.line, column: error.column };
            let path = of.and_then(|text| path(text, place)).unwrap_or_default();
            PlaybookFault {
                playbook: error.source_name,
                line: error.line,
                column: error.column,
                path,
                message: error.message,
            }
        });
        faults.collect()
    })
}

/// What stands at a place: `spec.steps[2].with.target`.
fn path(text: &str, place: YamlPlace) -> Option<String> {
    let tree = parse_yaml_tree("", text).ok()?;
    find(&tree, place, "").filter(|path| !path.is_empty())
}

fn find(node: &YamlNode, place: YamlPlace, path: &str) -> Option<String> {
    let deeper = match &node.kind {
        YamlKind::Scalar(_) => None,
        YamlKind::List(items) => {
            items.iter().enumerate().find_map(|(index, item)| find(item, place, &format!("{path}[{index}]")))
        }
        YamlKind::Map(members) => members.iter().find_map(|member| {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", member.key);
            if member.place == place { Some(path) } else { find(&member.value, place, &path) }
        }),
    };
    deeper.or_else(|| (node.place == place).then(|| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use lifeboat_playbook::add_builtin;

    use super::*;

    #[test]
    fn every_fault_has_its_path() {
        let spec = json!({
            "description": "A test.",
            "steps": [
                {"id": "one", "uses": "asert", "with": {}},
                {"id": "two", "uses": "assert", "with": {"that": "${{ steps.nobody.x }}"}, "needs": ["three"]},
                {"id": "call", "uses": "playbook", "with": {"name": "not-there"}},
            ],
        });
        let mut registry = Registry::new();
        add_builtin(&mut registry).unwrap();
        let text = document("faulty", &spec).unwrap();
        let faults = load_text("faulty", &text, &registry, &BTreeMap::new()).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        for wanted in ["spec.steps[0].uses", "spec.steps[1].needs[0]", "spec.steps[2].with.name"] {
            assert!(paths.contains(&wanted), "{wanted}: {faults:#?}");
        }
        assert!(faults.iter().all(|fault| fault.line > 0 && fault.column > 0), "{faults:#?}");
    }
}
