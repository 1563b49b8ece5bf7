//! Owners, found again: references to the uids of the backup become references to the uids of the target.

use lifeboat_model::ResourceType;
use serde_json::{Value, json};

use super::field::{Kind, get, kinds, text};

/// What became of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It is on the target, with this uid.
    There(String),
    /// It will be restored, and has no uid yet.
    Later,
    /// It is not restored and not on the target.
    Gone,
}

/// An owner that makes its objects again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRule {
    /// Its number, quoted in reports.
    pub number: u32,
    /// What is owned.
    pub owned: Kind,
    /// The controllers that make it again.
    pub owners: &'static [Kind],
    /// Why it is not restored.
    pub reason: &'static str,
    /// The file of Kubernetes or the page that it follows.
    pub source: &'static str,
}

/// Which owners make their objects again. `ReplicaSets`, `ControllerRevisions` and unfinished `Jobs` are not among
/// them: they are the history of rollouts and work that nobody would do again, and their owners adopt them.
pub const OWNER_RULES: &[OwnerRule] = &[OwnerRule {
    number: 140,
    owned: kinds::POD,
    owners: &[kinds::REPLICA_SET, kinds::REPLICATION_CONTROLLER, kinds::STATEFUL_SET, kinds::DAEMON_SET, kinds::JOB],
    reason: "the controller makes its pods again, and would have to delete these beside its own",
    source: "pkg/controller/controller_utils.go",
}];

/// How an object's owner references stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Each leads to its owner.
    Complete,
    /// Some owners have no uid yet: relink again once they are there.
    Pending,
    /// Some owners are not there and will not be. References to them are left out, or the garbage collector would
    /// delete the object.
    OwnerGone,
    /// The object is not to be created: its controller makes it again.
    OwnerWillRecreate(&'static OwnerRule),
}

/// Owner references for the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Relinked {
    /// The references whose owners are there, with their new uids.
    pub references: Vec<Value>,
    /// How they stand.
    pub links: Links,
}

/// The owner that controls an object, and deletes it with itself.
pub fn controller(object: &Value) -> Option<&Value> {
    let mut owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array)?.iter();
    owners.find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
}

/// Finds the owners again. `references` is `metadata.ownerReferences` as it is in the backup, and `owner` is asked with
/// the uid in the backup. Once no owner is [`Owner::Later`] the result is not [`Links::Pending`].
pub fn relink(resource: &ResourceType, references: &[Value], mut owner: impl FnMut(&str) -> Owner) -> Relinked {
    let (mut found, mut pending, mut gone) = (Vec::new(), false, false);
    for reference in references {
        let there = text(reference, &["uid"]).map_or(Owner::Gone, &mut owner);
        if there != Owner::Gone
            && let Some(rule) = made_again_by(resource, reference)
        {
            return Relinked { references: Vec::new(), links: Links::OwnerWillRecreate(rule) };
        }
        match there {
            Owner::There(uid) => {
                let mut reference = reference.clone();
                if let Some(members) = reference.as_object_mut() {
                    members.insert("uid".to_owned(), json!(uid));
                }
                found.push(reference);
            }
            Owner::Later => pending = true,
            Owner::Gone => gone = true,
        }
    }
    let links = match (pending, gone) {
        (true, _) => Links::Pending,
        (false, true) => Links::OwnerGone,
        (false, false) => Links::Complete,
    };
    Relinked { references: found, links }
}

