//! Two backups, compared: the objects of the one have to be in the other, equal but for the documented differences.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use lifeboat_model::{IndexEntry, Object, ObjectKey, ResourceType};
use lifeboat_recovery::restore_objects::{Plan, Verdict};
use lifeboat_recovery::rules::{self, SkipContext};
use lifeboat_recovery::{OpenBackup, Selection};
use serde_json::Value;

use super::shape::{Fate, Shape};

/// An object of a backup.
pub(super) struct Taken {
    pub(super) resource: ResourceType,
    pub(super) entry: IndexEntry,
    pub(super) object: Value,
}

/// The objects of a backup, by group and resource, namespace and name.
pub(super) type Objects = BTreeMap<String, Taken>;

pub(super) fn key(group: &str, resource: &str, namespace: Option<&str>, name: &str) -> String {
    format!("{resource}.{group} {}/{name}", namespace.unwrap_or_default())
}

/// All objects of a backup.
pub(super) async fn objects(open: &OpenBackup) -> Objects {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&taken);
    let each = move |entry: IndexEntry, json: &[u8]| {
        sink.lock().unwrap().push((entry, serde_json::from_slice::<Value>(json).unwrap()));
        Ok(())
    };
    open.read(Selection::default(), each).await.unwrap();
    let types = &open.coverage().resources;
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    let named = taken.into_iter().map(|(entry, object)| {
        let ObjectKey { group, resource, namespace, name, .. } = entry.key();
        let known = types.iter().find(|known| known.resource.group == group && known.resource.resource == resource);
        let resource_type = known.unwrap().resource.clone();
        (key(&group, &resource, namespace.as_deref(), &name), Taken { resource: resource_type, entry, object })
    });
    named.collect()
}

/// What is wrong with a restore; nothing, if it is as it has to be.
pub(super) struct Verdicts {
    pub(super) problems: Vec<String>,
    /// The differences that were met.
    pub(super) met: BTreeSet<u32>,
}

/// Compares what was backed up with what is there after a restore into an empty cluster. `controllers` says whether
/// Kubernetes' controllers run on both; what they make of their own accord then does not count.
pub(super) fn compare(before: &Objects, after: &Objects, plan: &Plan, shapes: &[Shape], controllers: bool) -> Verdicts {
    let mut verdicts = Verdicts { problems: Vec::new(), met: BTreeSet::new() };
    let skipped = skipped(before, plan);
    for (key, taken) in before {
        match (skipped.contains_key(key), after.get(key)) {
            (true, _) => {}
            (false, None) => verdicts.problems.push(format!("{key} is missing")),
            (false, Some(found)) => {
                references(&mut verdicts, key, taken, found, after);
                fields(&mut verdicts, key, taken, found, controllers);
            }
        }
    }
    let context = SkipContext::default();
    for (key, found) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        let by_itself = rules::skip_type(&found.resource).is_some()
            || rules::skip(&found.resource, &found.object, &context).is_some()
            || (controllers && is_made_again(found));
        if !by_itself {
            verdicts.problems.push(format!("{key} was not there before"));
        }
    }
    owners(&mut verdicts.problems, after);
    fates(&mut verdicts.problems, before, after, &skipped, shapes);
    verdicts
}

/// Whether a controller made it, and makes it anew under another name where it is gone.
fn is_made_again(found: &Taken) -> bool {
    let owners = found.object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let controlled = owners.into_iter().any(|owner| owner["controller"] == true);
    controlled && ["pods", "endpointslices"].contains(&found.resource.resource.as_str())
}

/// The rules by which objects are left out, as the plan says.
fn skipped(before: &Objects, plan: &Plan) -> BTreeMap<String, u32> {
    let entries = plan.entries().iter().filter_map(|entry| {
        let kind = &plan.kind(entry).unwrap().resource;
        let Verdict::Skipped { rule, .. } = &entry.verdict else { return None };
        Some((key(&kind.group, &kind.resource, entry.namespace, entry.name), *rule))
    });
    let types = before.iter().filter_map(|(key, taken)| {
        let rule = rules::skip_type(&taken.resource)?;
        let group_resource = taken.resource.group_resource().to_string();
        let withheld =
            plan.header().withheld.iter().any(|known| known.resource == group_resource && known.rule == rule.number);
        assert!(withheld, "{group_resource} is withheld, and the plan does not say so");
        Some((key.clone(), rule.number))
    });
    types.chain(entries).collect()
}

