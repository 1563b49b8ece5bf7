//! Which resources each side has, and what it says of those that it does not have.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_kubernetes::{Discovery, kept_name};
use lifeboat_model::{Gap, GroupResource, ObjectKey, ResourceType, ResourcesConfig};

use super::Uncompared;
use crate::browse::OpenBackup;
use crate::error::{Error, Result};
use crate::nearest::did_you_mean;
use crate::selector::Selection;

/// What a gap names that is no matter of the API.
const ETCD: &str = "etcd";

/// What one side says of itself.
#[derive(Debug)]
pub(super) struct Account {
    /// What to call it.
    name: String,
    /// Its resources, by the name of the group that is kept of those that serve the same objects.
    types: BTreeMap<GroupResource, ResourceType>,
    gaps: Vec<Gap>,
    /// What its configuration leaves out.
    left_out: BTreeSet<GroupResource>,
}

/// A resource as one side has it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) resource: ResourceType,
    /// Why objects of it may be missing that exist.
    pub(super) gap: Option<String>,
    /// Single objects that exist and could not be captured.
    missing: BTreeSet<(Option<String>, String)>,
}

/// A resource of one side or both.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) before: Option<Known>,
    pub(super) after: Option<Known>,
}

impl Known {
    /// Whether the object of that key would be here if it existed.
    pub(super) fn is_whole_but_for(&self, key: &ObjectKey) -> bool {
        self.gap.is_none()
            && (self.missing.is_empty() || !self.missing.contains(&(key.namespace.clone(), key.name.clone())))
    }
}

impl Pair {
    /// The resource as the backup has it, or else as the other side does: what keys of both are given in.
    pub(super) fn resource(&self) -> Option<&ResourceType> {
        self.before.as_ref().or(self.after.as_ref()).map(|known| &known.resource)
    }
}

impl Account {
    pub(super) fn of_backup(backup: &OpenBackup) -> Result<Self> {
        super::check_comparable(backup)?;
        let coverage = backup.coverage();
        let mut types = BTreeMap::new();
        for resource in &coverage.resources {
            let name = resource.resource.group_resource();
            if types.insert(kept_name(&name), resource.resource.clone()).is_some() {
                return Err(Error::Inconsistent(format!("the coverage has {name} twice")));
            }
        }
        Ok(Self {
            name: format!("backup {}", backup.backup().manifest().id),
            types,
            gaps: coverage.gaps.iter().filter(|gap| gap.resource != ETCD).cloned().collect(),
            left_out: coverage.excluded.iter().map(kept_name).collect(),
        })
    }

    pub(super) fn of_cluster(discovery: &Discovery, wanted: &ResourcesConfig) -> Self {
        let named = |kind: ResourceType| (kept_name(&kind.group_resource()), kind);
        let types: BTreeMap<_, _> = discovery.wanted(wanted).into_iter().map(named).collect();
        let gap = |failure: &lifeboat_kubernetes::DiscoveryFailure| Gap {
            resource: failure.group_version.clone(),
            reason: failure.message.clone(),
        };
        Self {
            name: "the cluster".to_owned(),
            left_out: discovery.left_out(wanted).iter().map(kept_name).collect(),
            types,
            gaps: discovery.failures.iter().map(gap).collect(),
        }
    }

    fn known(&self, name: &GroupResource) -> Option<Known> {
        let resource = self.types.get(name)?;
        let whole = self.gaps.iter().find(|gap| gap.resource == resource.group_resource().to_string());
        Some(Known {
            resource: resource.clone(),
            gap: whole.map(|gap| format!("{} lacks some: {}", self.name, gap.reason)),
            missing: self.gaps.iter().filter_map(|gap| missing_object(resource, &gap.resource)).collect(),
        })
    }

    /// Why it is not known whether this side would have a resource that it does not have.
    fn silence(&self, resource: &ResourceType, name: &GroupResource) -> Option<String> {
        if self.left_out.contains(name) {
            return Some(format!("{} leaves it out, by configuration", self.name));
        }
        let gap = self.gaps.iter().find(|gap| is_api_of(&gap.resource, &resource.group))?;
        Some(format!("{} lacks {}: {}", self.name, gap.resource, gap.reason))
    }
}

/// Whether a gap is that of an API of that group: `metrics.k8s.io/v1beta1`, or `v1` for the core group.
fn is_api_of(gap: &str, group: &str) -> bool {
    let version =
        |text: &str| text.starts_with('v') && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    match gap.split_once('/') {
        Some((api, rest)) => !group.is_empty() && api == group && version(rest),
        None => group.is_empty() && version(gap) && gap.bytes().any(|b| b.is_ascii_digit()),
    }
}

