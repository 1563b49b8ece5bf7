//! What is different after a restore into an empty cluster, and why.

use lifeboat_model::ResourceType;

use super::field::{EACH, Kind, Path, kinds, written};

/// When a difference can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Where the controllers of Kubernetes run on the target.
    WithControllers,
}

/// A field that may differ after a restore into an empty cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Its number.
    pub number: u32,
    /// The rules that it follows from.
    pub rules: &'static [u32],
    /// The kinds; none stands for all.
    pub kinds: &'static [Kind],
    /// The fields, and what is in them: names of members, `*` for each element of a list.
    pub fields: &'static [Path<'static>],
    /// When.
    pub when: When,
    /// Why.
    pub reason: &'static str,
}

/// What may differ after a restore into an empty cluster, besides objects that [`super::SKIP_RULES`] and
/// [`super::OWNER_RULES`] leave out, and what the canonical form leaves out.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        number: 501,
        rules: &[295],
        kinds: &[],
        fields: &[&["metadata", "generateName"]],
        when: When::Always,
        reason: "gone; the name that was generated stays",
    },
    Difference {
        number: 502,
        rules: &[101, 120, 134, 135],
        kinds: &[],
        fields: &[&["metadata", "ownerReferences"]],
        when: When::Always,
        reason: "references to owners that are not restored are gone, or the garbage collector would delete the object",
    },
    Difference {
        number: 510,
        rules: &[210],
        kinds: &[kinds::SERVICE],
        fields: &[&["spec", "clusterIP"], &["spec", "clusterIPs"]],
        when: When::Always,
        reason: "another address, where the first was not chosen by hand and is not free or of another cluster; DNS \
                 leads to it",
    },
    Difference {
        number: 511,
        rules: &[211, 212],
        kinds: &[kinds::SERVICE],
        fields: &[&["spec", "ports", EACH, "nodePort"], &["spec", "healthCheckNodePort"]],
        when: When::Always,
        reason: "another port, where the first was not chosen by hand; --keep-node-ports keeps it",
    },
    Difference {
        number: 520,
        rules: &[220],
        kinds: &[kinds::POD],
        fields: &[&["spec", "nodeName"]],
        when: When::Always,
        reason: "another node, or none yet",
    },
    Difference {
        number: 521,
        rules: &[222],
        kinds: &[kinds::POD],
        fields: &[
            &["spec", "volumes"],
            &["spec", "containers", EACH, "volumeMounts"],
            &["spec", "initContainers", EACH, "volumeMounts"],
        ],
        when: When::Always,
        reason: "a projected token in the place of a generated Secret, where there was one",
    },
    Difference {
        number: 522,
        rules: &[223],
        kinds: &[kinds::POD],
        fields: &[&["spec", "ephemeralContainers"]],
        when: When::Always,
        reason: "gone",
    },
    Difference {
        number: 523,
        rules: &[221],
        kinds: &[kinds::POD],
        fields: &[&["spec", "priority"], &["spec", "preemptionPolicy"]],
        when: When::Always,
        reason: "as the PriorityClass says now, where that was changed after the pod was made",
    },
    Difference {
        number: 530,
        rules: &[230],
        kinds: &[kinds::JOB],
        fields: &[
            &["spec", "selector"],
            &["spec", "template", "metadata", "labels", "controller-uid"],
            &["spec", "template", "metadata", "labels", "batch.kubernetes.io/controller-uid"],
        ],
        when: When::Always,
        reason: "the new Job's uid, where the selector was not made by hand",
    },
    Difference {
        number: 540,
        rules: &[240, 241],
        kinds: &[kinds::VOLUME],
        fields: &[
            &["spec", "claimRef", "uid"],
            &["spec", "claimRef", "resourceVersion"],
            &["metadata", "annotations", "pv.kubernetes.io/bound-by-controller"],
        ],
        when: When::Always,
        reason: "the volume waits for its claim, and then has the new claim's uid",
    },
    Difference {
        number: 541,
        rules: &[242],
        kinds: &[kinds::CLAIM],
        fields: &[
            &["metadata", "annotations", "pv.kubernetes.io/bind-completed"],
            &["metadata", "annotations", "pv.kubernetes.io/bound-by-controller"],
            &["metadata", "annotations", "volume.kubernetes.io/storage-provisioner"],
            &["metadata", "annotations", "volume.beta.kubernetes.io/storage-provisioner"],
            &["metadata", "annotations", "volume.kubernetes.io/selected-node"],
        ],
        when: When::Always,
        reason: "set again by the controller that binds it",
    },
    Difference {
        number: 542,
        rules: &[243],
        kinds: &[kinds::CLAIM],
        fields: &[&["spec", "volumeName"]],
        when: When::Always,
        reason: "a new volume, where the old one is not there",
    },
    Difference {
        number: 543,
        rules: &[244, 245],
        kinds: &[kinds::SNAPSHOT, kinds::SNAPSHOT_CONTENT],
        fields: &[
            &["spec", "source"],
            &["spec", "volumeSnapshotRef", "uid"],
            &["spec", "volumeSnapshotRef", "resourceVersion"],
        ],
        when: When::Always,
        reason: "bound to each other by name, and to the snapshot that the storage has",
    },
    Difference {
        number: 550,
        rules: &[130, 250],
        kinds: &[kinds::SERVICE_ACCOUNT],
        fields: &[&["secrets"]],
        when: When::Always,
        reason: "references to generated token Secrets are gone",
    },
    Difference {
        number: 551,
        rules: &[251],
        kinds: &[kinds::SECRET],
        fields: &[
            &["metadata", "annotations", "kubernetes.io/service-account.uid"],
            &["data", "token"],
            &["data", "ca.crt"],
            &["data", "namespace"],
        ],
        when: When::Always,
        reason: "of Secrets of type kubernetes.io/service-account-token: filled in anew by the token controller",
    },
    Difference {
        number: 560,
        rules: &[260],
        kinds: &[kinds::CRD],
        fields: &[
            &["spec", "preserveUnknownFields"],
            &["spec", "versions", EACH, "schema", "openAPIV3Schema", "x-kubernetes-preserve-unknown-fields"],
            &["spec", "versions", EACH, "schema", "openAPIV3Schema", "type"],
        ],
        when: When::Always,
        reason: "the same, said in the way of v1",
    },
];

