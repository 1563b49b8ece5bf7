//! What somebody asked for: other namespaces, other storage classes, patches, and the mark of the restore.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::field::{FieldRule, Fields, Path, each, get_mut, kinds, list_mut, members_mut, replace_text, text, written};
use super::prepare::{RESTORED_FROM, Rewrite, Transforms};

/// The label of a namespace's own name. Source: `staging/src/k8s.io/api/core/v1/well_known_labels.go`.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Number of the rule of patches, which have a table of their own.
pub(super) const PATCH_RULE: u32 = 320;

/// Changes that somebody asked for, in the order in which they are made. Patches come after them.
pub const MAPPING_RULES: &[FieldRule<Rewrite>] = &[
    FieldRule {
        number: 301,
        kinds: &[],
        what: "--map-namespace: metadata.namespace",
        reason: "the object goes to the namespace of the new name. Names of namespaces inside of text, such as \
                 environment variables and DNS names, and in custom resources are not changed: use a patch",
        source: "https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/",
        act: |object, transforms| map(object, transforms, &[&["metadata", "namespace"]]),
    },
    FieldRule {
        number: 302,
        kinds: &[kinds::NAMESPACE],
        what: "--map-namespace: metadata.name and the label kubernetes.io/metadata.name",
        reason: "the namespace itself gets the new name, and the label always has it",
        source: "NamespaceDefaultLabelName of pkg/apis/core/v1/defaults.go",
        act: |object, transforms| {
            map(object, transforms, &[&["metadata", "name"], &["metadata", "labels", NAME_LABEL]])
        },
    },
    FieldRule {
        number: 303,
        kinds: &[kinds::VOLUME],
        what: "--map-namespace: spec.claimRef.namespace, and the namespaces of the volume's secrets",
        reason: "the volume waits for the claim in the namespace where it is restored",
        source: "staging/src/k8s.io/api/core/v1/types.go",
        act: |object, transforms| {
            let secrets = [
                "controllerPublishSecretRef",
                "controllerExpandSecretRef",
                "nodeStageSecretRef",
                "nodePublishSecretRef",
                "nodeExpandSecretRef",
                "secretRef",
            ];
            let secrets = secrets.map(|name| ["spec", "*", name, "namespace"]);
            let claim: Path<'_> = &["spec", "claimRef", "namespace"];
            let azure: Path<'_> = &["spec", "azureFile", "secretNamespace"];
            let paths = secrets.iter().map(<[&str; 4]>::as_slice).chain([claim, azure]);
            map(object, transforms, &paths.collect::<Vec<_>>())
        },
    },
    FieldRule {
        number: 304,
        kinds: &[kinds::ROLE_BINDING, kinds::CLUSTER_ROLE_BINDING],
        what: "--map-namespace: subjects[*].namespace, and users and groups named after service accounts \
               (system:serviceaccount:NS:NAME, system:serviceaccounts:NS)",
        reason: "the accounts are restored in the new namespace",
        source: "staging/src/k8s.io/apiserver/pkg/authentication/serviceaccount/util.go",
        act: map_subjects,
    },
    FieldRule {
        number: 305,
        kinds: &[kinds::VALIDATING_WEBHOOKS, kinds::MUTATING_WEBHOOKS, kinds::API_SERVICE, kinds::CRD],
        what: "--map-namespace: the namespaces of the Services that answer for webhooks and APIs",
        reason: "the Service is restored in the new namespace",
        source: "staging/src/k8s.io/api/admissionregistration/v1/types.go",
        act: |object, transforms| {
            let paths: [Path<'_>; 3] = [
                &["webhooks", "*", "clientConfig", "service", "namespace"],
                &["spec", "service", "namespace"],
                &["spec", "conversion", "webhook", "clientConfig", "service", "namespace"],
            ];
            map(object, transforms, &paths)
        },
    },
    FieldRule {
        number: 306,
        kinds: &[kinds::VALIDATING_BINDING, kinds::MUTATING_BINDING],
        what: "--map-namespace: spec.paramRef.namespace",
        reason: "the parameters are restored in the new namespace",
        source: "staging/src/k8s.io/api/admissionregistration/v1/types.go",
        act: |object, transforms| map(object, transforms, &[&["spec", "paramRef", "namespace"]]),
    },
    FieldRule {
        number: 307,
        kinds: &[kinds::CLAIM, kinds::STATEFUL_SET],
        what: "--map-namespace: spec.dataSourceRef.namespace of claims",
        reason: "what they are filled from is restored in the new namespace",
        source: "staging/src/k8s.io/api/core/v1/types.go",
        act: |object, transforms| {
            let paths: [Path<'_>; 2] = [
                &["spec", "dataSourceRef", "namespace"],
                &["spec", "volumeClaimTemplates", "*", "spec", "dataSourceRef", "namespace"],
            ];
            map(object, transforms, &paths)
        },
    },
    FieldRule {
        number: 308,
        kinds: &[kinds::NETWORK_POLICY],
        what: "--map-namespace: peers whose namespaceSelector names a namespace by the label \
               kubernetes.io/metadata.name",
        reason: "who was allowed to talk is in the new namespace",
        source: "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
        act: map_peers,
    },
    FieldRule {
        number: 309,
        kinds: &[kinds::SNAPSHOT_CONTENT],
        what: "--map-namespace: spec.volumeSnapshotRef.namespace",
        reason: "the snapshot is restored in the new namespace",
        source: "https://kubernetes.io/docs/concepts/storage/volume-snapshots/#static",
        act: |object, transforms| map(object, transforms, &[&["spec", "volumeSnapshotRef", "namespace"]]),
    },
    FieldRule {
        number: 310,
        kinds: &[kinds::CLAIM, kinds::VOLUME, kinds::STATEFUL_SET],
        what: "--map-storage-class: spec.storageClassName of claims, claim templates and volumes, and the annotation \
               volume.beta.kubernetes.io/storage-class",
        reason: "a claim and its volume are bound only if their classes are the same",
        source: "staging/src/k8s.io/component-helpers/storage/volume/helpers.go",
        act: map_storage_classes,
    },
    FieldRule {
        number: 311,
        kinds: &[
            kinds::POD,
            kinds::POD_TEMPLATE,
            kinds::DEPLOYMENT,
            kinds::REPLICA_SET,
            kinds::STATEFUL_SET,
            kinds::DAEMON_SET,
            kinds::REPLICATION_CONTROLLER,
            kinds::JOB,
            kinds::CRON_JOB,
        ],
        what: "--map-storage-class: the class of ephemeral volumes of pods and pod templates",
        reason: "their claims are made of it",
        source: "staging/src/k8s.io/api/core/v1/types.go",
        act: map_ephemeral_classes,
    },
    FieldRule {
        number: 312,
        kinds: &[kinds::RESOURCE_QUOTA],
        what: "--map-storage-class: limits of a class, CLASS.storageclass.storage.k8s.io/*, in spec.hard",
        reason: "they limit the claims of that class",
        source: "https://kubernetes.io/docs/concepts/policy/resource-quotas/",
        act: map_quota_classes,
    },
    FieldRule {
        number: 330,
        kinds: &[],
        what: "the annotation lifeboat.dev/restored-from is set to the backup's id",
        reason: "so that one can see and select what was restored; nothing else of ours is added",
        source: "docs/src/backup-format.md",
        act: |object, transforms| {
            let Some(id) = &transforms.restored_from else { return Vec::new() };
            let id = Value::from(id.to_string());
            match members_mut(object, &["metadata", "annotations"]) {
                Some(annotations) if annotations.get(RESTORED_FROM) != Some(&id) => {
                    annotations.insert(RESTORED_FROM.to_owned(), id);
                    vec![Cow::Borrowed("metadata.annotations['lifeboat.dev/restored-from']")]
                }
                _ => Vec::new(),
            }
        },
    },
];