/// The rule by which the controller that a reference names makes the object again.
fn made_again_by(resource: &ResourceType, reference: &Value) -> Option<&'static OwnerRule> {
    let controls = get(reference, &["controller"]) == Some(&Value::Bool(true));
    let api_version = text(reference, &["apiVersion"])?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = text(reference, &["kind"])?;
    OWNER_RULES
        .iter()
        .filter(|rule| controls && rule.owned.is(resource))
        .find(|rule| rule.owners.iter().any(|owner| owner.group == group && owner.kind == kind))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::resource;
    use super::*;

    fn reference(api_version: &str, kind: &str, uid: &str, controller: bool) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "name": kind.to_lowercase(), "uid": uid,
            "controller": controller, "blockOwnerDeletion": true})
    }

    fn there(uid: &str) -> Owner {
        Owner::There(format!("new-{uid}"))
    }

    #[test]
    fn references_lead_to_the_new_uids() {
        let before = [reference("apps/v1", "Deployment", "d", true), reference("example.com/v1", "App", "a", false)];
        let relinked = relink(&resource("apps", "replicasets"), &before, there);
        let after =
            [reference("apps/v1", "Deployment", "new-d", true), reference("example.com/v1", "App", "new-a", false)];
        assert_eq!(relinked, Relinked { references: after.to_vec(), links: Links::Complete });
        assert_eq!(relink(&resource("", "secrets"), &[], there).links, Links::Complete);
    }

    #[test]
    fn owners_that_come_later_or_never() {
        let before = [reference("v1", "ConfigMap", "a", false), reference("v1", "ConfigMap", "b", false)];
        let secrets = resource("", "secrets");
        let owner = |second: Owner| move |uid: &str| if uid == "a" { there(uid) } else { second.clone() };
        let pending = relink(&secrets, &before, owner(Owner::Later));
        assert_eq!((pending.references.len(), pending.links), (1, Links::Pending));
        let gone = relink(&secrets, &before, owner(Owner::Gone));
        assert_eq!((gone.references.len(), gone.links), (1, Links::OwnerGone));
        let without_uid = relink(&secrets, &[json!({"kind": "ConfigMap"}), json!(3)], there);
        assert_eq!(without_uid, Relinked { references: Vec::new(), links: Links::OwnerGone });
    }

    #[test]
    fn pods_are_made_again_by_their_controllers_only() {
        let pods = resource("", "pods");
        let by = |reference: Value, owner: Owner| relink(&pods, &[reference], |_| owner.clone()).links;
        for (api_version, kind) in [
            ("apps/v1", "ReplicaSet"),
            ("v1", "ReplicationController"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("batch/v1", "Job"),
        ] {
            let made_again = Links::OwnerWillRecreate(&OWNER_RULES[0]);
            assert_eq!(by(reference(api_version, kind, "o", true), Owner::Later), made_again);
            assert_eq!(by(reference(api_version, kind, "o", true), there("o")), made_again);
            assert_eq!(by(reference(api_version, kind, "o", true), Owner::Gone), Links::OwnerGone);
            assert_eq!(by(reference(api_version, kind, "o", false), there("o")), Links::Complete);
        }
        assert_eq!(by(reference("example.com/v1", "ReplicaSet", "o", true), there("o")), Links::Complete);
        assert_eq!(by(reference("v1", "ConfigMap", "o", true), there("o")), Links::Complete);
        let sets = resource("apps", "replicasets");
        let owned = relink(&sets, &[reference("apps/v1", "Deployment", "d", true)], |_| Owner::Later);
        assert_eq!(owned.links, Links::Pending, "the history of rollouts is restored");
    }

    proptest! {
        /// Objects own each other at random, in cycles too. They are created in order, each relinked; then those that
        /// were pending are relinked again. In the end every reference leads to its owner's new uid, or to an owner
        /// that is not restored.
        #[test]
        fn two_passes_find_every_owner(
            edges in proptest::collection::vec((0_usize..12, 0_usize..12), 0..40),
            restored in proptest::collection::vec(any::<bool>(), 12),
        ) {
            let secrets = resource("", "secrets");
            let references = |object: usize| -> Vec<Value> {
                let owners = edges.iter().filter(|(owned, _)| *owned == object);
                owners.map(|(_, owner)| reference("v1", "Secret", &owner.to_string(), false)).collect()
            };
            let mut uids: BTreeMap<String, String> = BTreeMap::new();
            let mut pending = Vec::new();
            let owner = |uids: &BTreeMap<String, String>, uid: &str| match uids.get(uid) {
                Some(uid) => Owner::There(uid.clone()),
                None if restored[uid.parse::<usize>().unwrap()] => Owner::Later,
                None => Owner::Gone,
            };
            for object in (0..12).filter(|object| restored[*object]) {
                let relinked = relink(&secrets, &references(object), |uid| owner(&uids, uid));
                if relinked.links == Links::Pending {
                    pending.push(object);
                }
                uids.insert(object.to_string(), format!("new-{object}"));
            }
            for object in (0..12).filter(|object| restored[*object]) {
                let before = references(object);
                let after = relink(&secrets, &before, |uid| owner(&uids, uid));
                let kept: Vec<Value> = edges.iter().filter(|(owned, owner)| *owned == object && restored[*owner])
                    .map(|(_, owner)| reference("v1", "Secret", &format!("new-{owner}"), false)).collect();
                prop_assert_eq!(after.references.len() == before.len(), after.links == Links::Complete);
                prop_assert_eq!(after.references, kept);
                prop_assert_ne!(after.links, Links::Pending);
                let late = edges.iter().any(|(owned, owner)| *owned == object && *owner >= object && restored[*owner]);
                prop_assert_eq!(late, pending.contains(&object), "pending, and nothing else, is relinked again");
            }
        }
    }
}