impl Difference {
    /// Its fields, as reports write them.
    pub fn written(&self) -> impl Iterator<Item = String> {
        self.fields.iter().map(|field| written(field))
    }

    fn covers(&self, path: &[String]) -> bool {
        let meets = |field: &Path<'_>| {
            field.len() <= path.len() && field.iter().zip(path).all(|(name, found)| *name == EACH || name == found)
        };
        self.fields.iter().any(meets)
    }
}

/// The difference that allows what is at `path` (names of members, and positions in lists) to be another after a
/// restore.
pub fn allowed(resource: &ResourceType, path: &[String], controllers: bool) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| {
        (difference.kinds.is_empty() || difference.kinds.iter().any(|kind| kind.is(resource)))
            && (controllers || difference.when == When::Always)
            && difference.covers(path)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{changed_leaves, resource, samples};
    use super::super::{CARRY_RULES, MAPPING_RULES, OWNER_RULES, SKIP_RULES, STRIP_RULES, Transforms, prepare};
    use super::*;

    #[test]
    fn every_number_is_given_once() {
        let mut numbers: Vec<u32> = SKIP_RULES.iter().map(|rule| rule.number).collect();
        numbers.extend(OWNER_RULES.iter().map(|rule| rule.number));
        numbers.extend(STRIP_RULES.iter().chain(MAPPING_RULES).map(|rule| rule.number));
        numbers.extend(CARRY_RULES.iter().map(|rule| rule.number));
        let differences = DIFFERENCES.iter().map(|difference| difference.number);
        let all = numbers.len() + DIFFERENCES.len();
        let rules = DIFFERENCES.iter().flat_map(|difference| difference.rules);
        assert!(rules.into_iter().all(|rule| numbers.contains(rule)));
        numbers.extend(differences);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }

    /// Whatever is stripped of a sample is in the table, but for what the canonical form leaves out.
    #[test]
    fn the_table_has_all_that_is_stripped() {
        let transforms = Transforms { volumes: Some([].into()), ..Transforms::default() };
        let left_out = [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "managedFields",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ];
        for (resource, object) in samples() {
            let mut after = object.clone();
            prepare(&mut after, &resource, &transforms).unwrap();
            for path in changed_leaves(&object, &after) {
                let canonical = path[0] == "status" || (path[0] == "metadata" && left_out.contains(&path[1].as_str()));
                assert!(canonical || allowed(&resource, &path, false).is_some(), "{path:?} of {object}");
            }
        }
    }

    #[test]
    fn paths() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (services, pods) = (resource("", "services"), resource("", "pods"));
        let number = |resource, text| allowed(resource, &path(text), false).map(|difference| difference.number);
        assert_eq!(number(&services, "spec/ports/3/nodePort"), Some(511));
        assert_eq!(number(&services, "spec/ports/3/port"), None);
        assert_eq!(number(&services, "spec/ports"), None);
        assert_eq!(number(&services, "spec/clusterIPs/0"), Some(510));
        assert_eq!(number(&pods, "spec/clusterIP"), None);
        assert_eq!(number(&pods, "metadata/ownerReferences/0/name"), Some(502));
    }
}
