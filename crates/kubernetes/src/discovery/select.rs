//! From all that is served to each kind of object once.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{GroupResource, ResourceType};

use super::documents::{Group, Resource};
use super::{Discovery, DiscoveryFailure, Twin};

/// Resources that two groups serve from the same keys in etcd: the plural name, the group left out, the group kept.
/// They are Kubernetes' own list of cohabitating resources: `pkg/kubeapiserver/default_storage_factory_builder.go`.
const TWINS: [(&str, &str, &str); 7] = [
    ("daemonsets", "extensions", "apps"),
    ("deployments", "extensions", "apps"),
    ("events", "events.k8s.io", ""),
    ("ingresses", "extensions", "networking.k8s.io"),
    ("networkpolicies", "extensions", "networking.k8s.io"),
    ("podsecuritypolicies", "extensions", "policy"),
    ("replicasets", "extensions", "apps"),
];

/// The longest name that Kubernetes has for anything in a path.
const LONGEST_NAME: usize = 253;

/// One name for what may have two: where two groups serve the same objects, that of the group which is kept.
pub fn kept_name(resource: &GroupResource) -> GroupResource {
    let twin = TWINS.iter().find(|(plural, left_out, _)| resource.resource == *plural && resource.group == *left_out);
    let group = twin.map_or_else(|| resource.group.clone(), |(_, _, kept)| (*kept).to_owned());
    GroupResource { group, resource: resource.resource.clone() }
}

/// Takes each listable resource at the first version of its group that has it.
pub(super) fn select(groups: Vec<Group>) -> Discovery {
    let mut types = BTreeMap::new();
    let mut failures = BTreeSet::new();
    for group in groups {
        for version in group.versions {
            let group_version = group_version(&group.name, &version.name);
            if let Some(message) = version.failure {
                failures.insert(DiscoveryFailure { group_version, message });
                continue;
            }
            for resource in version.resources {
                if !resource.verbs.iter().any(|verb| verb == "list") {
                    continue;
                }
                match resource_type(&group.name, &version.name, resource) {
                    Ok(found) => {
                        types.entry(found.group_resource()).or_insert(found);
                    }
                    Err(message) => {
                        let group_version = group_version.clone();
                        failures.insert(DiscoveryFailure { group_version, message });
                    }
                }
            }
        }
    }
    let twins = leave_out_twins(&mut types);
    let mut types: Vec<_> = types.into_values().collect();
    // A ResourceType compares by group, version and resource first, and the core group's name is empty.
    types.sort();
    Discovery { types, failures: failures.into_iter().collect(), twins }
}

fn leave_out_twins(types: &mut BTreeMap<GroupResource, ResourceType>) -> Vec<Twin> {
    let name = |group: &str, resource: &str| GroupResource { group: group.to_owned(), resource: resource.to_owned() };
    let twins = TWINS.into_iter();
    let twins =
        twins.map(|(resource, left_out, kept)| Twin { left_out: name(left_out, resource), kept: name(kept, resource) });
    let mut twins: Vec<_> = twins.collect();
    twins.retain(|twin| types.contains_key(&twin.kept) && types.remove(&twin.left_out).is_some());
    twins
}

/// The resource, if its names can stand in paths and documents as they are: the server may be anybody.
fn resource_type(group: &str, version: &str, resource: Resource) -> Result<ResourceType, String> {
    let label = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let dotted = |name: &str| name.split('.').all(|part| !part.is_empty() && label(part));
    let fits = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME;
    let names = [version, &resource.plural, &resource.kind];
    let valid =
        names.iter().all(|name| fits(name) && label(name)) && (group.is_empty() || fits(group) && dotted(group));
    if !valid {
        return Err(format!("a resource is served under a name that is not valid: {:?}", resource.plural));
    }
    Ok(ResourceType {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.plural,
        kind: resource.kind,
        singular: resource.singular,
        short_names: resource.short_names,
        namespaced: resource.namespaced,
    })
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

#[cfg(test)]
mod tests {
    use super::super::documents::Version;
    use super::*;

    fn resource(plural: &str, verbs: &[&str]) -> Resource {
        Resource {
            plural: plural.to_owned(),
            kind: "Thing".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
            verbs: verbs.iter().map(ToString::to_string).collect(),
        }
    }

    fn version(name: &str, plurals: &[&str]) -> Version {
        let resources = plurals.iter().map(|plural| resource(plural, &["get", "list"])).collect();
        Version { name: name.to_owned(), resources, failure: None }
    }

    fn group(name: &str, versions: Vec<Version>) -> Group {
        Group { name: name.to_owned(), versions }
    }

    fn names(discovery: &Discovery) -> Vec<String> {
        discovery.types.iter().map(|kind| format!("{}/{}", kind.api_version(), kind.resource)).collect()
    }

    #[test]
    fn each_resource_is_taken_once_at_the_preferred_version_that_has_it() {
        let found = select(vec![
            group("b.io", vec![version("v1", &["x"]), version("v1beta1", &["x", "only-here"])]),
            group("", vec![version("v1", &["pods", "configmaps"])]),
            group("a.io", vec![version("v2", &["y"])]),
        ]);
        assert_eq!(names(&found), ["v1/configmaps", "v1/pods", "a.io/v2/y", "b.io/v1/x", "b.io/v1beta1/only-here"]);
        assert_eq!((found.failures.len(), found.twins.len()), (0, 0));
    }

    #[test]
    fn what_cannot_be_listed_is_left_out() {
        let reviews =
            Version { name: "v1".to_owned(), resources: vec![resource("reviews", &["create"])], failure: None };
        assert_eq!(select(vec![group("a.io", vec![reviews])]), Discovery::default());
    }

    #[test]
    fn of_twins_one_stays_and_a_single_one_is_no_twin() {
        let all = vec![
            group("", vec![version("v1", &["events"])]),
            group("events.k8s.io", vec![version("v1", &["events"])]),
            group("extensions", vec![version("v1beta1", &["ingresses"])]),
        ];
        let found = select(all);
        assert_eq!(names(&found), ["v1/events", "extensions/v1beta1/ingresses"]);
        let [twin] = found.twins.as_slice() else { panic!("{:?}", found.twins) };
        assert_eq!(
            (twin.left_out.to_string(), twin.kept.to_string()),
            ("events.events.k8s.io".into(), "events".into())
        );
        assert_eq!((kept_name(&twin.left_out), kept_name(&twin.kept)), (twin.kept.clone(), twin.kept.clone()));
        let other = GroupResource::from("ingresses.example.com".to_owned());
        assert_eq!(kept_name(&other), other);
    }

    #[test]
    fn a_failed_version_is_said_and_its_resources_are_not_trusted() {
        let mut stale = version("v1beta1", &["pods"]);
        stale.failure = Some("does not answer".to_owned());
        let found = select(vec![group("metrics.k8s.io", vec![stale])]);
        let failure = DiscoveryFailure {
            group_version: "metrics.k8s.io/v1beta1".to_owned(),
            message: "does not answer".to_owned(),
        };
        assert_eq!((found.types, found.failures), (Vec::new(), vec![failure]));
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_failures() {
        for (group_name, version_name, plural) in [
            ("a.io", "v1", "../../x"),
            ("a.io", "v1", ""),
            ("a.io", "v1?x=y", "x"),
            ("a..io", "v1", "x"),
            ("a.io/b", "v1", "x"),
        ] {
            let found = select(vec![group(group_name, vec![version(version_name, &[plural])])]);
            assert_eq!((found.types.len(), found.failures.len()), (0, 1), "{group_name} {version_name} {plural}");
        }
    }
}