/// Replaces names of namespaces at these paths.
fn map(object: &mut Value, transforms: &Transforms, paths: &[Path<'_>]) -> Fields {
    replace(object, &transforms.namespaces, paths)
}

fn replace(object: &mut Value, names: &BTreeMap<String, String>, paths: &[Path<'_>]) -> Fields {
    if names.is_empty() {
        return Vec::new();
    }
    let replaced = paths.iter().filter(|path| replace_text(object, path, &|name| names.get(name).cloned()));
    replaced.map(|path| Cow::Owned(written(path))).collect()
}

fn map_subjects(object: &mut Value, transforms: &Transforms) -> Fields {
    let names = &transforms.namespaces;
    let mut fields = replace(object, names, &[&["subjects", "*", "namespace"]]);
    let account = |user: &str| {
        let (namespace, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        Some(format!("system:serviceaccount:{}:{account}", names.get(namespace)?))
    };
    let group = |group: &str| {
        let namespace = names.get(group.strip_prefix("system:serviceaccounts:")?)?;
        Some(format!("system:serviceaccounts:{namespace}"))
    };
    for subject in list_mut(object, &["subjects"]) {
        let renamed = match text(subject, &["kind"]) {
            Some("User") => replace_text(subject, &["name"], &account),
            Some("Group") => replace_text(subject, &["name"], &group),
            _ => false,
        };
        if renamed {
            fields.push(Cow::Borrowed("subjects[*].name"));
        }
    }
    fields.dedup();
    fields
}

fn map_peers(object: &mut Value, transforms: &Transforms) -> Fields {
    if transforms.namespaces.is_empty() {
        return Vec::new();
    }
    let mut fields = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let mut mapped = false;
        each(object, &["spec", direction, "*", peers, "*", "namespaceSelector"], &mut |selector| {
            mapped |= map_namespace_selector(selector, &transforms.namespaces);
        });
        if mapped {
            fields.push(Cow::Owned(format!("spec.{direction}[*].{peers}[*].namespaceSelector")));
        }
    }
    fields
}

fn map_namespace_selector(selector: &mut Value, names: &BTreeMap<String, String>) -> bool {
    let new = |name: &str| names.get(name).cloned();
    let mut mapped = replace_text(selector, &["matchLabels", NAME_LABEL], &new);
    for expression in list_mut(selector, &["matchExpressions"]) {
        if text(expression, &["key"]) == Some(NAME_LABEL) {
            mapped |= replace_text(expression, &["values", "*"], &new);
        }
    }
    mapped
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn map_storage_classes(object: &mut Value, transforms: &Transforms) -> Fields {
    let paths: [Path<'_>; 4] = [
        &["spec", "storageClassName"],
        &["metadata", "annotations", CLASS_ANNOTATION],
        &["spec", "volumeClaimTemplates", "*", "spec", "storageClassName"],
        &["spec", "volumeClaimTemplates", "*", "metadata", "annotations", CLASS_ANNOTATION],
    ];
    replace(object, &transforms.storage_classes, &paths)
}

fn map_ephemeral_classes(object: &mut Value, transforms: &Transforms) -> Fields {
    const VOLUME: [&str; 6] = ["volumes", "*", "ephemeral", "volumeClaimTemplate", "spec", "storageClassName"];
    let pods: [Path<'_>; 4] = [
        &["spec"],
        &["template", "spec"],
        &["spec", "template", "spec"],
        &["spec", "jobTemplate", "spec", "template", "spec"],
    ];
    let paths: Vec<Vec<&str>> = pods.iter().map(|pod| [pod, VOLUME.as_slice()].concat()).collect();
    replace(object, &transforms.storage_classes, &paths.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn map_quota_classes(object: &mut Value, transforms: &Transforms) -> Fields {
    const SUFFIX: &str = ".storageclass.storage.k8s.io/";
    let Some(hard) = get_mut(object, &["spec", "hard"]).and_then(Value::as_object_mut) else { return Vec::new() };
    let renamed = |key: &str| {
        let (class, limit) = key.split_once(SUFFIX)?;
        Some(format!("{}{SUFFIX}{limit}", transforms.storage_classes.get(class)?))
    };
    if !hard.keys().any(|key| renamed(key).is_some()) {
        return Vec::new();
    }
    let entries = std::mem::take(hard).into_iter();
    *hard = entries.map(|(key, limit)| (renamed(&key).unwrap_or(key), limit)).collect();
    vec![Cow::Borrowed("spec.hard")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::prepare::prepare;
    use super::super::testing::{resource, samples};
    use super::*;

    fn transforms() -> Transforms {
        let pair = |from: &str, to: &str| [(from.to_owned(), to.to_owned())].into();
        Transforms {
            namespaces: pair("shop", "copy"),
            storage_classes: pair("fast", "slow"),
            restored_from: Some("20261121T044500Z-k3f9qz".parse().unwrap()),
            ..Transforms::default()
        }
    }

    #[test]
    fn every_rule_is_at_work_in_some_sample() {
        let mut seen: Vec<u32> = Vec::new();
        for (resource, mut object) in samples() {
            let before = object.to_string();
            seen.extend(prepare(&mut object, &resource, &transforms()).unwrap().iter().map(|applied| applied.rule));
            let after = object.to_string();
            for name in ["\"shop\"", "\"fast\"", ":shop", "fast.storageclass"] {
                assert!(!after.contains(name), "{name} of {before} is still in {after}");
            }
        }
        let idle = MAPPING_RULES.iter().map(|rule| rule.number).filter(|number| !seen.contains(number));
        assert_eq!(idle.collect::<Vec<_>>(), Vec::<u32>::new());
        assert!(MAPPING_RULES.is_sorted_by(|a, b| a.number < b.number));
    }

    #[test]
    fn subjects_of_other_namespaces_stay() {
        let mut object = json!({"metadata": {"name": "a", "namespace": "other"}, "subjects": [
            {"kind": "ServiceAccount", "name": "ci", "namespace": "shop"},
            {"kind": "ServiceAccount", "name": "shop", "namespace": "other"},
            {"kind": "User", "name": "system:serviceaccount:shop:ci"},
            {"kind": "User", "name": "shop"},
            {"kind": "Group", "name": "system:serviceaccounts:shop"},
            {"kind": "Group", "name": "system:serviceaccounts"}]});
        let bindings = resource("rbac.authorization.k8s.io", "rolebindings");
        let applied = prepare(&mut object, &bindings, &Transforms { restored_from: None, ..transforms() }).unwrap();
        assert_eq!(
            object,
            json!({"metadata": {"name": "a", "namespace": "other"}, "subjects": [
            {"kind": "ServiceAccount", "name": "ci", "namespace": "copy"},
            {"kind": "ServiceAccount", "name": "shop", "namespace": "other"},
            {"kind": "User", "name": "system:serviceaccount:copy:ci"},
            {"kind": "User", "name": "shop"},
            {"kind": "Group", "name": "system:serviceaccounts:copy"},
            {"kind": "Group", "name": "system:serviceaccounts"}]})
        );
        let fields: Vec<&str> = applied.iter().map(|applied| &*applied.field).collect();
        assert_eq!(fields, ["subjects[*].namespace", "subjects[*].name"]);
    }

    #[test]
    fn namespaces_can_change_places() {
        let swap = Transforms {
            namespaces: [("a".to_owned(), "b".to_owned()), ("b".to_owned(), "a".to_owned())].into(),
            ..Transforms::default()
        };
        let mut object = json!({"metadata": {"name": "x", "namespace": "a"}});
        prepare(&mut object, &resource("", "configmaps"), &swap).unwrap();
        assert_eq!(object["metadata"]["namespace"], "b");
    }

    #[test]
    fn the_mark_is_the_one_that_the_canonical_form_leaves_out() {
        let field = format!("metadata.annotations['{RESTORED_FROM}']");
        assert!(lifeboat_model::RULES.iter().any(|rule| rule.field == field));
    }
}