/// The fields of one object.
fn fields(verdicts: &mut Verdicts, key: &str, before: &Taken, after: &Taken, controllers: bool) {
    if before.entry.canonical == after.entry.canonical {
        return;
    }
    let (old, new) = (leaves(&canonical(before)), leaves(&canonical(after)));
    let paths: BTreeSet<&Vec<String>> = old.keys().chain(new.keys()).collect();
    let changed = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    for path in changed.filter(|path| !path.starts_with(&["metadata".to_owned(), "ownerReferences".to_owned()])) {
        match rules::allowed(&before.resource, path, controllers) {
            Some(difference) => _ = verdicts.met.insert(difference.number),
            None => verdicts.problems.push(format!(
                "{key}: {} was {:?} and is {:?}",
                path.join("."),
                old.get(path),
                new.get(path)
            )),
        }
    }
}

fn canonical(taken: &Taken) -> Value {
    let json = serde_json::to_vec(&taken.object).unwrap();
    let (api_version, kind) = (taken.resource.api_version(), taken.resource.kind.clone());
    let bytes = Object::parse(&json).unwrap().canonical(&api_version, &kind).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The leaves of a document by their paths; empty lists and objects are leaves.
fn leaves(value: &Value) -> BTreeMap<Vec<String>, Value> {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect()
        }
        leaf => return [(Vec::new(), leaf.clone())].into(),
    };
    let below = members.into_iter().flat_map(|(name, value)| {
        leaves(value).into_iter().map(move |(path, leaf)| ([vec![name.clone()], path].concat(), leaf))
    });
    below.collect()
}

/// The references to owners: those whose owner is there, and no others.
fn references(verdicts: &mut Verdicts, key: &str, before: &Taken, found: &Taken, after: &Objects) {
    let of = |taken: &Taken| -> Vec<Value> {
        let references = taken.object["metadata"]["ownerReferences"].as_array().into_iter().flatten().cloned();
        references
            .map(|mut reference| {
                reference.as_object_mut().unwrap().remove("uid");
                reference
            })
            .collect()
    };
    let is_there = |reference: &Value| {
        after.values().any(|owner| {
            let namespace = owner.entry.namespace.is_none() || owner.entry.namespace == before.entry.namespace;
            namespace && reference["kind"] == owner.resource.kind && reference["name"] == owner.entry.name
        })
    };
    let (wanted, gone): (Vec<Value>, Vec<Value>) = of(before).into_iter().partition(is_there);
    if !gone.is_empty() {
        verdicts.met.insert(502);
    }
    if wanted != of(found) {
        verdicts.problems.push(format!("{key}: its owners were to be {wanted:?} and are {:?}", of(found)));
    }
}

/// Every reference leads to an object that is there, of that kind and name.
fn owners(problems: &mut Vec<String>, after: &Objects) {
    let known: BTreeMap<&str, (&str, &str)> = after
        .values()
        .map(|taken| (taken.entry.uid.as_str(), (taken.resource.kind.as_str(), taken.entry.name.as_str())))
        .collect();
    for (key, taken) in after {
        for reference in taken.object["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
            let text = |field: &str| reference[field].as_str().unwrap();
            if known.get(text("uid")) != Some(&(text("kind"), text("name"))) {
                problems.push(format!("{key}: the reference to {} {} leads nowhere", text("kind"), text("name")));
            }
        }
    }
}

/// What was expected of each shape.
fn fates(
    problems: &mut Vec<String>,
    before: &Objects,
    after: &Objects,
    skipped: &BTreeMap<String, u32>,
    shapes: &[Shape],
) {
    for shape in shapes {
        let group = shape.group_version.split_once('/').map_or("", |(group, _)| group);
        let key = key(group, shape.resource, shape.namespace.as_deref(), &shape.name);
        let Some(taken) = before.get(&key) else {
            // What the configuration leaves out of backups.
            assert!(matches!(shape.fate, Fate::Skipped(_)), "{key} is not in the backup");
            continue;
        };
        match (shape.fate, skipped.get(&key)) {
            (Fate::Skipped(expected), Some(rule)) if expected == *rule => {
                if after.contains_key(&key) {
                    problems.push(format!("{key} is there, though rule {rule} leaves it out"));
                }
            }
            (Fate::Restored, None) => {}
            (expected, found) => {
                problems.push(format!("{key}: {expected:?} was expected, and it was skipped by {found:?}"));
            }
        }
        for pointer in &shape.keeps {
            let found = after.get(&key).and_then(|found| found.object.pointer(pointer));
            if shape.fate == Fate::Restored && found != taken.object.pointer(pointer) {
                problems
                    .push(format!("{key}: {pointer} was to stay {:?} and is {found:?}", taken.object.pointer(pointer)));
            }
        }
    }
}