/// The object of that resource that a gap names: `secrets/db -n shop`.
fn missing_object(resource: &ResourceType, gap: &str) -> Option<(Option<String>, String)> {
    let (kind, object) = gap.split_once('/')?;
    if kind != resource.group_resource().to_string() {
        return None;
    }
    Some(match object.rsplit_once(" -n ") {
        Some((name, namespace)) => (Some(namespace.to_owned()), name.to_owned()),
        None => (None, object.to_owned()),
    })
}

/// The resources of both sides that are selected, each with its counterpart, and what cannot be compared at all.
pub(super) fn pairs(before: &Account, after: &Account, selection: &Selection) -> (Vec<Pair>, Vec<Uncompared>) {
    let names: BTreeSet<&GroupResource> = before.types.keys().chain(after.types.keys()).collect();
    let (mut pairs, mut uncompared) = (Vec::new(), Vec::new());
    for name in names {
        let (left, right) = (before.known(name), after.known(name));
        let wanted = [&left, &right].into_iter().flatten().any(|known| selection.wants_type(&known.resource));
        if !wanted {
            continue;
        }
        let silence = match (&left, &right) {
            (Some(known), None) => after.silence(&known.resource, name),
            (None, Some(known)) => before.silence(&known.resource, name),
            _ => None,
        };
        match silence {
            Some(reason) => uncompared.push(Uncompared { resource: name.to_string(), reason, objects: 0 }),
            None => pairs.push(Pair { before: left, after: right }),
        }
    }
    for side in [before, after] {
        uncompared.extend(side.gaps.iter().filter(|gap| side.concerns(gap, selection)).map(|gap| Uncompared {
            resource: gap.resource.clone(),
            reason: format!("{} lacks it: {}", side.name, gap.reason),
            objects: 0,
        }));
    }
    (pairs, uncompared)
}

impl Account {
    /// Whether a gap, other than one of a resource that is known and will be told with it, is within the selection.
    fn concerns(&self, gap: &Gap, selection: &Selection) -> bool {
        if self.types.values().any(|kind| kind.group_resource().to_string() == gap.resource) {
            return false;
        }
        let object = self.types.values().find_map(|kind| Some((kind, missing_object(kind, &gap.resource)?)));
        match object {
            Some((kind, (namespace, name))) => {
                selection.wants_type(kind) && selection.wants_key(namespace.as_deref(), &name)
            }
            // Of an API that did not answer nobody knows the resources: it matters where one may be meant.
            None => selection.kinds.iter().all(|kind| !self.types.values().any(|known| kind.matches(known))),
        }
    }
}

/// Whether every resource that is asked for is there.
///
/// # Errors
/// When neither side has one.
pub(super) fn check_kinds(before: &Account, after: &Account, selection: &Selection) -> Result<()> {
    let sides = [before, after];
    for kind in &selection.kinds {
        if sides.iter().any(|side| side.types.values().any(|known| kind.matches(known))) {
            continue;
        }
        // It may be in what did not answer, which is told.
        if sides.iter().any(|side| side.gaps.iter().any(|gap| gap.resource.contains('/'))) {
            continue;
        }
        let is_meant = |name: &&GroupResource| kind.as_str() == name.to_string() || kind.as_str() == name.resource;
        if let Some(name) = sides.iter().find_map(|side| side.left_out.iter().find(is_meant)) {
            let problem = format!("{name} are left out of backups: resources.include and resources.exclude say so");
            return Err(Error::NoObject(problem));
        }
        let names = sides.iter().flat_map(|side| side.types.values()).map(|known| known.group_resource().to_string());
        let hint = did_you_mean(kind.as_str(), names);
        return Err(Error::NoObject(format!("neither side has a resource '{}'{hint}", kind.as_str())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Pair {
        /// A resource that both sides have.
        pub(in crate::diff) fn for_test(resource: ResourceType) -> Self {
            let known = Known { resource, gap: None, missing: BTreeSet::new() };
            Self { before: Some(known.clone()), after: Some(known) }
        }
    }

    fn resource(text: &str) -> ResourceType {
        let (api, plural) = text.rsplit_once('/').unwrap();
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        ResourceType {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: plural.to_owned(),
            kind: "Thing".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: plural != "nodes",
        }
    }

    fn account(name: &str, types: &[&str], gaps: &[&str], left_out: &[&str]) -> Account {
        let named = |kind: ResourceType| (kept_name(&kind.group_resource()), kind);
        Account {
            name: name.to_owned(),
            types: types.iter().map(|text| named(resource(text))).collect(),
            gaps: gaps.iter().map(|gap| Gap { resource: (*gap).to_owned(), reason: "because".to_owned() }).collect(),
            left_out: left_out.iter().map(|name| GroupResource::from((*name).to_owned())).collect(),
        }
    }

    /// Each pair as text, and what is not compared.
    fn told(before: &Account, after: &Account, selection: &Selection) -> (Vec<String>, Vec<String>) {
        let (pairs, uncompared) = pairs(before, after, selection);
        let name = |known: &Option<Known>| {
            known.as_ref().map_or("-".to_owned(), |known| {
                let gap = if known.gap.is_some() { "!" } else { "" };
                format!("{}/{}{gap}", known.resource.api_version(), known.resource.resource)
            })
        };
        let pairs = pairs.iter().map(|pair| format!("{} {}", name(&pair.before), name(&pair.after)));
        (pairs.collect(), uncompared.iter().map(|line| format!("{}: {}", line.resource, line.reason)).collect())
    }

    fn all() -> Selection {
        Selection::default()
    }

    #[test]
    fn resources_meet_whatever_their_version_and_under_the_name_of_a_twin() {
        let before = account("b", &["v1/secrets", "extensions/v1beta1/ingresses", "a.io/v1/gone"], &[], &[]);
        let after = account("c", &["v1/secrets", "networking.k8s.io/v1/ingresses", "a.io/v2/new"], &[], &[]);
        let pairs = [
            "v1/secrets v1/secrets",
            "a.io/v1/gone -",
            "- a.io/v2/new",
            "extensions/v1beta1/ingresses networking.k8s.io/v1/ingresses",
        ];
        assert_eq!(told(&before, &after, &all()), (pairs.map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn what_one_side_left_out_or_could_not_learn_is_not_absent() {
        let before =
            account("b", &["v1/secrets", "v1/events", "x.io/v1/things", "y.io/v1/others"], &["v1"], &["leases.z.io"]);
        let after = account("c", &["v1/pods", "z.io/v1/leases"], &["x.io/v1beta1"], &["events"]);
        let lines = [
            "events: c leaves it out, by configuration",
            "pods: b lacks v1: because",
            "things.x.io: c lacks x.io/v1beta1: because",
            "leases.z.io: b leaves it out, by configuration",
            "v1: b lacks it: because",
            "x.io/v1beta1: c lacks it: because",
        ];
        let pairs = ["v1/secrets -", "y.io/v1/others -"].map(str::to_owned).to_vec();
        assert_eq!(told(&before, &after, &all()), (pairs, lines.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_list_that_failed_and_an_object_that_was_not_captured_are_told_where_they_belong() {
        let gaps = ["secrets", "pods/a b -n shop", "nodes/n1", "metrics.k8s.io/v1beta1"];
        let before = account("b", &["v1/secrets", "v1/pods", "v1/nodes"], &gaps, &[]);
        let after = account("c", &["v1/secrets", "v1/pods", "v1/nodes"], &[], &[]);
        let (found, lines) = told(&before, &after, &all());
        assert_eq!(found, ["v1/nodes v1/nodes", "v1/pods v1/pods", "v1/secrets! v1/secrets"]);
        assert_eq!(
            lines,
            [
                "pods/a b -n shop: b lacks it: because",
                "nodes/n1: b lacks it: because",
                "metrics.k8s.io/v1beta1: b lacks it: because"
            ]
        );
        let pod = before.known(&GroupResource::from("pods".to_owned())).unwrap();
        let key = |namespace: &str, name: &str| pod.resource.key(Some(namespace), name);
        assert!(!pod.is_whole_but_for(&key("shop", "a b")));
        assert!(pod.is_whole_but_for(&key("other", "a b")));
        let shop = Selection { namespaces: vec!["shop".to_owned()], ..all() };
        assert_eq!(
            told(&before, &after, &shop).1,
            ["pods/a b -n shop: b lacks it: because", "metrics.k8s.io/v1beta1: b lacks it: because"]
        );
        let secrets = Selection { kinds: vec!["secrets".parse().unwrap()], ..all() };
        assert_eq!(told(&before, &after, &secrets), (vec!["v1/secrets! v1/secrets".to_owned()], vec![]));
    }

    #[test]
    fn a_kind_that_nobody_has_is_named_with_the_nearest_that_somebody_has() {
        let before = account("b", &["v1/secrets"], &[], &["events"]);
        let after = account("c", &["apps/v1/deployments"], &[], &["events"]);
        let check = |kind: &str| {
            let selection = Selection { kinds: vec![kind.parse().unwrap()], ..all() };
            check_kinds(&before, &after, &selection).map_err(|error| error.to_string())
        };
        assert_eq!((check("secrets"), check("deployments.apps")), (Ok(()), Ok(())));
        assert_eq!(check("secret"), Err("neither side has a resource 'secret', did you mean 'secrets'?".to_owned()));
        let left_out = "events are left out of backups: resources.include and resources.exclude say so";
        assert_eq!(check("events"), Err(left_out.to_owned()));
        let unsure = account("c", &[], &["x.io/v1"], &[]);
        let selection = Selection { kinds: vec!["things".parse().unwrap()], ..all() };
        assert!(check_kinds(&before, &unsure, &selection).is_ok());
        assert_eq!(told(&before, &unsure, &selection).1, ["x.io/v1: c lacks it: because"]);
    }
}
